"""Bundle of an evaluation: its maps, their truth, and what was measured of them."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from learned_saliency.datamodules import WSOLBatch
from learned_saliency.ops import Activation
from learned_saliency.pipeline.cli import UserError
from learned_saliency.pipeline.runs.bundles.archive import Member, local_header, offsets
from learned_saliency.pipeline.runs.bundles.facts import (
    FACTS,
    LOGITS,
    Facts,
    map_name,
    mask_name,
)
from learned_saliency.pipeline.runs.bundles.reading import BundleError, read_start, sizes
from learned_saliency.pipeline.runs.bundles.truth import BundleImage, Truth
from learned_saliency.pipeline.runs.bundles.writing import logits_header
from learned_saliency.trainers import RecordedModule, from_levels
from learned_saliency.visualization import decode_gray

_MOST_MEMBER = 2**31  # bytes that are read at once


class Bundle:
    """Bundle that ``evaluate.py bundle=OUT.zip`` has written, by anyone.

    Nothing is unpacked, and no code of it is run; of all maps only those are read that are asked
    for. What is read is compared with its digest.

    Args:
        path: The file.

    Attributes:
        path: The file.
        facts: Its description.
        images: The tested images, in the order of the split.

    Raises:
        BundleError: If it is damaged.
        UserError: If there is no bundle.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        start = read_start(path)
        self.facts: Facts = start.facts
        parts = [(FACTS, start.first.size), *sizes(start.facts)]
        self._begins = dict(zip((name for name, _ in parts), offsets(parts), strict=False))
        self.images: list[BundleImage] = self._images()
        self._named = {image.image_id: image.place for image in self.images}
        self._rows = {image.place: row for row, image in enumerate(self.images)}

    def __contains__(self, name: str) -> bool:
        return name in self.facts.members

    def read(self, name: str) -> bytes:
        """Read a member.

        Raises:
            BundleError: If its content is not the one that the description knows.
            UserError: If it is too large to be read at once.
        """
        digest = self.facts.members[name]
        if digest.size > _MOST_MEMBER:
            raise UserError(f"{self.path}: {name} has {digest.size} bytes, which is too much.")
        with self.path.open("rb") as file:
            file.seek(self.begin(name))
            content = file.read(digest.size)
        if hashlib.sha256(content).hexdigest() != digest.sha256:
            raise BundleError(self.path, name, "does not have the content of its digest")
        return content

    def begin(self, name: str) -> int:
        """Return where the content of a member begins in the file."""
        header = local_header(Member(name, self.facts.members[name].size, 0))
        return self._begins[name] + len(header)

    def levels(self, method: str, place: int) -> NDArray[np.uint16]:
        """Read the map (H, W) of a method and an image's place, in steps of 1 / 65535.

        Raises:
            BundleError: If it is damaged.
        """
        return self._pixels(map_name(self.facts.methods.index(method), place), 16)

    def map(self, method: str, place: int) -> NDArray[np.float32]:
        """Read the map (H, W) in [0, 1] of a method and an image's place, as it was measured.

        Raises:
            BundleError: If it is damaged.
        """
        return from_levels(self.levels(method, place)).numpy()

    def map_of(self, image_id: str, method: str) -> NDArray[np.float32]:
        """Read the map (H, W) in [0, 1] of an image by a method, see `map`.

        Raises:
            BundleError: If it is damaged.
            UserError: If there is no such image or method.
        """
        if image_id not in self._named or method not in self.facts.methods:
            raise UserError(f"{self.path}: has no map of {image_id} by {method}.")
        return self.map(method, self._named[image_id])

    def batch(self, images: Sequence[BundleImage]) -> tuple[dict[str, Tensor], Tensor, WSOLBatch]:
        """Read images as a test takes them.

        Returns:
            Maps (B, H, W) by method, logits (B, C), and the batch, whose pixels are zeros.

        Raises:
            BundleError: If something is damaged.
        """
        maps = {
            name: from_levels(np.stack([self.levels(name, image.place) for image in images]))
            for name in self.facts.methods
        }
        shape = len(images), 3, *self.facts.input_size
        batch: WSOLBatch = {
            "image": torch.zeros(()).expand(shape),
            "label": torch.tensor([image.label for image in images]),
            "image_id": [image.image_id for image in images],
            "index": torch.tensor([image.place for image in images]),
        }
        if self.facts.boxes:
            batch["boxes"] = [image.boxes for image in images]
        if self.facts.masks:
            masks = [self._pixels(mask_name(image.place), 8) for image in images]
            batch["mask"] = torch.from_numpy(np.stack(masks))
        if self.facts.seen:
            batch["seen"] = torch.tensor([bool(image.seen) for image in images])
        if self.facts.multilabel:
            batch["labels"] = torch.zeros(len(images), self.facts.logits, dtype=torch.bool)
            for row, image in enumerate(images):
                batch["labels"][row, list(image.labels)] = True
        if self.facts.values:
            batch["values"] = torch.tensor([image.values for image in images])
        if self.facts.samples:
            batch["first"] = torch.tensor([image.first for image in images])
            batch["source"] = [image.source for image in images]
        return maps, self._logits([self._rows[image.place] for image in images]), batch

    def module(self) -> RecordedModule:
        """Build the module that tests the maps anew."""
        facts = self.facts
        return RecordedModule(
            facts.methods,
            has_classes=facts.has_classes,
            has_scores=facts.has_scores,
            explained=facts.explained,
            box_threshold=facts.box_threshold,
            activation=Activation(facts.activation),
            values=facts.logits if facts.values else 0,
        ).eval()

    def region(self, name: str) -> BinaryIO:
        """Open a member for reading in parts, which are not compared with its digest."""
        raw = _Region(self.path, self.begin(name), self.facts.members[name].size)
        return io.BufferedReader(raw, 2**16)

    def _pixels(self, name: str, bits: int) -> NDArray:
        try:
            return decode_gray(self.read(name), self.facts.input_size, bits)
        except ValueError as error:
            raise BundleError(self.path, name, str(error)) from None

    def _logits(self, rows: Sequence[int]) -> Tensor:
        """Read the logits of images by their numbers, float32 (B, C)."""
        header = len(logits_header(len(self.images), self.facts.logits))
        width = 4 * self.facts.logits
        values = np.empty((len(rows), self.facts.logits), "<f4")
        with self.region(LOGITS) as file:
            for i, row in enumerate(rows):
                file.seek(header + row * width)
                values[i] = np.frombuffer(file.read(width), "<f4")
        return torch.from_numpy(values.astype(np.float32))

    def _images(self) -> list[BundleImage]:
        header = logits_header(len(places := self.facts.places()), self.facts.logits)
        if self.facts.members[LOGITS].size != len(header) + 4 * len(places) * self.facts.logits:
            raise BundleError(self.path, LOGITS, "has another size than it says")
        return Truth(self.path, self.facts, self.read).images()


class _Region(io.RawIOBase):
    """Part of a file, as a file of its own."""

    def __init__(self, path: Path, begin: int, size: int) -> None:
        self._file = path.open("rb", buffering=0)
        self._begin, self._size, self._at = begin, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise OSError("a place before the beginning")
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: memoryview) -> int:
        wanted = min(len(buffer), max(0, self._size - self._at))
        self._file.seek(self._begin + self._at)
        content = self._file.read(wanted)
        buffer[: len(content)] = content
        self._at += len(content)
        return len(content)

    def close(self) -> None:
        self._file.close()
        super().close()
