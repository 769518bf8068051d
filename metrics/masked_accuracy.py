"""Accuracy on images of which a part is shown alone, hidden or repainted."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

import cv2
import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

from learned_saliency.metrics.figures import Figure

VARIANTS = ("clean", "masked_in", "masked_out", "inpainted")


def inpaint(colors: Tensor, holes: Tensor, radius: float = 3.0) -> Tensor:
    """Repaint a part of each image from its surroundings (Telea 2004, OpenCV).

    Args:
        colors: Images in 0..255, uint8 (B, 3, H, W); or float32 (B, C, H, W), whose channels are
            repainted one by one.
        holes: Pixels to repaint, bool (B, H, W). An image without holes comes back as it is, an
            image that is all hole comes back as OpenCV leaves it.
        radius: Radius in pixels around each point from which colors are taken, above 0.

    Returns:
        The same type and shape, on the device of ``colors``.

    Raises:
        TypeError: If ``colors`` is neither uint8 nor float32 or ``holes`` not bool.
        ValueError: If the shapes do not fit.
    """
    eight_bits = colors.dtype == torch.uint8
    if not (eight_bits or colors.dtype == torch.float32) or holes.dtype != torch.bool:
        raise TypeError(f"expected uint8 colors and bool holes: {colors.dtype}, {holes.dtype}")
    wrong = colors.ndim != 4 or (eight_bits and colors.shape[1] != 3)
    if wrong or colors[:, 0].shape != holes.shape:
        raise ValueError(
            "expected colors (B, 3, H, W) and holes (B, H, W), got"
            f" {tuple(colors.shape)} and {tuple(holes.shape)}"
        )
    images = np.ascontiguousarray(colors.permute(0, 2, 3, 1).cpu().numpy())
    masks = holes.to("cpu", torch.uint8).numpy()

    def repaint(index: int) -> np.ndarray:
        parts = [images[index]] if eight_bits else cv2.split(images[index])
        found = [cv2.inpaint(part, masks[index], radius, cv2.INPAINT_TELEA) for part in parts]
        return found[0] if eight_bits else np.stack(found, axis=2)

    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        painted = np.stack(list(pool.map(repaint, range(len(images)))))
    return torch.from_numpy(painted).permute(0, 3, 1, 2).to(colors.device)


def masked_variants(images: Tensor, binary: Tensor, mean: Tensor, std: Tensor) -> dict[str, Tensor]:
    """Make variants: the image, its masked part alone, the image without it, and repainted there.

    Hidden pixels get the mean color, 0 in the normalized image, as in CASM's training.

    Args:
        images: Normalized images, (color / 255 - mean) / std, of shape (B, 3, H, W).
        binary: The mask's part, bool (B, H, W).
        mean: Mean of each channel in [0, 1], (3, 1, 1).
        std: Standard deviation of each channel, (3, 1, 1).

    Returns:
        Normalized images (B, 3, H, W) by the names in `VARIANTS`; repainted images have 8-bit
        colors, of other numbers of channels their full depth.

    Raises:
        TypeError: If ``binary`` is not bool.
        ValueError: If the shapes do not fit.
    """
    if binary.dtype != torch.bool:
        raise TypeError(f"binary must be bool, got {binary.dtype}")
    shown = binary[:, None]
    masked_out = images.where(~shown, 0.0)
    levels = (masked_out * std + mean) * 255
    in_colors = images.shape[1] == 3
    colors = levels.round().clamp(0, 255).to(torch.uint8) if in_colors else levels.float()
    painted = inpaint(colors, binary).to(images.dtype)
    return {
        "clean": images,
        "masked_in": images.where(shown, 0.0),
        "masked_out": masked_out,
        "inpainted": ((painted / 255 - mean) / std).where(shown, images),
    }


class MaskedAccuracy(Metric):
    """Accuracy of one classifier on each of the `VARIANTS` of the images, fractions in [0, 1].

    ``compute`` gives float64 scalars by variant, NaN before any image was seen.
    """

    is_differentiable = False
    full_state_update = False
    needs: ClassVar[frozenset[str]] = frozenset({"labels"})
    figures: ClassVar[Mapping[str, Figure]] = {
        "clean": Figure(None),  # does not depend on the map
        "masked_in": Figure(True),
        "masked_out": Figure(False),
        "inpainted": Figure(False),
    }

    hits: Tensor  # (4,)
    images: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("hits", torch.zeros(len(VARIANTS), dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("images", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, logits: Mapping[str, Tensor], labels: Tensor) -> None:
        """Count a batch.

        Args:
            logits: Class scores (B, C) by variant.
            labels: True classes, int64 (B,).

        Raises:
            KeyError: If a variant is missing.
            ValueError: If the shapes do not fit.
        """
        stacked = torch.stack([logits[name] for name in VARIANTS])
        if stacked.ndim != 3 or stacked.shape[1:2] != labels.shape:
            raise ValueError(
                f"expected logits (B, C) and labels (B,), got {tuple(stacked.shape[1:])} and"
                f" {tuple(labels.shape)}"
            )
        self.hits += (stacked.argmax(dim=2) == labels).sum(dim=1).to(self.hits.device)
        self.images += len(labels)

    def compute(self) -> dict[str, Tensor]:
        """Compute the accuracy by variant."""
        return dict(zip(VARIANTS, self.hits.double() / self.images, strict=True))
