from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from learned_saliency.metrics.masking import black_level, check_maps, predict


def masked_probability(
    model: Callable[[Tensor], Tensor],
    images: Tensor,
    masks: Tensor,
    targets: Tensor,
    clean: Tensor,
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    batch_size: int = 32,
) -> Tensor:
    """Measure the probability of each image's class on the image multiplied by several masks.

    A mask of ones shows the image itself, whose probability is known: the model does not run, so
    that rounding cannot make an increase of it.

    Args:
        model: Images (R, 3, H, W) to logits (R, C), in evaluation mode.
        images: Shape (B, 3, H, W), as the model takes them.
        masks: N masks per image, shape (N, B, H, W) in [0, 1].
        targets: Classes, int (B,).
        clean: Probability of the class on the images as they are, shape (B,).
        mean: See `masked_probabilities`.
        std: See `masked_probabilities`.
        batch_size: Most masked images per call of the model.

    Returns:
        Probabilities, shape (N, B), in [0, 1].

    Raises:
        TypeError: If images or masks are of the wrong type.
        ValueError: If shapes do not fit, a mask leaves [0, 1], or the model is in training mode.
    """
    if masks.dim() != 4:
        raise ValueError(f"expected masks (N, B, H, W), got {tuple(masks.shape)}")
    for each in masks:
        check_maps(images, each)
    black = black_level(images, mean, std)
    found = clean.repeat(len(masks), 1)
    hidden = torch.nonzero(masks.flatten(2).amin(2) < 1)  # (M, 2): mask and image
    for part in hidden.split(batch_size) if len(hidden) else ():
        which, rows = part.unbind(1)
        shown = (images[rows] - black) * masks[which, rows][:, None].to(images.dtype) + black
        answers = predict(model, shown, rows=rows)
        found[which, rows] = answers.gather(1, targets[rows, None])[:, 0].to(found.dtype)
    return found
