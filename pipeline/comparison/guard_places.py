"""Places on the image to which the mass of maps moved, from pictures of the maps."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from learned_saliency.pipeline.cli import UserError
from learned_saliency.pipeline.comparison.guard_statistics import sample, student_interval
from learned_saliency.pipeline.reports import SavedEvaluation
from learned_saliency.trainers import GalleryImage

#: Cells of the image, row by row, then its frame.
PLACES = (
    *("upper left corner", "upper middle", "upper right corner"),
    *("left middle", "center", "right middle"),
    *("lower left corner", "lower middle", "lower right corner"),
    "frame",
)
_CELLS = 3  # per side
_FRAME = 0.1  # width of the frame as a part of the side
_SLACK = 1.5  # pixels of the smaller input, by which boxes of inputs of two sizes may differ


class Gain(NamedTuple):
    """Change of the share of mass that lies in one place, off the object.

    Attributes:
        place: One of ``PLACES``; the frame is the outer tenth of each side, and the cells hold it.
        old: Mean share of OLD in [0, 1].
        new: Mean share of NEW.
        low: Lower end of the interval of the change; those of all places hold together.
        high: Upper end.
    """

    place: str
    old: float
    new: float
    low: float
    high: float

    @property
    def change(self) -> float:
        """Change of the share."""
        return self.new - self.old


class Seen(NamedTuple):
    """Pictured images of both networks.

    Attributes:
        image_ids: Names of N images.
        old: Shares of OLD's mass off the object by place, float64 (N, 10).
        new: Shares of NEW's, likewise.
        areas: Share of each image that the object covers, float64 (N,).
        class_names: Names of the labels.
    """

    image_ids: list[str]
    old: NDArray[np.float64]
    new: NDArray[np.float64]
    areas: NDArray[np.float64]
    class_names: Sequence[str]


def look(old: SavedEvaluation, new: SavedEvaluation, method: str, masks: bool) -> Seen:
    """Find the mass off the objects on the images that both evaluations have pictures of.

    Args:
        old: Evaluation of the network so far.
        new: Evaluation of the other one.
        method: Name of the method whose maps are looked at.
        masks: Whether objects are the true masks, instead of the true boxes.

    Raises:
        UserError: If pictures cannot be read, or an image has other true boxes in NEW than in OLD.
    """
    galleries = [saved.gallery() for saved in (old, new)]
    images = [
        {image.image_id: image for image in found.images if method in image.maps}
        for found in galleries
    ]
    shared = [name for name in images[0] if name in images[1]]
    for name in shared:
        _check_boxes(images[0][name], images[1][name])
    shared = [name for name in shared if not masks or images[0][name].regions]
    regions = {name: object_region(images[0][name], masks) for name in shared}
    shares = [
        np.array([_shares(found[name], method, regions[name]) for name in shared])
        for found in images
    ]
    areas = np.array([regions[name].mean() for name in shared])
    old_shares, new_shares = (values.reshape(-1, len(PLACES)) for values in shares)
    names = galleries[0].class_names or galleries[1].class_names
    return Seen(shared, old_shares, new_shares, areas, names)


def gains(seen: Seen, image_ids: Collection[str], level: float) -> list[Gain]:
    """List the places by the mass that they gained off the object, the largest gain first.

    Intervals are Student's with Bonferroni's correction for the number of places.

    Args:
        seen: Pictured images.
        image_ids: Names of the images that count, pictured or not.
        level: Confidence with which the intervals of all places hold, in (0, 1).

    Returns:
        Nothing where fewer than two of the images are pictured.
    """
    wanted = set(image_ids)
    rows = [place for place, name in enumerate(seen.image_ids) if name in wanted]
    if len(rows) < 2:
        return []
    old, new = seen.old[rows], seen.new[rows]
    each = 1 - (1 - level) / len(PLACES)
    ends = [student_interval(sample(change), each) for change in (new - old).T]
    found = zip(PLACES, old.mean(0).tolist(), new.mean(0).tolist(), ends, strict=True)
    listed = [Gain(place, before, after, *end) for place, before, after, end in found]
    return sorted(listed, key=lambda gain: -gain.change)


def object_region(image: GalleryImage, masks: bool) -> NDArray[np.float32]:
    """Draw the object of an image, 1 on it and 0 off it, float32 (H, W).

    Args:
        image: The image, with outlines of its mask or true boxes.
        masks: Whether the mask is drawn, instead of the boxes.
    """
    region = np.zeros(image.size, np.uint8)
    if masks:
        outlines = [np.array(points, np.int32).reshape(-1, 1, 2) for points in image.regions]
        cv2.fillPoly(region, outlines, 1)
    else:
        for x0, y0, x1, y1 in image.boxes:
            region[max(y0, 0) : y1 + 1, max(x0, 0) : x1 + 1] = 1
    return region.astype(np.float32)


def _shares(image: GalleryImage, method: str, region: NDArray[np.float32]) -> NDArray[np.float64]:
    """Compute the shares of a map's mass off the object, by place; zeros for a map of zeros."""
    code = np.frombuffer(image.maps[method].values, np.uint8)
    values = cv2.imdecode(code, cv2.IMREAD_GRAYSCALE).astype(np.float64)
    height, width = values.shape
    on = cv2.resize(region, (width, height), interpolation=cv2.INTER_AREA)
    whole = values.sum()
    off = values * (1 - on) / (whole if whole > 0 else 1.0)
    rows, columns = (np.arange(_CELLS) * side // _CELLS for side in (height, width))
    parts = np.add.reduceat(np.add.reduceat(off, rows, 0), columns, 1)
    deep, wide = (max(1, round(side * _FRAME)) for side in (height, width))
    frame = off.sum() - off[deep : height - deep, wide : width - wide].sum()
    return np.append(parts.ravel(), frame)


def _check_boxes(old: GalleryImage, new: GalleryImage) -> None:
    """Check that an image has the same true boxes in both, whatever the size of the input."""
    scaled = []
    for image in (old, new):
        edges = np.array(image.boxes, np.float64).reshape(-1, 4)
        edges[:, 2:] += 1
        scaled.append(edges / [*image.size[::-1], *image.size[::-1]])
    slack = 0 if old.size == new.size else _SLACK / min(*old.size, *new.size)
    if scaled[0].shape != scaled[1].shape or (np.abs(scaled[0] - scaled[1]) > slack).any():
        raise UserError(
            f"{old.image_id} has other true boxes in NEW than in OLD; the truth of both must be "
            "the same."
        )
