"""Opti-CAM: channel weights optimized for each image."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from learned_saliency.attribution.core.classifier import Classifier
from learned_saliency.attribution.core.method import PostHocMethod, Query
from learned_saliency.attribution.core.targets import TARGETS
from learned_saliency.attribution.objectives import MaskObjective
from learned_saliency.attribution.problems import MaskProblem

_BETA1, _BETA2, _EPSILON = 0.9, 0.999, 1e-8  # Adam's constants


class OptiCAMResult(NamedTuple):
    """Result of `OptiCAM.optimize`.

    Attributes:
        saliency: The maps, shape (B, H, W), in [0, 1].
        u: Final u, shape (B, K), any sign; the channel weights are softmax(u).
        objective: F (Eq. 10) before each update, shape (T, B) with T the most evaluations that
            any image took; an image that stopped keeps its last value.
        steps: Number of updates of u per image, int64 (B,), in [0, iterations].
        earlier: The maps after the numbers of updates that were asked for, shape (N, B, H, W), in
            [0, 1]: those of a run with so many iterations, to the bit.
    """

    saliency: Tensor
    u: Tensor
    objective: Tensor
    steps: Tensor
    earlier: Tensor


@runtime_checkable
class Start(Protocol):
    """Interface of what gives Opti-CAM's first u."""

    def u(self, query: Query) -> Tensor:
        """Compute u for a batch, shape (B, K), any sign, at least float32.

        Args:
            query: The batch, with its features and gradients.
        """
        ...


class OptiCAM(PostHocMethod):
    """Opti-CAM (paper 000, Eq. 8-11).

    The map is S = sum_k softmax(u)_k A_k (Eq. 8), resized to the image and normalized by n. Adam
    finds the u of each image for which the image multiplied by n(S) has the largest score of the
    target class (Eq. 9, 10), from equal weights or from ``start``. An iteration is one forward and
    one backward pass of the network for the whole batch; only u gets a gradient.

    The images of a batch influence each other by rounding alone: each has an Adam state of its own,
    and an image whose objective changes by less than ``tolerance`` stops alone and leaves the
    batch. But Adam divides each gradient by its own size, so that rounding errors of small
    gradients become whole steps, and in float32 the effect is large: for 16 photographs of ImageNet
    under torchvision's SqueezeNet 1.0 (layer ``features``, 224 x 224 pixels, 100 iterations, on a
    CPU), maps made in one batch of 16 and one by one differed by up to 0.47, by 0.039 in the mean
    over pixels and images (correlation per image at least 0.93), and objectives by up to 0.7 logits
    of 9 to 35. In float64 the same maps differed by at most 3e-13.

    The method returns n(S), the very mask that was optimized: for "max" and "sigmoid" its minimum
    need not be 0, nor its maximum 1. A constant S gives zeros, whatever n.

    Differences from the paper, or from its released code where the paper leaves a choice:

    * The released code sums the loss over the batch, compares it every ten steps and stops when
      it grew, so a map depends on the other images. Here the paper's rule, a change below 1e-10,
      is applied to each image from one step to the next.
    * Eq. 8 assumes non-negative features. ``rectify`` sees to it, as the released code does; where
      the layer ends in a ReLU it changes nothing.
    * The released code makes a constant map NaN.
    * The maps of float32 and of float64 differ for the same reason: after 100 steps on the 16
      photographs by 0.17 to 0.70 at the pixel of the largest difference, by 0.039 in the mean.

    Args:
        objective: ``"mask"`` (Eq. 10), ``"diff"`` (Eq. 19), ``"iomask"`` (Eq. A1) or ``"iodiff"``
            (Eq. A2). The latter two look at two masked images per iteration and cost twice.
        selector: The paper's word for ``target``, g_c; None for that of ``target``.
        normalization: n: ``"range"`` (Eq. 16), ``"max"`` (Eq. 17) or ``"sigmoid"`` (Eq. 18).
        iterations: Most updates of u per image, at least 1.
        learning_rate: Learning rate of Adam, above 0.
        tolerance: Change of an image's objective below which the image stops, at least 0; at 0
            no image stops early.
        mean: With ``std``, the values that the images were normalized with, one per color channel:
            then the color image is masked, and masked pixels are black (as in the released code).
            Without them, the images are masked as they are given, and masked pixels become 0,
            which in normalized images is the mean color.
        std: See ``mean``; above 0.
        rectify: Whether negative features are set to 0 first.
        start: What gives the u that Adam starts from, such as an `Amortized` method; None for
            zeros, equal weights.
        progress: Called as ``progress(step, iterations)`` after each iteration, step from 1.
        batch_size: Most masks in one pass where several classes of an image are explained, at least
            1; never fewer than there are images. It bounds memory.
        target: Score of the class that the masked image shall keep, see `PostHocMethod`; None for
            ``"logit"``.
        **options: See `PostHocMethod`.

    Raises:
        ValueError: If a name is unknown, a number outside its range, or ``selector`` and ``target``
            are given and differ.
    """

    needs_gradients = True

    def __init__(
        self,
        *,
        objective: str = "mask",
        selector: str | None = None,
        normalization: str = "range",
        iterations: int = 100,
        learning_rate: float = 0.1,
        tolerance: float = 1e-10,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        rectify: bool = True,
        start: Start | None = None,
        progress: Callable[[int, int], None] | None = None,
        batch_size: int = 16,
        target: str | None = None,
        **options: str,
    ) -> None:
        if None not in (selector, target) and selector != target:
            raise ValueError(
                f"selector={selector!r} and target={target!r} are two words for the same option: "
                "give one of them"
            )
        if selector not in (None, *TARGETS):
            raise ValueError(f"selector must be one of {tuple(TARGETS)}: {selector!r}")
        super().__init__(target=target or selector or "logit", **options)
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        if iterations < 1 or not learning_rate > 0 or not tolerance >= 0:
            raise ValueError(
                "iterations must be at least 1, learning_rate above 0 and tolerance at least 0, "
                f"got {iterations}, {learning_rate} and {tolerance}"
            )
        self.objective = MaskObjective(
            objective=objective,
            selector=self.target,
            normalization=normalization,
            interpolation=self.interpolation,
            mean=mean,
            std=std,
        )
        self.iterations = iterations
        self.learning_rate = learning_rate
        self.tolerance = tolerance
        self.start = start
        self.rectify = rectify
        self.progress = progress
        self.batch_size = batch_size

    def __call__(
        self, classifier: Classifier, images: Tensor, targets: Tensor | None = None
    ) -> Tensor:
        """Explain a batch; see `PostHocMethod.__call__`, and for the range of the maps `OptiCAM`.

        Args:
            classifier: A `Classifier`.
            images: Shape (B, 3, H, W).
            targets: Int (B,) in [0, C), or None for the predicted classes.

        Returns:
            The optimized masks (B, H, W) in [0, 1]; zeros where a map is constant.
        """
        return self.optimize(classifier, images, targets).saliency

    def of_classes(self, classifier: Classifier, images: Tensor, targets: Tensor) -> Tensor:
        """Explain several classes of each image, as many at a time as ``batch_size`` allows.

        Maps of an image's classes influence each other no more than those of a batch's images do.

        Args:
            classifier: See `PostHocMethod.of_classes`, as for the errors.
            images: Shape (B, 3, H, W).
            targets: Classes, int (B, T) in [0, C).

        Returns:
            The optimized masks (B, T, H, W) in [0, 1].
        """
        if targets.shape[1] == 1:
            return super().of_classes(classifier, images, targets)
        with self._query(classifier, images, None) as query:
            classes = query.checked(targets).flatten()
            every = torch.arange(targets.numel(), device=images.device)
            parts = every.split(max(len(images), self.batch_size))
            maps = [
                self._optimize(query.of_classes(part // targets.shape[1], classes[part])).saliency
                for part in parts
            ]
        return torch.cat(maps).unflatten(0, tuple(targets.shape))

    def raw_maps(
        self, classifier: Classifier, images: Tensor, targets: Tensor | None = None
    ) -> Tensor:
        """Return the masks themselves, (B, H, W) in [0, 1]: Opti-CAM has no maps before them."""
        return self(classifier, images, targets)

    def coefficients(
        self, classifier: Classifier, images: Tensor, targets: Tensor | None = None
    ) -> Tensor:
        """Compute the channel weights softmax(u) (Eq. 8).

        Args:
            classifier: See `__call__`, as for the other arguments and errors.
            images: Shape (B, 3, H, W).
            targets: Int (B,) in [0, C), or None.

        Returns:
            Weights, shape (B, K), in [0, 1], of sum 1 over the channels.
        """
        return self.optimize(classifier, images, targets).u.softmax(dim=1)

    def optimize(
        self,
        classifier: Classifier,
        images: Tensor,
        targets: Tensor | None = None,
        *,
        at: Sequence[int] = (),
    ) -> OptiCAMResult:
        """Explain a batch, and report how the optimization went.

        Args:
            classifier: See `__call__`, as for the other arguments and errors.
            images: Shape (B, 3, H, W).
            targets: Int (B,) in [0, C), or None.
            at: Numbers of updates in [0, iterations] after which the maps are wanted, too.

        Returns:
            Maps, u, objective, steps and earlier maps, see `OptiCAMResult`.

        Raises:
            ValueError: If a number in ``at`` is out of range.
        """
        if not all(0 <= step <= self.iterations for step in at):
            raise ValueError(f"at must be in [0, {self.iterations}], got {list(at)}")
        with self._query(classifier, images, targets) as query:
            return self._optimize(query, at)

    def _optimize(self, query: Query, at: Sequence[int] = ()) -> OptiCAMResult:
        """Optimize u for all images of a query, see `optimize`."""
        u = torch.zeros_like(query.features[:, :, 0, 0])
        if self.start is not None:
            u += self.start.u(query)
        return self._maximize(MaskProblem.of(self.objective, query, self.rectify), u, at)

    def _maximize(self, problem: MaskProblem, u: Tensor, at: Sequence[int]) -> OptiCAMResult:
        """Run Adam (Eq. 9) on the u of all images, each of which stops by itself."""
        mean, square = torch.zeros_like(u), torch.zeros_like(u)  # Adam's moments
        value = u.new_full((len(u),), float("nan"))
        rows = torch.arange(len(u), device=u.device)  # the images that have not stopped
        steps, history, rest = torch.zeros_like(rows), [], problem
        wanted = {0: u.clone()} if 0 in at else {}
        for step in range(1, self.iterations + 1):
            current, gradient = rest.evaluate(u[rows])
            moving = ~((current - value[rows]).abs() < self.tolerance)
            value[rows] = current
            history.append(value.clone())
            if not bool(moving.all()):
                rows, gradient, rest = rows[moving], gradient[moving], rest.pick(moving)
            if not len(rows):
                break
            mean[rows] = _BETA1 * mean[rows] + (1 - _BETA1) * gradient
            square[rows] = _BETA2 * square[rows] + (1 - _BETA2) * gradient.square()
            scale = (square[rows] / (1 - _BETA2**step)).sqrt() + _EPSILON
            u[rows] += self.learning_rate / (1 - _BETA1**step) * mean[rows] / scale
            steps[rows] = step
            if step in at:
                wanted[step] = u.clone()
            if self.progress is not None:
                self.progress(step, self.iterations)
        # after the last image has stopped, u stays as it is
        maps = [problem.masks(wanted.get(step, u)) for step in at]
        last = problem.masks(u)
        earlier = torch.stack([last, *maps])[1:]
        return OptiCAMResult(last, u, torch.stack(history), steps, earlier)
