"""Model runs on altered images, for the faithfulness metrics."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from learned_saliency.metrics.checks import check_saliency
from learned_saliency.ops import activation_of, widen


@torch.no_grad()
def predict(
    model: Callable[[Tensor], Tensor],
    images: Tensor,
    probabilities: bool = False,
    batch_size: int | None = None,
    rows: Tensor | None = None,
) -> Tensor:
    """Compute class probabilities, at most ``batch_size`` images at a time.

    Args:
        model: Images (R, 3, H, W) to logits (R, C), or to probabilities. One that holds inputs for
            each image of a batch (a question) offers ``of_rows(rows)``, the model for variants of
            these images; see `attribution.SplitClassifier`. One whose classes do not exclude each
            other declares an ``activation``, see `ops.Activation`.
        images: Shape (N, 3, H, W).
        probabilities: Whether the model gives probabilities.
        batch_size: Most images per call of the model, at least 1, or None for all at once.
        rows: For each image the place, in the model's batch, of the one that it is a variant of,
            int (N,); None for a model of images alone, or for the whole batch in order.

    Returns:
        Probabilities, shape (N, C), at least float32.

    Raises:
        ValueError: If ``batch_size`` is below 1, the model is in training mode, or the model does
            not give (R, C).
    """
    if getattr(model, "training", False):
        raise ValueError("the model is in training mode; call model.eval() first")
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    size = batch_size or len(images)
    parts = images.split(size)
    models = [model] * len(parts)
    if rows is not None and hasattr(model, "of_rows"):
        models = [model.of_rows(part) for part in rows.split(size)]
    outputs = torch.cat([run(part) for run, part in zip(models, parts, strict=True)])
    if outputs.dim() != 2 or len(outputs) != len(images):
        raise ValueError(f"expected outputs ({len(images)}, C), got {tuple(outputs.shape)}")
    outputs = widen(outputs)
    return outputs if probabilities else activation_of(model).probabilities(outputs)


def predict_variants(
    model: Callable[[Tensor], Tensor],
    vary: Callable[[Tensor], Tensor],
    rows: Tensor,
    targets: Tensor,
    probabilities: bool = False,
    batch_size: int = 64,
) -> Tensor:
    """Compute the probability of an image's class on each of many variants of the images.

    Args:
        model: See `predict`, as for ``probabilities`` and ``batch_size``.
        vary: Function of numbers of variants, int (N,), to these variants (N, 3, H, W).
        rows: For each variant the place of its image in the batch, int64 (R,).
        targets: Class of each image, int (B,).
        probabilities: Whether the model gives probabilities.
        batch_size: Most variants per call of the model, at least 1.

    Returns:
        Probabilities, shape (R,), at least float32.

    Raises:
        TypeError: If ``targets`` is not of integers.
        ValueError: See `predict`; if a class does not exist.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    found = []
    for part in torch.arange(len(rows), device=rows.device).split(batch_size):
        row = rows[part]
        probs = predict(model, vary(part), probabilities, rows=row)
        classes = check_targets(targets[row.to(targets.device)], probs)
        found.append(probs.gather(1, classes[:, None])[:, 0])
    return torch.cat(found)


def check_length(targets: Tensor, images: Tensor) -> None:
    """Refuse classes that are not one per image.

    Raises:
        ValueError: If ``targets`` is not (B,) for images (B, 3, H, W).
    """
    if targets.shape != images.shape[:1]:
        raise ValueError(f"targets must be ({len(images)},), got {tuple(targets.shape)}")


def black_level(
    images: Tensor, mean: Sequence[float] | None = None, std: Sequence[float] | None = None
) -> Tensor:
    """Return the value of a masked pixel, see `masked_probabilities`: (3, 1, 1), or () for 0.

    Args:
        images: Shape (B, 3, H, W); gives type and device.
        mean: One value per channel, or None.
        std: One value per channel, above 0, or None.

    Raises:
        ValueError: If only one of ``mean`` and ``std`` is given, or they do not fit the images.
    """
    if mean is None and std is None:
        return images.new_zeros(())
    if mean is None or std is None or not len(mean) == len(std) == images.shape[1]:
        raise ValueError(f"expected {images.shape[1]} values of mean and std: {mean}, {std}")
    if not all(value > 0 for value in std):
        raise ValueError(f"std must be above 0, got {std}")
    return images.new_tensor([-m / s for m, s in zip(mean, std, strict=True)])[:, None, None]


def check_maps(images: Tensor, saliency: Tensor) -> None:
    """Refuse tensors that are not a batch of images with one map per image.

    Args:
        images: Shape (B, 3, H, W), floating point.
        saliency: Shape (B, H, W), in [0, 1].

    Raises:
        TypeError: If either is not of a floating type.
        ValueError: If the shapes do not fit, or a map leaves [0, 1].
    """
    check_saliency(saliency)
    if not images.is_floating_point():
        raise TypeError(f"images must be of a floating type, got {images.dtype}")
    if images.dim() != 4 or images.shape[::2] + images.shape[3:] != saliency.shape:
        raise ValueError(
            "expected images (B, 3, H, W) and maps (B, H, W), got "
            f"{tuple(images.shape)} and {tuple(saliency.shape)}"
        )


def check_targets(targets: Tensor | None, probabilities: Tensor) -> Tensor:
    """Check the classes to look at and return them, int64 (B,).

    Args:
        targets: Int (B,), or None for the most probable classes.
        probabilities: Shape (B, C).

    Raises:
        TypeError: If ``targets`` is not of integers.
        ValueError: If ``targets`` is not (B,), or not in [0, C).
    """
    if targets is None:
        return probabilities.argmax(dim=1)
    if targets.is_floating_point() or targets.is_complex() or targets.dtype == torch.bool:
        raise TypeError(f"targets must be class indices (B,), got {targets.dtype}")
    batch, classes = probabilities.shape
    if targets.shape != (batch,) or not bool(((targets >= 0) & (targets < classes)).all()):
        raise ValueError(f"targets must be ({batch},) in [0, {classes}), got {targets.tolist()}")
    return targets.to(probabilities.device, torch.int64)
