from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import Metric

from learned_saliency.metrics.figures import Figure
from learned_saliency.metrics.insertion_deletion import blur
from learned_saliency.metrics.masking import check_maps, check_targets, predict
from learned_saliency.ops import activation_of

FRACTIONS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)

_SIDE = 224  # in pixels; images of this side get a blur of sigma 15 and radius 15 as released


class RemovalCurve(NamedTuple):
    """Curve of accuracy against the erased part of the pixels.

    Attributes:
        fractions: Erased parts k, float64 (F,).
        accuracy: Accuracy A_k with the most salient pixels erased, float64 (F,).
        random_accuracy: Accuracy with as many random pixels erased, float64 (F,).
        relative_accuracy: R_k, ``accuracy`` over ``random_accuracy``, float64 (F,); NaN where
            ``random_accuracy`` is 0.
        blurred_accuracy: Accuracy with all pixels erased, float64 (). Even a map that erases the
            whole object comes hardly below it, as the blurred object remains visible.
    """

    fractions: Tensor
    accuracy: Tensor
    random_accuracy: Tensor
    relative_accuracy: Tensor
    blurred_accuracy: Tensor


class RemoveAndClassify(Metric):
    """Relative accuracy R_k after erasing the most salient pixels (paper 001, Sec. 5.3).

    Lower is better. ``compute`` gives R_k for each fraction, float64 (F,).

    Args:
        fractions: Erased parts of the pixels k, in (0, 1).

    Raises:
        ValueError: If ``fractions`` is empty or a fraction is out of range.
    """

    is_differentiable = False
    higher_is_better = False
    full_state_update = False
    needs: ClassVar[frozenset[str]] = frozenset({"labels"})

    hits: Tensor  # (F,) images classified correctly with the most salient pixels erased
    random_hits: Tensor  # (F,) likewise with random pixels erased
    blurred_hits: Tensor  # likewise with all pixels erased
    images: Tensor

    def __init__(self, fractions: Sequence[float] = FRACTIONS, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.fractions = _check_fractions(fractions)
        for name in ("hits", "random_hits"):
            counts = torch.zeros(len(self.fractions), dtype=torch.int64)
            self.add_state(name, counts, dist_reduce_fx="sum")
        for name in ("blurred_hits", "images"):
            self.add_state(name, torch.tensor(0), dist_reduce_fx="sum")

    @property
    def figures(self) -> Mapping[str, Figure]:
        """Declarations of ``relative_accuracy_k`` (k percent), their mean and blurred accuracy."""
        single = Figure(False, headline=False)
        return {
            "relative_accuracy": Figure(False),
            **{f"relative_accuracy_{100 * k:g}": single for k in self.fractions},
            "blurred_accuracy": Figure(None),  # does not depend on the map
        }

    def update(self, hits: Tensor, random_hits: Tensor, blurred_hits: Tensor) -> None:
        """Add a batch.

        Args:
            hits: Whether each image is classified correctly after each erasure, bool (B, F), from
                `removal_hits`.
            random_hits: Likewise for maps of random numbers, `random_saliency`.
            blurred_hits: Whether each wholly blurred image is classified correctly, bool (B,), from
                `blurred_hits`.

        Raises:
            TypeError: If an argument is not of booleans.
            ValueError: If the first two are not (B, F), or the last is not (B,).
        """
        shape = (len(hits), len(self.fractions))
        for given, wanted in ((hits, shape), (random_hits, shape), (blurred_hits, shape[:1])):
            if given.dtype != torch.bool:
                raise TypeError(f"hits must be booleans, got {given.dtype}")
            if given.shape != wanted:
                expected = f"(B, {len(self.fractions)}) twice and (B,)"
                raise ValueError(f"hits must be {expected}, got {tuple(given.shape)}")
        self.hits += hits.sum(0).to(self.hits.device)
        self.random_hits += random_hits.sum(0).to(self.random_hits.device)
        self.blurred_hits += blurred_hits.sum().to(self.blurred_hits.device)
        self.images += len(hits)

    def compute(self) -> Tensor:
        """Compute R_k per fraction; NaN where no randomly erased image is classified correctly."""
        return self._curve().relative_accuracy

    def curve(self) -> RemovalCurve:
        """Compute the accuracies and their ratio; under DDP every process has to call it."""
        with self.sync_context(dist_sync_fn=self.dist_sync_fn, should_sync=self._to_sync):
            return self._curve()

    def _curve(self) -> RemovalCurve:
        hits, random_hits = self.hits.double().cpu(), self.random_hits.double().cpu()
        ratio = torch.where(random_hits > 0, hits / random_hits, torch.nan)
        fractions = torch.tensor(self.fractions, dtype=torch.float64)
        images = self.images.cpu()
        blurred = self.blurred_hits.double().cpu() / images
        return RemovalCurve(fractions, hits / images, random_hits / images, ratio, blurred)


def removal_hits(
    model: Callable[[Tensor], Tensor],
    images: Tensor,
    saliency: Tensor,
    labels: Tensor,
    fractions: Sequence[float] = FRACTIONS,
    *,
    batch_size: int = 64,
) -> Tensor:
    """Find the images still classified correctly without their most salient pixels.

    An erased pixel takes the value of the blurred image. The int(k H W) most salient of H W pixels
    are erased; pixels of equal saliency are erased in reading order.

    Args:
        model: Images (R, 3, H, W) to logits (R, C), in evaluation mode.
        images: Shape (B, 3, H, W), as the model takes them.
        saliency: Maps (B, H, W) in [0, 1]; only the order of a map's values counts.
        labels: True classes, int (B,).
        fractions: Erased parts of the pixels k, in (0, 1).
        batch_size: Most images per call of the model, at least 1.

    Returns:
        bool (B, F).

    Raises:
        TypeError: If images, maps or labels are of the wrong type.
        ValueError: If shapes do not fit, a value is out of range, or the model is in training mode.
    """
    check_maps(images, saliency)
    fractions = _check_fractions(fractions)
    pixels = saliency[0].numel()
    order = saliency.flatten(1).argsort(dim=1, descending=True, stable=True)
    ranks = order.argsort(dim=1).view_as(saliency)  # 0 for the most salient pixel
    blurred = strong_blur(images)
    rows = torch.arange(len(images), device=images.device)
    found = []
    for fraction in fractions:
        erased = (ranks < int(fraction * pixels))[:, None]
        shown = torch.where(erased, blurred, images)
        probs = predict(model, shown, batch_size=batch_size, rows=rows)
        found.append(_right(model, probs, labels))
    return torch.stack(found, dim=1)


def blurred_hits(
    model: Callable[[Tensor], Tensor], images: Tensor, labels: Tensor, *, batch_size: int = 64
) -> Tensor:
    """Find the images classified correctly when all of their pixels are erased.

    Args:
        model: Images (R, 3, H, W) to logits (R, C), in evaluation mode.
        images: Shape (B, 3, H, W), as the model takes them.
        labels: True classes, int (B,).
        batch_size: Most images per call of the model, at least 1.

    Returns:
        bool (B,).

    Raises:
        TypeError: If labels are of the wrong type.
        ValueError: If shapes do not fit, a value is out of range, or the model is in training mode.
    """
    rows = torch.arange(len(images), device=images.device)
    probs = predict(model, strong_blur(images), batch_size=batch_size, rows=rows)
    return _right(model, probs, labels)


def _right(model: Callable[[Tensor], Tensor], probs: Tensor, labels: Tensor) -> Tensor:
    """Tell which images are given their class, bool (B,), from probabilities (B, C)."""
    labels = check_targets(labels, probs)
    return activation_of(model).decides(probs, labels, probabilities=True)


def random_saliency(images: Tensor, generator: torch.Generator) -> Tensor:
    """Draw maps of random numbers, the same however the images are cut into batches.

    Args:
        images: Shape (B, 3, H, W).
        generator: A generator on the CPU; each image draws H W numbers from it, in order.

    Returns:
        Maps (B, H, W) in [0, 1), float64, on the images' device.
    """
    size = images.shape[-2:]
    maps = [torch.rand(size, generator=generator, dtype=torch.float64) for _ in images]
    return torch.stack(maps).to(images.device)


def strong_blur(images: Tensor) -> Tensor:
    """Blur as the released code of paper 001 does to erase: sigma 15 pixels at 224 x 224.

    Sigma and the kernel's radius scale with the shorter side; the border is mirrored.

    Args:
        images: Shape (B, 3, H, W), sides of at least 2 pixels.

    Returns:
        Images of the same shape.
    """
    radius = max(1, round(15 * min(images.shape[-2:]) / _SIDE))
    mirrored = F.pad(images, (radius,) * 4, mode="reflect")
    return blur(mirrored, 2 * radius + 1, float(radius))[..., radius:-radius, radius:-radius]


def _check_fractions(fractions: Sequence[float]) -> tuple[float, ...]:
    fractions = tuple(float(fraction) for fraction in fractions)
    if not fractions or not all(0 < fraction < 1 for fraction in fractions):
        raise ValueError(f"fractions must lie in (0, 1), got {list(fractions)}")
    return fractions
