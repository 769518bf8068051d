"""Part labels of the creatures: pairs from the attribute table, places from the part masks."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from learned_saliency.datamodules.checks import leaves
from learned_saliency.datamodules.creatures.anatomy import NEUTRAL, TINTS, own_tint
from learned_saliency.datamodules.opening import ImageError, opened
from learned_saliency.datamodules.parts.base import Look, class_pairs
from learned_saliency.datamodules.sizes import Size
from learned_saliency.datamodules.textfile import DataError, read_columns
from learned_saliency.datamodules.transforms import unreadable

_COLORS = {*TINTS, "white", "black"}  # not "mark", which is near to a body's color


class CreaturesParts:
    """Reader of the parts of a data set that `CreaturesRenderer` has written.

    Args:
        root: The data set's folder.
        metadata: The folder of its metadata.

    Attributes:
        names: ``head``, ``wing``, ``tail``, ``body``.
        pairs: See `PartReader`.
        looks: See `PartReader`.

    Raises:
        DataError: If the attribute table is missing or malformed, or no split has part masks.
    """

    def __init__(self, root: str | Path, metadata: str | Path) -> None:
        self.root, metadata = (Path(path).expanduser() for path in (root, metadata))
        path = metadata / "attributes.txt"
        header, *rows = zip(*read_columns(path, "label,head,wing,tail,body"), strict=True)
        if [row[0] for row in rows] != [str(label) for label in range(len(rows))]:
            raise DataError(f"{path}: labels must be 0, 1, 2, ... after a header; write it anew.")
        self.names = header[1:]
        values = np.array([row[1:] for row in rows])
        self.looks = [[_look(*of) for of in zip(self.names, row[1:], strict=True)] for row in rows]
        self.pairs = class_pairs(values, np.eye(len(self.names), dtype=bool))
        files = [metadata / split / "parts.txt" for split in ("val", "test")]
        self._paths: dict[str, str] = {}
        for file in filter(Path.is_file, files):
            self._paths |= dict(zip(*read_columns(file, "id,part_mask"), strict=True))
        if not self._paths:
            raise DataError(
                f"{files[-1]}: this list of part masks is missing; render the set anew, with "
                "data.reader.animals=1, since images of two animals have no part masks."
            )

    def read(self, image_ids: Sequence[str], size: int | Sequence[int]) -> Tensor:
        """Read part labels, uint8 (B, H, W); see `PartReader.read`.

        Raises:
            DataError: If an image has no part mask, or the mask's file is missing or does not
                decode.
        """
        return torch.stack([self._read(image_id, Size.of(size)) for image_id in image_ids])

    def _read(self, image_id: str, size: Size) -> Tensor:
        if image_id not in self._paths:
            raise DataError(f"{image_id}: has no part mask; evaluate on the val or test split.")
        path = self.root / self._paths[image_id]
        if leaves(self._paths[image_id], self.root):
            raise DataError(
                f"{path}: the part mask lies outside of {self.root}; correct parts.txt."
            )
        try:
            with opened(path) as image:
                labels = np.asarray(image.convert("L"))
        except ImageError as error:
            raise unreadable(path, "part mask", error) from None
        edges = size.width, size.height
        resized = cv2.resize(labels, edges, interpolation=cv2.INTER_NEAREST)
        return torch.from_numpy(resized)


def _look(part: str, value: str) -> Look:
    """Read "FORM", "COLOR FORM", "ringed COLOR FORM" or "any" of the attribute table."""
    if value == NEUTRAL:
        return Look(None, None)
    *color, form = value.split()
    tint = color[-1] if color else own_tint(part, form)
    return Look(tint if tint in _COLORS else None, form)
