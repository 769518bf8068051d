"""Images of the embedded data set rendered again without some of their parts."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from learned_saliency.datamodules.creatures.anatomy import PARTS, Attributes
from learned_saliency.datamodules.creatures.drawing import Drawing
from learned_saliency.datamodules.metadata import SPLITS
from learned_saliency.datamodules.sizes import Size
from learned_saliency.datamodules.textfile import DataError
from learned_saliency.datamodules.transforms import resize_pixels

_THREADS = 2  # Painting leaves Python's lock for less than half of its time


class Renderer(Protocol):
    """Interface of `CreaturesRenderer`, as far as it draws.

    Attributes:
        classes: Attribute values of head, wing, tail and body of each class.
    """

    classes: list[Attributes]

    def draw(self, split: str, number: int) -> tuple[Drawing, int]:
        """Draw one image of a split."""


class Rerendered(NamedTuple):
    """Images without some of what they show, resized as for evaluation.

    Attributes:
        parts: Each image without each set of the P parts, uint8 (B, 2^P, 3, H, W): in number m the
            part of label p + 1 is missing where bit p of m is set. Number 0 is the image itself.
        plain: Each image before a background of one color, uint8 (B, 3, H, W).
        distractors: Images without one distractor of the background, uint8 (N, 3, H, W). Those that
            show no pixel are left in.
        rows: Place in the batch of each of them, int64 (N,), ascending.
        masks: Pixels of the distractor that is missing, bool (N, H, W).
        labels: Part of each pixel of the images, uint8 (B, H, W); 0 where there is no part.
    """

    parts: Tensor
    plain: Tensor
    distractors: Tensor
    rows: Tensor
    masks: Tensor
    labels: Tensor


class RenderedParts:
    """Images of the embedded data set with any of their parts or distractors removed.

    Nothing is painted over: the scene is painted again from its record (seed, split, number) with
    the same pose, colors, light and noise, so that what a part had hidden comes to light.

    Args:
        renderer: The data set's renderer, `CreaturesRenderer`.
        size: Side in pixels to which images are resized as for evaluation, or height and width.

    Attributes:
        names: Names of the P parts; the label of a part is its position here plus one.
        attributes: Attribute value of each part of each class, a row per class.
    """

    names: Sequence[str] = PARTS

    def __init__(self, renderer: Renderer, size: int | Sequence[int]) -> None:
        self.attributes = renderer.classes
        self._renderer, self._size = renderer, Size.of(size)

    def render(self, image_ids: Sequence[str]) -> Rerendered:
        """Render some images without each set of their parts.

        Args:
            image_ids: B ids as in the metadata, ``images/SPLIT/NUMBER.png``.

        Raises:
            DataError: If an id is not one of the embedded data set.
        """
        with ThreadPoolExecutor(_THREADS) as pool:
            found = list(pool.map(self._render, image_ids))
        parts, plain, distractors, masks, labels = zip(*found, strict=True)
        counts = torch.tensor([len(some) for some in distractors])
        rows = torch.arange(len(found)).repeat_interleave(counts)
        pictures = torch.stack(parts), torch.stack(plain), torch.cat(distractors)
        return Rerendered(*pictures, rows, torch.cat(masks), torch.cat(labels))

    def image(self, image_id: str) -> Tensor:
        """Render one image as it is, uint8 (3, H, W)."""
        return self._resized(self._draw(image_id).paint())

    def _draw(self, image_id: str) -> Drawing:
        _, _, rest = image_id.partition("/")
        split, _, name = rest.partition("/")
        number = name.removesuffix(".png")
        if split not in SPLITS or not number.isdecimal() or int(number) < 1:
            raise DataError(f"{image_id}: is no image of data=creatures, images/SPLIT/NUMBER.png.")
        return self._renderer.draw(split, int(number) - 1)[0]

    def _render(self, image_id: str) -> tuple[Tensor, ...]:
        drawing = self._draw(image_id)
        labels = range(1, len(PARTS) + 1)
        sets = ([p for p in labels if m >> p - 1 & 1] for m in range(2 ** len(PARTS)))
        parts = torch.stack([self._resized(drawing.paint(some)) for some in sets])
        plain = self._resized(drawing.paint(plain=True))
        masks = drawing.distractors()
        without = [self._resized(drawing.paint(distractors=[n])) for n in range(len(masks))]
        distractors = torch.stack(without) if without else parts[:0]
        return parts, plain, distractors, self._small(masks), self._small(drawing.parts[None])

    def _resized(self, pixels: np.ndarray) -> Tensor:
        return resize_pixels(pixels, self._size)

    def _small(self, masks: np.ndarray) -> Tensor:
        """Resize masks (N, H, W) by the nearest pixel, as `PartReader.read` does."""
        pairs = zip(self._size, masks.shape[1:], strict=True)
        down, across = (np.arange(side) * length // side for side, length in pairs)
        return torch.from_numpy(masks[:, down][:, :, across])


def shared_parts(attributes: Sequence[Attributes]) -> Tensor:
    """Compare all pairs of C classes, part by part.

    Parts with one value for all classes tell nothing and count as shared by none.

    Returns:
        Whether two classes have the same value of a part, bool (C, C, P).
    """
    values = np.array(attributes)
    same = values[:, None] == values
    telling = (values != values[0]).any(axis=0)
    return torch.from_numpy(same & telling)


def sufficient_parts(attributes: Sequence[Attributes]) -> Tensor:
    """Find the minimal sets of parts that tell each class from all others.

    Returns:
        bool (C, M, P), M the largest number of such sets; missing sets are empty.
    """
    values = np.array(attributes)
    count, parts = values.shape
    found: list[list[tuple[int, ...]]] = [[] for _ in range(count)]
    sizes = range(1, parts + 1)
    for some in itertools.chain(*(itertools.combinations(range(parts), n) for n in sizes)):
        _, where, times = np.unique(
            values[:, some], axis=0, return_inverse=True, return_counts=True
        )
        for label in np.flatnonzero(times[where.reshape(-1)] == 1):
            if not any(set(smaller) <= set(some) for smaller in found[label]):
                found[label].append(some)
    sets = torch.zeros(count, max(1, *map(len, found)), parts, dtype=torch.bool)
    for label, chosen in enumerate(found):
        for number, some in enumerate(chosen):
            sets[label, number, list(some)] = True
    return sets
