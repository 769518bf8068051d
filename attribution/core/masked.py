"""Bases of methods that run the network on images under masks."""

from collections.abc import Callable

import torch
from torch import Tensor

from learned_saliency.attribution.core.altered import run_size
from learned_saliency.attribution.core.joint import JointMethod
from learned_saliency.attribution.core.method import Query
from learned_saliency.ops import full_precision

#: Called as ``progress(step, steps)``, step from 1.
Progress = Callable[[int, int], None]
_BETA1, _BETA2, _EPSILON = 0.9, 0.999, 1e-8  # Adam's constants


class MaskingMethod(JointMethod):
    """A method whose map comes from runs of the whole network on images under masks.

    A subclass supplies `_class_maps`.

    Args:
        batch_size: Masked images in one run, at least 1; bounds memory. None for as many as the
            device is fast with, see `run_size`.
        progress: Called as ``progress(step, steps)`` as the work goes on, step from 1.
        **options: See `PostHocMethod`.

    Raises:
        ValueError: If ``batch_size`` is below 1.
    """

    def __init__(
        self,
        *,
        batch_size: int | None = None,
        progress: Progress | None = None,
        **options: str,
    ) -> None:
        super().__init__(**options)
        if batch_size is not None and batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        self.batch_size = batch_size
        self.progress = progress

    def _run_size(self, images: Tensor) -> int:
        """Return how many images like these (B, ...) go into one run."""
        return self.batch_size or run_size(images[0].numel(), images.device)

    def _tell(self, step: int, steps: int) -> None:
        if self.progress is not None:
            self.progress(step, steps)


class OptimizedMaskMethod(MaskingMethod):
    """A method that optimizes a mask for each image and class, many of them in one run.

    Only the masks get gradients; an iteration costs one run forward and one backward to the masked
    images. Losses are summed over the masks and the updates are elementwise, so that a mask does
    not depend on those beside it. A subclass supplies `_optimize`, written with `_minimize`.

    Args:
        iterations: Updates of each mask, at least 1.
        learning_rate: Learning rate, above 0.
        **options: See `MaskingMethod`.

    Raises:
        ValueError: If an option is out of its range.
    """

    needs_gradients = True
    runs_per_mask = 1

    def __init__(self, *, iterations: int, learning_rate: float, **options: object) -> None:
        super().__init__(**options)
        if iterations < 1 or not learning_rate > 0:
            raise ValueError(
                f"expected iterations >= 1 and learning_rate > 0, got {iterations} and "
                f"{learning_rate}"
            )
        self.iterations = iterations
        self.learning_rate = learning_rate

    def _class_maps(self, query: Query, targets: Tensor) -> Tensor:
        classes = targets.flatten()
        every = torch.arange(len(classes), device=classes.device)
        parts = every.split(max(1, self._run_size(query.images) // self.runs_per_mask))
        maps = []
        for index, part in enumerate(parts):
            rows = part // targets.shape[1]
            own = query.of_classes(rows, classes[part])
            own.logits = query.logits.detach()[rows]
            if own.images.is_inference():
                own.images = own.images.clone()
            done, total = index * self.iterations, len(parts) * self.iterations
            maps.append(self._optimize(own, lambda step, d=done, t=total: self._tell(d + step, t)))
        return torch.cat(maps).unflatten(0, tuple(targets.shape))

    def _optimize(self, query: Query, tell: Callable[[int], None]) -> Tensor:
        """Optimize the masks of all images of a query.

        Args:
            query: The images, each with its class.
            tell: To be called with the number of updates after each.

        Returns:
            The raw maps (R, h, w).
        """
        raise NotImplementedError

    def _minimize(
        self,
        masks: Tensor,
        loss: Callable[[Tensor, int], Tensor],
        update: Callable[[Tensor, int], Tensor],
        tell: Callable[[int], None],
    ) -> Tensor:
        """Minimize a loss of masks that stay in [0, 1].

        Each update is followed by a projection. A mask that passed through `torch.clamp` on its way
        to the loss would have no gradient where it is exactly 0 or 1, and could never leave.

        Args:
            masks: Where to start, any shape, in [0, 1].
            loss: Function of masks and step, from 0, to a scalar.
            update: Function of gradient and step, from 0, to what is subtracted from the masks.
            tell: See `_optimize`.

        Returns:
            The masks after the last update.
        """
        for step in range(self.iterations):
            with torch.enable_grad():
                leaf = masks.detach().requires_grad_()
                value = loss(leaf, step)
                with full_precision(leaf.device):
                    (gradient,) = torch.autograd.grad(value, leaf)
            masks = (masks - update(gradient, step)).clamp(0, 1)
            tell(step + 1)
        return masks


def adam(learning_rate: float) -> Callable[[Tensor, int], Tensor]:
    """Return the update of Adam (Kingma and Ba 2015) for `OptimizedMaskMethod._minimize`."""
    mean = square = 0.0

    def update(gradient: Tensor, step: int) -> Tensor:
        nonlocal mean, square
        mean = _BETA1 * mean + (1 - _BETA1) * gradient
        square = _BETA2 * square + (1 - _BETA2) * gradient.square()
        scale = (square / (1 - _BETA2 ** (step + 1))).sqrt() + _EPSILON
        return learning_rate / (1 - _BETA1 ** (step + 1)) * mean / scale

    return update


def momentum(learning_rate: float, beta: float) -> Callable[[Tensor, int], Tensor]:
    """Return the update of gradient descent with momentum, the running mean of the gradients."""
    mean: Tensor | None = None

    def update(gradient: Tensor, step: int) -> Tensor:
        nonlocal mean
        mean = gradient if mean is None else beta * mean + (1 - beta) * gradient
        return learning_rate * mean

    return update
