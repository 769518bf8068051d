"""Regions that contain the object with a given probability, by conformal risk control."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics import Metric

from learned_saliency.metrics.boxes import check_boxes
from learned_saliency.metrics.checks import check_masks, check_saliency
from learned_saliency.metrics.figures import Figure

TRUTHS = ("masks", "boxes")  # what the true objects are known by, in the order of the sums
FORMS = ("object", "pixels")  # what a level is a share of, likewise

_STEPS = 2000
#: Thresholds tau that a region {smoothed map >= tau} may have, float64 (2001,): squares, so that
#: they lie closest near 0, where the lowest value of a map on its object often is.
COVERAGE_THRESHOLDS = (np.arange(_STEPS + 1) / _STEPS) ** 2
_UNIT = 2**32  # losses are counted in whole parts of this, rounded up
_SMOOTHING = 8  # standard deviations of the Gaussian along a side of a map
_FLAT = 1e-6  # largest difference of values in a map that is constant but for its rounding


class CalibrationSums(NamedTuple):
    """Losses of the calibration images, summed, from which any level is found.

    Attributes:
        losses: Sums over the images of the loss at each threshold, in parts of 2^-32, int64
            (truths, forms, thresholds), see `TRUTHS`, `FORMS` and `COVERAGE_THRESHOLDS`.
        images: Images with an object by kind of truth, int64 (truths,).
    """

    losses: Tensor
    images: Tensor


class CoverageCalibration(Metric):
    """Losses of thresholded regions on calibration images (Angelopoulos et al., ICLR 2024).

    A map is smoothed by a Gaussian, see `smoothed`: a map's single low pixels on an object would
    otherwise make a region that holds all of the object hold the image, too. The regions of a map
    are nested: {smoothed map >= tau} shrinks as tau grows, and a constant map's region is the whole
    image. With masks the region is this set of pixels, with boxes the smallest box around it. The
    loss of a region is, by form,

    - ``object``: 1 if any pixel of the object (all true boxes of the image) lies outside, else 0;
    - ``pixels``: the share of the object's pixels (of the union of the true boxes) that do.

    Both are in [0, 1] and never fall as tau grows, which is all that `calibrated_threshold` needs.
    Images without a pixel of the object are left out; ignored pixels are none.

    Thresholds come from a grid that is fixed beforehand, on which the theorem holds as it does on
    all numbers; the best threshold is missed by less than one step, on the side of the larger
    region. A share is rounded up to a multiple of 2^-32. So the states are integers of fixed size,
    whose sums over processes are exact in any order.
    """

    is_differentiable = False
    full_state_update = False
    needs: ClassVar[frozenset[str]] = frozenset()
    figures: ClassVar[dict[str, Figure]] = {}

    losses: Tensor
    images: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        losses, images = empty_sums()
        self.add_state("losses", losses, dist_reduce_fx="sum")
        self.add_state("images", images, dist_reduce_fx="sum")

    def update(
        self, saliency: Tensor, boxes: Sequence[Tensor] | None = None, masks: Tensor | None = None
    ) -> None:
        """Count the losses of a batch by each kind of truth that it has.

        Args:
            saliency: Maps of shape (B, H, W) in [0, 1].
            boxes: True boxes x0 y0 x1 y1 per map, integers (n, 4), in pixels of the map, x1 and y1
                inside the box; what lies beyond the map is cut off.
            masks: True masks (B, H, W), uint8: 0 background, 1 object, 255 ignore.

        Raises:
            TypeError: If ``saliency`` is not floating, ``boxes`` not integers or ``masks`` not
                uint8.
            ValueError: If ``saliency`` is no batch of maps in [0, 1], or the truth does not fit it.
        """
        check_saliency(saliency)
        found = [None, None]
        if masks is not None:
            check_masks(masks, tuple(saliency.shape))
            found[0] = mask_losses(saliency, masks)
        if boxes is not None:
            check_boxes(boxes, len(saliency))
            found[1] = box_losses(saliency, boxes)
        for truth, losses in enumerate(found):
            if losses is not None:
                self.losses[truth] += losses.sum(0).to(self.losses.device)
                self.images[truth] += len(losses)

    def compute(self) -> CalibrationSums:
        """Return the sums over all images."""
        return CalibrationSums(self.losses, self.images)


def empty_sums() -> CalibrationSums:
    """Return the sums of no image."""
    losses = torch.zeros(len(TRUTHS), len(FORMS), len(COVERAGE_THRESHOLDS), dtype=torch.int64)
    return CalibrationSums(losses, torch.zeros(len(TRUTHS), dtype=torch.int64))


def smoothed(saliency: Tensor) -> Tensor:
    """Smooth maps by a Gaussian whose standard deviation is an eighth of a map's side.

    Near a border the weights that fall outside are left out and the others sum to one.

    Args:
        saliency: Maps of shape (B, H, W) in [0, 1].

    Returns:
        Maps in [0, 1], float32 (B, H, W): computed in float64, so that they differ little by device
        and not by batch.
    """
    down, across = (_gaussian(side).to(saliency.device) for side in saliency.shape[1:])
    return (down @ saliency.detach().double() @ across.T).clamp(0, 1).float()


def _gaussian(side: int) -> Tensor:
    """Compute the weights of all places for each place along a side, float64 (side, side)."""
    places = torch.arange(side, dtype=torch.float64) * _SMOOTHING / side
    weights = (-0.5 * (places[:, None] - places) ** 2).exp()
    return weights / weights.sum(1, keepdim=True)


def region(saliency: Tensor, threshold: float) -> Tensor:
    """Find the region of each map at a threshold: the whole image where the map is constant.

    Args:
        saliency: Maps of shape (B, H, W) in [0, 1].
        threshold: Least value of the smoothed map inside the region, in [0, 1].

    Returns:
        bool (B, H, W).

    Raises:
        TypeError: If ``saliency`` is not of a floating type.
        ValueError: If ``saliency`` is no batch of maps in [0, 1].
    """
    check_saliency(saliency)
    return _flat(saliency)[:, None, None] | (smoothed(saliency).double() >= threshold)


def calibrated_threshold(losses: Tensor, images: int, level: float) -> float | None:
    """Find the largest threshold at which the bound on the expected loss is at most 1 - level.

    For exchangeable images, the expected loss of a new image's region is then at most 1 - level:
    the largest tau with (n R_n(tau) + 1) / (n + 1) <= 1 - level, where R_n is the mean loss of the
    n calibration images (Angelopoulos et al., eq. 4). For a loss of 0 or 1 this is split conformal
    prediction: of the n largest thresholds that cover each image, the floor((1 - level) (n + 1))-th
    lowest. The level counts as the decimal number that it is written as.

    Args:
        losses: Sums of losses at each of `COVERAGE_THRESHOLDS`, in parts of 2^-32, int64 (T,).
        images: Number n of images, 0 or more.
        level: Expected share that is covered, in (0, 1).

    Returns:
        The threshold; None where none holds, which (1 - level) (n + 1) < 1 makes sure of, or where
        only 0 does, at which every region is the whole image.

    Raises:
        ValueError: If ``level`` is outside (0, 1).
    """
    if not 0 < level < 1:
        raise ValueError(f"level must be in (0, 1), got {level}")
    allowed = (1 - Fraction(str(level))) * (images + 1) - 1  # sum of losses
    holds = losses <= int(allowed * _UNIT) if allowed >= 0 else torch.zeros_like(losses).bool()
    last = int(holds.sum()) - 1  # sums never fall
    return float(COVERAGE_THRESHOLDS[last]) if last > 0 else None


def images_needed(level: float) -> int:
    """Compute the least number of calibration images with which a level can hold.

    Args:
        level: Expected share that is covered, in (0, 1).
    """
    return math.ceil(1 / (1 - Fraction(str(level)))) - 1


def mask_losses(saliency: Tensor, masks: Tensor) -> Tensor:
    """Compute the losses of the regions of images with an object.

    Args:
        saliency: Maps of shape (B, H, W) in [0, 1].
        masks: True masks of shape (B, H, W), uint8: 0 background, 1 object, 255 ignore.

    Returns:
        Losses at `COVERAGE_THRESHOLDS` by form, in parts of 2^-32, int64 (n, 2, T), of the n <= B
        images with an object.
    """
    of_object = masks.to(saliency.device) == 1
    present = of_object.flatten(1).any(1)
    saliency, of_object = saliency[present], of_object[present]
    grid = torch.from_numpy(COVERAGE_THRESHOLDS).to(saliency.device)
    count, size = len(saliency), len(grid) + 1
    # The first threshold above a value is the first whose region lacks the pixel.
    image, row, column = of_object.nonzero(as_tuple=True)
    values = smoothed(saliency)[image, row, column].double()
    first = torch.bucketize(values, grid, right=True)
    lacking = torch.bincount(image * size + first, minlength=count * size).view(count, size)
    lacking = lacking.cumsum(1)[:, :-1]
    lacking[_flat(saliency)] = 0
    return _by_form(lacking, of_object.flatten(1).sum(1))


def box_losses(saliency: Tensor, boxes: Sequence[Tensor]) -> Tensor:
    """Compute the losses of the smallest boxes around the regions.

    Args:
        saliency: Maps of shape (B, H, W) in [0, 1].
        boxes: True boxes x0 y0 x1 y1 per map, integers (n, 4), x1 and y1 inside the box; what
            lies beyond the map is cut off.

    Returns:
        Losses at `COVERAGE_THRESHOLDS` by form, in parts of 2^-32, int64 (n, 2, T), of the n <= B
        images with a box that meets the map.
    """
    maps = smoothed(saliency).double().cpu().numpy()
    found = _region_boxes(maps)  # (B, T, 4)
    found[_flat(saliency).cpu().numpy()] = 0, 0, maps.shape[2] - 1, maps.shape[1] - 1
    lacking, total = [], []
    for region_boxes, image_boxes in zip(found, boxes, strict=True):
        inside = np.zeros((maps.shape[1] + 1, maps.shape[2] + 1), np.int64)
        for x0, y0, x1, y1 in image_boxes.clamp(min=-1).tolist():
            inside[1:, 1:][max(y0, 0) : y1 + 1, max(x0, 0) : x1 + 1] = 1
        sums = inside.cumsum(0).cumsum(1)
        x0, y0, x1, y1 = region_boxes.T
        shared = sums[y1 + 1, x1 + 1] - sums[y0, x1 + 1] - sums[y1 + 1, x0] + sums[y0, x0]
        total.append(sums[-1, -1])
        lacking.append(sums[-1, -1] - np.where(x1 < x0, 0, shared))
    totals = torch.from_numpy(np.array(total))
    met = totals > 0
    return _by_form(torch.from_numpy(np.stack(lacking))[met], totals[met])


def _region_boxes(maps: NDArray[np.float64]) -> NDArray[np.int64]:
    """Find the box x0 y0 x1 y1 around each region, (B, T, 4); x1 < x0 for an empty one."""
    ends = []
    for axis in (1, 2):  # columns, then rows
        peaks = maps.max(axis)
        edges = []
        for along in (peaks, peaks[:, ::-1]):
            reached = np.maximum.accumulate(along, 1)  # never falls
            edges.append([np.searchsorted(row, COVERAGE_THRESHOLDS) for row in reached])
        low, high = np.array(edges)
        ends.append((low, peaks.shape[1] - 1 - high))
    (x0, x1), (y0, y1) = ends
    return np.stack([x0, y0, x1, y1], axis=-1)


def _by_form(lacking: Tensor, total: Tensor) -> Tensor:
    """Compute the losses by form, (n, 2, T), of missed pixels (n, T) of ``total`` pixels (n,)."""
    share = (lacking * _UNIT + total[:, None] - 1) // total[:, None]  # rounded up
    return torch.stack([(lacking > 0) * _UNIT, share], 1)


def _flat(saliency: Tensor) -> Tensor:
    """Tell which maps (B, H, W) are constant, bool (B,)."""
    values = saliency.detach().flatten(1)
    return values.amax(1) - values.amin(1) <= _FLAT
