"""Regions of pixels that boxes and masks say to be the object."""

from collections.abc import Sequence

import torch
from torch import Tensor

from learned_saliency.metrics.boxes import check_boxes
from learned_saliency.metrics.checks import check_masks


def box_union(boxes: Sequence[Tensor], saliency: Tensor) -> Tensor:
    """Mark the pixels within any of an image's true boxes (U in App. C of paper 000).

    Args:
        boxes: True boxes x0 y0 x1 y1 per map, in pixels of the map, integers (n, 4). x1
            and y1 lie inside the box, as in the WSOL benchmark. What reaches beyond the map is cut
            off.
        saliency: Maps (B, H, W), for their shape and device.

    Returns:
        bool (B, H, W).

    Raises:
        TypeError: If a tensor of ``boxes`` does not hold integers.
        ValueError: If ``boxes`` does not hold boxes of each map, with x0 <= x1 and y0 <= y1.
    """
    check_boxes(boxes, len(saliency))
    region = torch.zeros(saliency.shape, dtype=torch.bool)
    for image, true in zip(region, boxes, strict=True):
        for x0, y0, x1, y1 in _edges(true).tolist():
            image[y0:y1, x0:x1] = True
    return region.to(saliency.device)


def box_edges(boxes: Sequence[Tensor], saliency: Tensor) -> list[Tensor]:
    """Turn true boxes into edges: x1 and y1 one pixel further, cut off at the map.

    Args:
        boxes: See `box_union`.
        saliency: Maps (B, H, W), for their shape.

    Returns:
        Boxes of the same shapes on the CPU, whose x1 and y1 lie outside.
    """
    height, width = saliency.shape[-2:]
    size = torch.tensor([width, height, width, height])
    return [_edges(true).minimum(size) for true in boxes]


def mask_region(masks: Tensor, saliency: Tensor) -> tuple[Tensor, Tensor]:
    """Find the object's pixels of masks, and the pixels that count.

    Args:
        masks: True masks (B, H, W), uint8: 0 background, 1 object, 255 ignore.
        saliency: Maps (B, H, W), for their shape and device.

    Returns:
        Object pixels and pixels that are not ignored, both bool (B, H, W).

    Raises:
        TypeError: If ``masks`` is not uint8.
        ValueError: If the shapes differ or a mask has another value.
    """
    check_masks(masks, tuple(saliency.shape))
    masks = masks.to(saliency.device)
    region, counted = masks == 1, masks != 255
    if (counted & (masks > 1)).any():
        raise ValueError("masks must hold only 0 (background), 1 (object) and 255 (ignore)")
    return region, counted


def _edges(boxes: Tensor) -> Tensor:
    """Move the far corners of boxes (n, 4) one pixel on; negative corners become 0."""
    further = boxes.new_tensor([0, 0, 1, 1], device="cpu")
    return (boxes.cpu() + further).clamp(min=0)


def check_region(region: Tensor, saliency: Tensor, name: str = "region") -> None:
    """Refuse a tensor that does not mark pixels of maps (B, H, W).

    Args:
        region: Whether a pixel is in the region, bool (B, H, W).
        saliency: The maps.
        name: What the region is called in the refusal.

    Raises:
        TypeError: If ``region`` is not boolean.
        ValueError: If its shape is another than the maps'.
    """
    if region.dtype != torch.bool:
        raise TypeError(f"{name} must be boolean, got {region.dtype}")
    if region.shape != saliency.shape:
        raise ValueError(
            f"expected two tensors (B, H, W), got {tuple(saliency.shape)}, {tuple(region.shape)}"
        )
