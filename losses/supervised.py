"""Loss of a foreground map that is learned from true masks or boxes."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from learned_saliency.ops import widen

UNKNOWN = 255
"""Value of a mask's pixels that count for nothing."""


def box_masks(boxes: Sequence[Tensor], height: int, width: int) -> Tensor:
    """Draw the union of each image's boxes as a mask.

    Args:
        boxes: B tensors (n, 4) of x0 y0 x1 y1 in pixels, integer; x1, y1 lie inside the box. They
            may reach beyond the image or lie outside of it, and n may be 0.
        height: Height H of the images in pixels.
        width: Width W of the images in pixels.

    Returns:
        uint8 of shape (B, H, W), on the device of the boxes: 1 inside of at least one box, else 0.
    """
    padded = pad_sequence(list(boxes), batch_first=True, padding_value=-1)  # (B, n, 4), left of all
    x0, y0, x1, y1 = padded[..., None].unbind(2)  # (B, n, 1) each
    columns, rows = (torch.arange(side, device=padded.device) for side in (width, height))
    across = (x0 <= columns) & (columns <= x1)  # (B, n, W)
    down = (y0 <= rows) & (rows <= y1)  # (B, n, H)
    boxes_on_pixel = down.mT.float() @ across.float()  # (B, H, W)
    return (boxes_on_pixel > 0).to(torch.uint8)


def pixel_cross_entropy(scores: Tensor, masks: Tensor) -> Tensor:
    """Average the cross-entropy of background and foreground over the known pixels of a batch.

    Args:
        scores: Scores before the softmax, shape (B, 2, H, W); channel 0 is background, channel 1
            foreground.
        masks: Truth of shape (B, H, W), uint8: 1 object, 0 background, 255 unknown.

    Returns:
        Scalar >= 0 in nats; zero, with zero gradients, where no pixel is known.

    Raises:
        ValueError: If the shapes do not fit.
    """
    if scores.ndim != 4 or scores.shape[1] != 2 or masks.shape != scores[:, 0].shape:
        raise ValueError(
            "expected scores (B, 2, H, W) and masks (B, H, W), got "
            f"{tuple(scores.shape)} and {tuple(masks.shape)}"
        )
    total = F.cross_entropy(widen(scores), masks.long(), ignore_index=UNKNOWN, reduction="sum")
    return total / (masks != UNKNOWN).sum().clamp(min=1)


class SupervisedLoss(nn.Module):
    """Cross-entropy of a foreground map against the truth: masks, or else the union of the boxes.

    Choe et al. (CVPR 2020) train their few-shot baseline so, by the binary cross-entropy of one
    score per pixel, which is that of the difference of two scores.
    """

    def forward(
        self, scores: Tensor, masks: Tensor | None = None, boxes: Sequence[Tensor] | None = None
    ) -> Tensor:
        """Compute the loss of a batch, see `pixel_cross_entropy`.

        Args:
            scores: Scores before the softmax, (B, 2, H, W): background, foreground.
            masks: Truth of shape (B, H, W), uint8: 1 object, 0 background, 255 unknown.
            boxes: Boxes of each image, see `box_masks`, where there are no masks.

        Raises:
            ValueError: If there is no truth, or the shapes do not fit.
        """
        if masks is None:
            if boxes is None:
                raise ValueError("expected masks or boxes, got neither")
            masks = box_masks(boxes, *scores.shape[-2:])
        return pixel_cross_entropy(scores, masks)
