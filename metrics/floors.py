from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

from learned_saliency.metrics.boxes import IOU_THRESHOLDS, check_boxes
from learned_saliency.metrics.checks import check_masks
from learned_saliency.metrics.figures import Figure, declared
from learned_saliency.metrics.localization import MaxBoxAcc, MaxBoxAccV2
from learned_saliency.metrics.pxap import PxAP, average_precision
from learned_saliency.ops import box_iou

FLOORS = ("full_image", "centered_box")  # names of what `LocalizationFloors` computes
_IOU_50 = IOU_THRESHOLDS.index(0.5)


class LocalizationFloors(Metric):
    """Metrics of maps made without looking at the image, which a method has to beat.

    ``full_image`` is a map of ones, ``centered_box`` the best of the binary maps that mark one
    fixed rectangle in the middle of every image. Rectangles are k/G of the image's width and j/G
    of its height, k, j = 1..G, in whole pixels, so that the full image is among them and
    ``centered_box`` is never the lower floor. The best rectangle is chosen for each metric on the
    images evaluated (for ``max_box_acc_v2`` for each IoU), just as the metrics choose their
    threshold.

    ``compute`` gives ``{"full_image": {...}, "centered_box": {...}}`` with the float64 fractions
    ``max_box_acc`` and ``max_box_acc_v2`` if boxes were seen and ``pxap`` if masks were seen, equal
    to ``MaxBoxAcc``, ``MaxBoxAccV2`` and ``PxAP`` of the binary maps; ``pxap`` is NaN without any
    object pixel.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    needs: ClassVar[frozenset[str]] = frozenset()  # boxes or masks, whichever the data has
    figures: ClassVar[Mapping[str, Figure]] = {
        **declared(MaxBoxAcc),
        **declared(MaxBoxAccV2),
        **declared(PxAP),
    }

    hits: Tensor  # (3, G, G): IoU threshold, height, width
    images: Tensor
    inside: Tensor  # (2, G, G): background and object pixels in the rectangle
    total: Tensor  # (2,): background and object pixels

    def __init__(self, grid: int = 56, **kwargs: Any) -> None:
        """Set up the rectangles.

        Args:
            grid: Number G of widths and of heights, at least 1; 56 is a step of 4 pixels in 224.
            **kwargs: Options of ``torchmetrics.Metric``.

        Raises:
            ValueError: If ``grid`` is less than 1.
        """
        super().__init__(**kwargs)
        if grid < 1:
            raise ValueError(f"grid must be at least 1, got {grid}")
        self.grid = grid
        shapes = {"hits": (len(IOU_THRESHOLDS), grid, grid), "images": ()}
        shapes |= {"inside": (2, grid, grid), "total": (2,)}
        for name, shape in shapes.items():
            self.add_state(name, torch.zeros(shape, dtype=torch.int64), dist_reduce_fx="sum")

    def update(
        self,
        boxes: Sequence[Tensor] | None,
        image_size: tuple[int, int],
        masks: Tensor | None = None,
    ) -> None:
        """Count the true boxes and pixels that each rectangle meets in a batch.

        Args:
            boxes: True boxes x0 y0 x1 y1 per image, in pixels, integers (n, 4), x1 and y1
                counted as inside; an image without any is not counted for them. None where the
                data has no boxes.
            image_size: Height H and width W of the images in pixels, each at least 1.
            masks: True masks of shape (B, H, W), uint8: 0 background, 1 object, 255 ignore.

        Raises:
            TypeError: If a tensor of ``boxes`` is not of integers or ``masks`` not uint8.
            ValueError: If a box ends before it begins, ``image_size`` is not
                positive, or ``masks`` has another shape or other values.
        """
        height, width = image_size
        if height < 1 or width < 1:
            raise ValueError(f"image_size must be positive, got {tuple(image_size)}")
        top, bottom = _centered_spans(height, self.grid)
        left, right = _centered_spans(width, self.grid)
        if boxes is not None:
            check_boxes(boxes)
        if masks is not None:
            check_masks(masks, (len(masks) if boxes is None else len(boxes), height, width))
            inside, total = _pixels_inside(masks, (top, bottom), (left, right))
            self.inside += inside.to(self.inside.device)
            self.total += total.to(self.total.device)
        if boxes is not None:
            shape = (self.grid, self.grid)
            edges = [left[None], top[:, None], right.clamp_max(width - 1)[None]]
            edges.append(bottom.clamp_max(height - 1)[:, None])
            proposed = torch.stack([edge.expand(shape) for edge in edges], dim=-1)
            boxed = [of_image for of_image in boxes if len(of_image)]
            if boxed:
                self.hits += _box_hits(proposed, boxed).to(self.hits.device)
            self.images += len(boxed)

    def compute(self) -> dict[str, dict[str, Tensor]]:
        """Compute the metrics of both floors; the class docstring lists them."""
        full: dict[str, Tensor] = {}
        best: dict[str, Tensor] = {}
        if self.images > 0:
            accuracy = self.hits.double() / self.images
            for floor, values in ((full, accuracy[:, -1, -1]), (best, accuracy.amax((1, 2)))):
                floor |= {"max_box_acc": values[_IOU_50], "max_box_acc_v2": values.mean()}
        if self.total.sum() > 0:
            outside = self.total[:, None, None] - self.inside
            background, of_object = torch.stack([outside, self.inside], dim=-1)  # (G, G, 2) each
            pxap = average_precision(of_object, background)
            full["pxap"], best["pxap"] = pxap[-1, -1], pxap.max()
        return dict(zip(FLOORS, (full, best), strict=True))


def _centered_spans(length: int, grid: int) -> tuple[Tensor, Tensor]:
    """Find begin and end (exclusive) of ``grid`` centered stretches of ``length`` pixels."""
    sizes = (torch.arange(1, grid + 1) * length / grid).round().long().clamp_min(1)
    begin = (length - sizes) // 2
    return begin, begin + sizes


def _box_hits(proposed: Tensor, boxes: Sequence[Tensor]) -> Tensor:
    """Count images with a true box that each box (G, G, 4) meets, by IoU, int64 (3, G, G)."""
    truth = torch.cat([image_boxes.detach().cpu() for image_boxes in boxes]).numpy()
    counts = np.array([len(image_boxes) for image_boxes in boxes])
    ious = box_iou(proposed.numpy(), truth.astype(np.int64)[:, None, None])  # (N, G, G)
    best = np.maximum.reduceat(ious, counts.cumsum() - counts)  # (B, G, G)
    thresholds = np.array(IOU_THRESHOLDS)[:, None, None, None]
    return torch.from_numpy((best >= thresholds).sum(1))


def _pixels_inside(
    masks: Tensor, rows: tuple[Tensor, Tensor], columns: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    """Count background and object pixels in each rectangle, int64 (2, G, G), and in all, (2,)."""
    kinds = torch.stack([masks == 0, masks == 1])
    ignored = (masks == 255).sum()
    if kinds.sum() + ignored != masks.numel():
        raise ValueError("masks must hold only 0 (background), 1 (object) and 255 (ignore)")
    summed = kinds.sum(1).cumsum(1).cumsum(2)
    summed = torch.nn.functional.pad(summed, (1, 0, 1, 0))  # summed[:, y, x]: rows < y, columns < x
    begin, end = (summed[:, edge.to(summed.device)] for edge in rows)
    between = end - begin  # (2, G, W + 1)
    left, right = (edge.to(summed.device) for edge in columns)
    return between[:, :, right] - between[:, :, left], kinds.sum((1, 2, 3))
