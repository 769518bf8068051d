"""Class-agnostic regions of an image: segments, and the regions that they grow to."""

import itertools
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.segmentation import felzenszwalb

_BINS = 25  # in the histogram of a channel


class Regions(NamedTuple):
    """Segments of an image and the regions that grouping makes of them.

    Attributes:
        segments: Number of each pixel's segment, uint16 (H, W), from 0 to S - 1.
        members: Segments of which each region consists, bool (R, S): first the S segments, then
            the S - 1 regions of the grouping, of which the last is the whole image.
        boxes: Box of each region, x0 y0 x1 y1 in pixels, int64 (R, 4); x1 and y1 lie inside.
    """

    segments: NDArray[np.uint16]
    members: NDArray[np.bool_]
    boxes: NDArray[np.int64]


def segment(colors: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """Segment an image by its graph of neighboring pixels (Felzenszwalb and Huttenlocher 2004).

    Args:
        colors: Shape (H, W, 3), in 0..255.

    Returns:
        Number of each pixel's segment, (H, W), from 0 without gaps; a segment has at least
        1/500 of the pixels.
    """
    smallest = max(2, colors.shape[0] * colors.shape[1] // 500)
    found = felzenszwalb(colors, scale=100, sigma=0.8, min_size=smallest)
    return np.unique(found, return_inverse=True)[1].reshape(found.shape).astype(np.uint16)


def find_regions(colors: NDArray[np.uint8]) -> Regions:
    """Segment an image, and group the segments as selective search does (Uijlings et al. 2013).

    The two most similar neighbors become one region, until the image is one. Similarity is the
    sum of the color histograms' intersection, of how small both are, and of how well they fill the
    box around both. One color space (HSV) and one segmentation are used, and no texture.

    Args:
        colors: Shape (H, W, 3), red first, in 0..255.

    Returns:
        Segments and regions.
    """
    segments = segment(colors)
    count = int(segments.max()) + 1
    members = np.zeros((2 * count - 1, count), dtype=bool)
    members[:count] = np.eye(count, dtype=bool)
    boxes = np.zeros((2 * count - 1, 4), dtype=np.int64)
    boxes[:count] = _boxes(segments, count)
    grouping = _Grouping(segments, colors, count, boxes)
    for merged in range(count, 2 * count - 1):
        first, second = grouping.merge(merged)
        members[merged] = members[first] | members[second]
    return Regions(segments, members, boxes)


class _Grouping:
    """Regions that are not merged yet, with the similarities of neighbors."""

    def __init__(
        self,
        segments: NDArray[np.uint16],
        colors: NDArray[np.uint8],
        count: int,
        boxes: NDArray[np.int64],
    ) -> None:
        self.pixels = segments.size
        self.sizes = [*np.bincount(segments.ravel(), minlength=count).tolist()]
        self.histograms = [*_histograms(segments, colors, count)]
        self.boxes = boxes
        self.near: dict[int, set[int]] = {region: set() for region in range(count)}
        for first, second in _neighbors(segments):
            self.near[first].add(second)
            self.near[second].add(first)
        pairs = ((a, b) for a, others in self.near.items() for b in others if a < b)
        self.similarities = {pair: self._similarity(*pair) for pair in pairs}

    def _similarity(self, first: int, second: int) -> float:
        color = float(np.minimum(self.histograms[first], self.histograms[second]).sum())
        both = self.sizes[first] + self.sizes[second]
        x0, y0, x1, y1 = _around(self.boxes[first], self.boxes[second])
        box = (x1 - x0 + 1) * (y1 - y0 + 1)
        return color + (1 - both / self.pixels) + (1 - (box - both) / self.pixels)

    def merge(self, merged: int) -> tuple[int, int]:
        """Make one region, numbered ``merged``, of the two most similar; of equal ones the first.

        Returns:
            The two regions.
        """
        first, second = max(self.similarities, key=lambda pair: (self.similarities[pair], pair))
        sizes = self.sizes[first], self.sizes[second]
        self.sizes.append(sum(sizes))
        weighted = self.histograms[first] * sizes[0] + self.histograms[second] * sizes[1]
        self.histograms.append(weighted / sum(sizes))
        self.boxes[merged] = _around(self.boxes[first], self.boxes[second])
        near = (self.near.pop(first) | self.near.pop(second)) - {first, second}
        for old, other in itertools.product((first, second), (first, second, *near)):
            self.similarities.pop((min(old, other), max(old, other)), None)
        for other in near:
            self.near[other] -= {first, second}
            self.near[other].add(merged)
            self.similarities[other, merged] = self._similarity(other, merged)
        self.near[merged] = near
        return first, second


def _around(first: NDArray[np.int64], second: NDArray[np.int64]) -> tuple[int, int, int, int]:
    x0, y0 = min(first[0], second[0]), min(first[1], second[1])
    return int(x0), int(y0), int(max(first[2], second[2])), int(max(first[3], second[3]))


def _neighbors(segments: NDArray[np.uint16]) -> set[tuple[int, int]]:
    """Find the pairs of segments that share an edge."""
    found: set[tuple[int, int]] = set()
    for one, other in ((segments[1:], segments[:-1]), (segments[:, 1:], segments[:, :-1])):
        differ = one != other
        pairs = np.sort(np.stack([one[differ], other[differ]], axis=1), axis=1)
        found |= {(int(a), int(b)) for a, b in np.unique(pairs, axis=0)}
    return found


def _boxes(segments: NDArray[np.uint16], count: int) -> NDArray[np.int64]:
    """Compute the box of each segment, int64 (S, 4)."""
    rows, columns = np.indices(segments.shape)
    boxes = np.empty((count, 4), dtype=np.int64)
    boxes[:, :2], boxes[:, 2:] = max(segments.shape), 0
    for axis, places in ((0, columns), (1, rows)):
        np.minimum.at(boxes[:, axis], segments, places)
        np.maximum.at(boxes[:, axis + 2], segments, places)
    return boxes


def _histograms(
    segments: NDArray[np.uint16], colors: NDArray[np.uint8], count: int
) -> NDArray[np.float64]:
    """Compute each segment's histograms of hue, saturation and value, of sum 1, (S, 75)."""
    hsv = cv2.cvtColor(colors, cv2.COLOR_RGB2HSV).astype(np.int64)
    scaled = hsv * _BINS // np.array([180, 256, 256])
    found = np.empty((count, 3, _BINS))
    for channel in range(3):
        pairs = segments.ravel().astype(np.int64) * _BINS + scaled[..., channel].ravel()
        found[:, channel] = np.bincount(pairs, minlength=count * _BINS).reshape(count, _BINS)
    return found.reshape(count, -1) / found.sum((1, 2))[:, None]
