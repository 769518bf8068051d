"""Files with the maps of all tested images, their truth and logits, of which a bundle is made."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterator
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import numpy as np

from learned_saliency.datamodules import WSOLBatch
from learned_saliency.trainers.base import SaliencyModule
from learned_saliency.trainers.callbacks.part_files import PartFiles
from learned_saliency.trainers.map_levels import to_levels
from learned_saliency.trainers.outputs import TestOutput
from learned_saliency.visualization import encode_gray

_LENGTHS = struct.Struct("<II")  # lengths of a record's description, JSON, and its contents


Extent = tuple[int, int]  # offset and length of bytes


class RecordedImage(NamedTuple):
    """A tested image on disk.

    Attributes:
        place: Place of the image in the split.
        image_id: Name of the image.
        label: True class; -1 where it is unknown.
        seen: Whether its class was trained on; None where all were.
        boxes: True boxes x0 y0 x1 y1 in pixels of the input, both ends inside; None without boxes.
        size: Height and width of the input in pixels.
        file: File of the contents.
        logits: Offset and length within it of the logits, float32.
        mask: The same of the true mask, gray PNG of 8 bits; None without masks.
        maps: The same of the maps by method, gray PNG of 16 bits.
        labels: All classes of the image, where it may have several; else None.
        values: Values of the image in regression; else None.
        source: Name of the image that a sample shows; None where there are no samples.
    """

    place: int
    image_id: str
    label: int
    seen: bool | None
    boxes: list[list[int]] | None
    size: tuple[int, int]
    file: Path
    logits: Extent
    mask: Extent | None
    maps: dict[str, Extent]
    labels: list[int] | None = None
    values: list[float] | None = None
    source: str | None = None

    def read(self, extent: Extent) -> bytes:
        """Read one of the contents."""
        offset, length = extent
        with self.file.open("rb") as file:
            file.seek(offset)
            return file.read(length)


class MapParts(PartFiles, L.Callback):
    """Writer of all maps of a test, which must be rounded to 16 bits (``rounds_maps``).

    Args:
        parts: Folder of the files.
    """

    def __init__(self, parts: Path) -> None:
        super().__init__(parts, "maps-*.part")

    def setup(self, trainer: L.Trainer, module: SaliencyModule, stage: str) -> None:
        """Agree on the folder of the first process; maps are rounded from here on."""
        self.parts = trainer.strategy.broadcast(self.parts)
        module.rounds_maps = True

    def on_test_batch_end(
        self,
        trainer: L.Trainer,
        module: SaliencyModule,
        outputs: TestOutput,
        batch: WSOLBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Append the images of a batch, beside the network."""
        if outputs.maps:
            module.aside.run(partial(self._add, outputs, batch))

    def _add(self, outputs: TestOutput, batch: WSOLBatch) -> None:
        if self._file is None:
            self.parts.mkdir(parents=True, exist_ok=True)
            self._file = self._part.open("ab")
        for record in _records(outputs, batch):
            self._file.write(record)
        self._file.flush()
        self._length = self._file.tell()

    def on_test_end(self, trainer: L.Trainer, module: SaliencyModule) -> None:
        """Close the file of every process."""
        self._close()
        trainer.strategy.barrier()

    def on_exception(
        self, trainer: L.Trainer, module: SaliencyModule, exception: BaseException
    ) -> None:
        """Close the file of this process."""
        module.aside.settle()
        self._close()

    def images(self) -> list[RecordedImage]:
        """Read which images are there, in the order of the split; the first process can."""
        found = (image for part in self._parts() for image in _images(part))
        return sorted(found, key=lambda image: image.place)


def _records(tested: TestOutput, batch: WSOLBatch) -> Iterator[bytes]:
    """Write the images of a batch, each with the lengths of its description and its contents."""
    logits = tested.logits.detach().float().cpu().numpy()
    levels = {name: to_levels(maps) for name, maps in tested.maps.items()}
    masks = batch["mask"].cpu().numpy().astype(np.uint8) if "mask" in batch else None
    for i, image_id in enumerate(batch["image_id"]):
        mask = b"" if masks is None else encode_gray(masks[i])
        maps = {name: encode_gray(values[i]) for name, values in levels.items()}
        told: dict[str, Any] = {
            "place": int(batch["index"][i]),
            "image_id": image_id,
            "label": int(batch["label"][i]),
            "seen": bool(batch["seen"][i]) if "seen" in batch else None,
            "boxes": batch["boxes"][i].tolist() if "boxes" in batch else None,
            "size": list(batch["image"].shape[-2:]),
        }
        if "labels" in batch:
            told["labels"] = batch["labels"][i].nonzero()[:, 0].tolist()
        if "values" in batch:
            told["values"] = batch["values"][i].tolist()
        if "source" in batch:
            told["source"] = batch["source"][i]
        parts = [logits[i].astype("<f4").tobytes(), mask, *maps.values()]
        told |= {"methods": list(maps), "lengths": [len(part) for part in parts]}
        content = b"".join(parts)
        description = json.dumps(told).encode()
        yield _LENGTHS.pack(len(description), len(content)) + description + content


def _images(part: Path) -> Iterator[RecordedImage]:
    """Read the descriptions of the images in a file."""
    with part.open("rb") as file:
        while lengths := file.read(_LENGTHS.size):
            length, rest = _LENGTHS.unpack(lengths)
            told = json.loads(file.read(length))
            sizes = told.pop("lengths")
            begins = accumulate(sizes, initial=file.tell())
            logits, mask, *maps = zip(begins, sizes, strict=False)  # the last begin is an end
            file.seek(rest, os.SEEK_CUR)
            of_methods = dict(zip(told.pop("methods"), maps, strict=True))
            told |= {"size": tuple(told["size"]), "mask": mask if mask[1] else None}
            yield RecordedImage(**told, file=part, logits=logits, maps=of_methods)
