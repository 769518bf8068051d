"""Images with any number of classes each: their metadata, and splits drawn in equal shares."""

import logging
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from learned_saliency.datamodules.checks import read_sizes
from learned_saliency.datamodules.masks import MaskValues
from learned_saliency.datamodules.readers.writing import SplitRows
from learned_saliency.datamodules.textfile import DataError

_LOGGER = logging.getLogger(__name__)
#: Values of the masks that readers write: object, and what counts for nothing.
OBJECT, IGNORED = 255, 128
MASK_VALUES = MaskValues(object=range(OBJECT, OBJECT + 1), ignore=range(IGNORED, IGNORED + 1))

Box = tuple[int, int, int, int]


@dataclass
class LabeledImage:
    """Image with its classes.

    Attributes:
        id: Path relative to the root.
        labels: Its classes in ascending order, each once.
        boxes: Class and box x0 y0 x1 y1, both ends inside, of each object that has one.
        masks: Path of the mask of each class that has one.
    """

    id: str
    labels: Sequence[int]
    boxes: Sequence[tuple[int, Box]] = ()
    masks: Mapping[int, str] = field(default_factory=dict)


def multilabel_rows(images: Sequence[LabeledImage], sizes: np.ndarray | None = None) -> SplitRows:
    """Make the rows of a split; see `read_multilabel_split` for the format.

    Args:
        images: N images.
        sizes: Width and height of each in pixels, integers of shape (N, 2); None leaves boxes and
            masks out, as trainings do.
    """
    ids = [image.id for image in images]
    rows = SplitRows(
        ids,
        [label for image in images for label in image.labels],
        label_ids=[image.id for image in images for _ in image.labels],
    )
    if sizes is None:
        return rows
    boxes = [(*box, label) for image in images for label, box in image.boxes]
    owners = [image.id for image in images for _ in image.boxes]
    masks = [(i.id, path, "", label) for i in images for label, path in sorted(i.masks.items())]
    found: dict[str, object] = {"masks": masks} if masks else {}
    if boxes:
        found |= {"sizes": sizes, "boxes": np.array(boxes, np.int64), "box_ids": owners}
    return SplitRows(ids, rows.labels, label_ids=rows.label_ids, **found)


def sizes_of(root: Path, names: Sequence[str], remedy: str) -> np.ndarray:
    """Read width and height of images from their headers, int64 (N, 2).

    Raises:
        DataError: If an image is missing or not readable; it ends with ``remedy``.
    """
    sizes, broken = read_sizes([root / name for name in names])
    if broken:
        first = min(broken)
        raise DataError(
            f"{root / names[first]}: the image cannot be read ({broken[first]}); {remedy}."
        )
    return sizes


def covering_box(corners: Sequence[float], size: Sequence[int], where: str) -> Box:
    """Find the smallest box of whole pixels that covers a box between pixels, in its image.

    Args:
        corners: x0 y0 x1 y1, in which pixel i reaches from i to i + 1.
        size: Width and height of the image in pixels.
        where: Place of the box and what it is a box of, for a message.

    Returns:
        First and last pixels inside: floor(x0), floor(y0), ceil(x1) - 1, ceil(y1) - 1, cut at the
        image's edges; one pixel at least.

    Raises:
        DataError: If the box lies outside of the image.
    """
    x0, y0, x1, y1 = corners
    width, height = size
    if x0 >= width or y0 >= height or x1 < 0 or y1 < 0:
        text = ",".join(f"{corner:g}" for corner in corners)
        raise DataError(
            f"{where}: the box {text} lies outside of its image of {width}x{height}"
            " pixels; correct it."
        )
    left, top = max(math.floor(x0), 0), max(math.floor(y0), 0)
    right, bottom = math.ceil(min(x1, width)) - 1, math.ceil(min(y1, height)) - 1
    return left, top, max(right, left), max(bottom, top)


def truncated_box(
    corners: Sequence[float], size: Sequence[int], where: str, *, first: int = 0
) -> Box:
    """Cut off the fractions of a box whose corners are pixels, and cut it at its image's edges.

    Args:
        corners: x0 y0 x1 y1, the first and the last pixel inside.
        size: Width and height of the image in pixels.
        where: Place of the box, for a message.
        first: Number of the first pixel, 0 or 1.

    Returns:
        First and last pixels inside, counted from 0.

    Raises:
        DataError: If the box lies outside of the image.
    """
    limits = np.array([*size, *size])
    whole = np.clip(np.array(corners), -1, 1e9).astype(np.int64) - first
    if (whole[:2] >= limits[:2]).any() or (whole[2:] < 0).any():
        text = ",".join(f"{corner:g}" for corner in corners)
        raise DataError(
            f"{where}: the box {text} lies outside of its image of {size[0]}x{size[1]}"
            " pixels; correct it."
        )
    x0, y0, x1, y1 = np.clip(whole, 0, limits - 1).tolist()
    return x0, y0, x1, y1


def write_masks(
    folder: Path, names: Iterable[str], make: Callable[[str], NDArray[np.uint8]]
) -> None:
    """Write masks as PNG files, in threads.

    Args:
        folder: Folder that the names are relative to.
        names: Names of the masks.
        make: Makes a mask (H, W) by its name.
    """
    names = list(names)
    if names:
        _LOGGER.info("Writing %d masks", len(names))
    for place in {os.path.dirname(name) for name in names}:
        (folder / place).mkdir(parents=True, exist_ok=True)

    def write(name: str) -> None:
        encoded = cv2.imencode(".png", make(name))[1]
        (folder / name).write_bytes(encoded.tobytes())

    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        for _ in pool.map(write, names):
            pass


def check_draw(val_fraction: float, seed: int) -> None:
    """Check how ``val`` is to be drawn.

    Raises:
        ValueError: If ``val_fraction`` is not in (0, 1] or the seed below 0.
    """
    if not 0 < val_fraction <= 1:
        raise ValueError(f"expected val_fraction in (0, 1], got {val_fraction}")
    if seed < 0:
        raise ValueError(f"expected a seed of 0 or more, got {seed}")


def share_sizes(count: int, val_fraction: float) -> dict[str, int]:
    """Count the images that `draw_shares` puts into ``val`` and ``test`` without groups."""
    val, test = _whole(np.array([val_fraction, 1 - val_fraction]) * count)
    return {"val": int(val), "test": int(test)}


def draw_shares(
    names: Sequence[str],
    labels: Sequence[Sequence[int]],
    groups: Sequence[object],
    shares: Mapping[str, float],
    seed: int,
    known: Mapping[str, str] | None = None,
) -> list[str]:
    """Divide images with several classes each, so that every class is divided alike.

    This is iterative stratification (Sechidis, Tsoumakas and Vlahavas 2011) of groups: again and
    again the class with the fewest images left is divided; an image goes where most images of the
    class are wanted. Where every image is a group of its own, each share has its part of all
    images, rounded.

    Args:
        names: N different names of images, by which their order is drawn.
        labels: Their classes, none or more.
        groups: Their groups, which are not separated.
        shares: Parts of the images by the names of the shares, in [0, 1], which add up to 1. Among
            equals the first comes first.
        seed: Seed of the draw, 0 or more.
        known: Shares of images from an earlier draw, by their names: these are kept, and the rest
            of a group follows.

    Returns:
        The share of each image.
    """
    members: dict[object, list[int]] = {}
    for image, group in enumerate(groups):
        members.setdefault(group, []).append(image)
    order = sorted(members.values(), key=lambda group: _rank(seed, names[group[0]]))
    shares = {name: part for name, part in shares.items() if part > 0}
    places = list(shares)
    count = 1 + max((label for own in labels for label in own), default=-1)
    held = np.zeros((len(order), count + 1), np.int64)  # the last column counts images
    for row, group in enumerate(order):
        for image in group:
            held[row, [*labels[image], count]] += 1
    wanted = np.outer(list(shares.values()), held.sum(0))
    wanted[:, count] = _whole(wanted[:, count])
    before = [(known or {}).get(names[image], "") for image in range(len(names))]
    kept = [next((before[i] for i in group if before[i] in places), "") for group in order]
    chosen = _divide(held, wanted, [places.index(place) if place else -1 for place in kept])
    found = [""] * len(names)
    for row, group in enumerate(order):
        for image in group:
            found[image] = before[image] or places[chosen[row]]
    return found


def _rank(seed: int, name: str) -> bytes:
    return blake2b(f"{seed}:{name}".encode(), digest_size=8).digest()


def _whole(parts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Round parts to integers of the same sum, the largest remainders up."""
    whole = np.floor(parts + 1e-9)
    lacking = round(float(parts.sum() - whole.sum()))
    whole[np.argsort(whole - parts, kind="stable")[:lacking]] += 1
    return whole


def _divide(
    held: NDArray[np.int64], wanted: NDArray[np.float64], kept: Sequence[int]
) -> NDArray[np.int64]:
    """Choose a share for each group.

    Args:
        held: Images of each class in each group, then of all, (G, C + 1).
        wanted: Images that each share wants, likewise, (S, C + 1).
        kept: Numbers of the shares that groups are in already, -1 for none.

    Returns:
        Numbers of shares, int64 (G,).
    """
    wanted, chosen = wanted.copy(), np.array(kept, np.int64)
    for row in np.flatnonzero(chosen >= 0):
        wanted[chosen[row]] -= held[row]
    left = held[chosen < 0, :-1].sum(0)
    while True:
        rows = np.flatnonzero(chosen < 0)
        if not len(rows):
            return chosen
        label = -1  # when no class is left: images without a class, by their number alone
        if left.any():
            label = int(np.where(left > 0, left, left.max() + 1).argmin())
            rows = rows[held[rows, label] > 0]
        for row in rows:
            room = wanted[:, -1] > 0
            needs = np.where(room, wanted[:, label], -np.inf) if room.any() else wanted[:, label]
            best = np.flatnonzero(needs >= needs.max() - 1e-9)
            share = best[wanted[best, -1].argmax()]
            chosen[row] = share
            wanted[share] -= held[row]
            left -= held[row, :-1]
