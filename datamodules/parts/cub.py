"""Part labels of CUB-200-2011: pairs from the class attributes, places from the part keypoints."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from learned_saliency.datamodules.opening import ImageError, opened
from learned_saliency.datamodules.parts.base import class_pairs
from learned_saliency.datamodules.sizes import Size
from learned_saliency.datamodules.textfile import DataError, read_lines
from learned_saliency.datamodules.transforms import unreadable

_SHARES = "class_attribute_labels_continuous.txt"
_KEYPOINTS = {
    "head": ("beak", "crown", "forehead", "left eye", "nape", "right eye", "throat"),
    "back": ("back",),
    "belly": ("belly",),
    "breast": ("breast",),
    "tail": ("tail",),
    "leg": ("left leg", "right leg"),
    "wing": ("left wing", "right wing"),
}
"""Keypoints of each of the 7 parts, 15 in all."""

# An attribute describes a part if the part's words occur anywhere in the attribute's name, its
# value included (``has_shape::long-legged-like`` describes a leg), as in the released code.
_WORDS = {
    "head": ("bill", "crown", "eye", "forehead", "head", "nape", "throat"),
    **{part: (part,) for part in ("back", "belly", "breast", "tail", "leg", "wing")},
}


class CUBParts:
    """Estimate of the places of a bird's parts, from the files of CUB-200-2011 (Sec. 5.2).

    Kim et al. (ICCV 2021). A class has the attributes that at least half of the answers gave it. A
    pixel belongs to the part of the nearest visible keypoint; the keypoint of the head is the mean
    of its several keypoints. Coordinates are scaled with the image, then truncated, as in the
    released code.

    Args:
        root: The unpacked folder ``CUB_200_2011``, with ``attributes/`` and ``parts/``.
        metadata: Not read: the download itself has all the information.
        segmentations: Whether pixels outside the bird belong to no part, as in the released code;
            needs the data set's segmentations, a separate download, in ``root/segmentations``.

    Attributes:
        names: ``head``, ``back``, ``belly``, ``breast``, ``tail``, ``leg``, ``wing``.
        pairs: See `PartReader`; the paper counts 31, 64 and 96 pairs with 1, 2 and 3 parts.
        looks: None: an attribute is there or not, and several describe one part.

    Raises:
        DataError: If a file is missing or malformed.
    """

    def __init__(
        self, root: str | Path, metadata: str | Path | None = None, *, segmentations: bool = True
    ) -> None:
        self.root = Path(root).expanduser()
        self.names = tuple(_KEYPOINTS)
        self.looks = None
        self.segmentations = self.root / "segmentations" if segmentations else None
        if self.segmentations is not None and not self.segmentations.is_dir():
            raise DataError(
                f"{self.segmentations}: the folder of segmentations is missing; unpack the data "
                "set's segmentations.tgz there, or set data.parts.segmentations=false."
            )
        self._check_files()
        self.pairs = class_pairs(self._read_attributes(), self._read_attribute_parts())
        images = _read_rows(self.root / "images.txt", 1)
        self._image_numbers = {f"images/{name}": number for number, name in images}
        self._keypoints = self._read_keypoints()

    def read(self, image_ids: Sequence[str], size: int | Sequence[int]) -> Tensor:
        """Read part labels, uint8 (B, H, W), all 0 without a visible keypoint; see `PartReader`.

        Raises:
            DataError: If an image is not in the data set, or a file does not decode.
        """
        return torch.stack([self._read(image_id, Size.of(size)) for image_id in image_ids])

    def _read(self, image_id: str, size: Size) -> Tensor:
        if image_id not in self._image_numbers:
            raise DataError(f"{image_id}: is not in {self.root / 'images.txt'}; it has no parts.")
        keypoints = self._keypoints.get(self._image_numbers[image_id], {})
        labels, points = self._scaled(keypoints, image_id, size)
        if not len(labels):
            return torch.zeros(*size, dtype=torch.uint8)
        places = np.meshgrid(np.arange(size.width), np.arange(size.height))
        grid = np.stack(places, axis=-1)  # (H, W, 2): x, y
        distances = ((grid[:, :, None] - points) ** 2).sum(-1)
        nearest = labels[distances.argmin(-1)]
        if self.segmentations is not None:
            path = self.segmentations / Path(image_id).relative_to("images").with_suffix(".png")
            nearest = np.where(_read_bird(path, size), nearest, 0)
        return torch.from_numpy(nearest.astype(np.uint8))

    def _scaled(
        self, keypoints: dict[str, tuple[float, float]], image_id: str, size: Size
    ) -> tuple[np.ndarray, np.ndarray]:
        """Find part labels (K,) and places x, y in pixels of the resized image, int64 (K, 2)."""
        labels, points = [], []
        for label, (part, names) in enumerate(_KEYPOINTS.items(), start=1):
            places = [keypoints[name] for name in names if name in keypoints]
            if part == "head" and places:
                places = [tuple(np.mean(places, axis=0))]
            points += places
            labels += [label] * len(places)
        path = self.root / image_id
        try:
            with opened(path) as image:
                scale = np.array(size[::-1]) / np.array(image.size, dtype=np.float64)
        except ImageError as error:
            raise unreadable(path, "image", error) from None
        scaled = np.array(points, dtype=np.float64).reshape(-1, 2) * scale
        return np.array(labels, dtype=np.int64), scaled.astype(np.int64)

    def _check_files(self) -> None:
        """Check that the lists are there."""
        lists = [self.root / "images.txt", self.root / "parts" / "parts.txt"]
        lists += [self.root / "parts" / "part_locs.txt", self.root / "attributes" / _SHARES]
        for path in [*lists, self._attribute_names()]:
            if not path.is_file():
                raise DataError(f"{path}: is missing; unpack CUB_200_2011.tgz again.")

    def _attribute_names(self) -> Path:
        """Find the names of the attributes, which the archive has beside the folder."""
        inside = self.root / "attributes" / "attributes.txt"  # where the released code moves it
        return inside if inside.is_file() else self.root.absolute().parent / "attributes.txt"

    def _read_attributes(self) -> np.ndarray:
        """Read which attributes each class has, bool (C, A)."""
        path = self.root / "attributes" / _SHARES
        rows = [line.split() for line in read_lines(path) if line.strip()]
        try:
            return np.array(rows, dtype=np.float64) >= 50.0  # percent
        except ValueError:
            raise DataError(f"{path}: not a table of numbers; unpack the download again.") from None

    def _read_attribute_parts(self) -> np.ndarray:
        """Read which parts each attribute describes, bool (A, 7)."""
        names = [name for _, name in _read_rows(self._attribute_names(), 1)]
        words = _WORDS.values()
        return np.array([[any(w in name for w in group) for group in words] for name in names])

    def _read_keypoints(self) -> dict[int, dict[str, tuple[float, float]]]:
        """Read visible keypoints x, y in pixels of the original image, by image number and name."""
        names = dict(_read_rows(self.root / "parts" / "parts.txt", 1))
        unknown = set(names.values()) - {name for group in _KEYPOINTS.values() for name in group}
        if unknown:
            path = self.root / "parts" / "parts.txt"
            raise DataError(f"{path}: no part of a bird: {sorted(unknown)}; unpack it again.")
        found: dict[int, dict[str, tuple[float, float]]] = {}
        path = self.root / "parts" / "part_locs.txt"
        for image, text in _read_rows(path, 4):
            try:
                part, x, y, visible = text.split()
                if visible != "0":
                    found.setdefault(image, {})[names[int(part)]] = float(x), float(y)
            except (KeyError, ValueError):
                raise DataError(
                    f"{path}: the line of image {image} is not `image part x y visible`; unpack "
                    "the download again."
                ) from None
        return found


def _read_rows(path: Path, fields: int) -> list[tuple[int, str]]:
    """Read lines of an integer and a text of at least the given number of words."""
    found = []
    for number, line in enumerate(read_lines(path), start=1):
        key, _, rest = line.strip().partition(" ")
        if not key:
            continue
        if not key.isdigit() or len(rest.split()) < fields:
            raise DataError(f"{path}, line {number}: not `number text`; unpack it again.")
        found.append((int(key), rest))
    return found


def _read_bird(path: Path, size: Size) -> np.ndarray:
    """Read the bird's mask, bool (H, W), resized bicubically as in the released code."""
    try:
        with opened(path) as image:
            gray = image.convert("L").resize(size[::-1], Image.Resampling.BICUBIC)
    except ImageError as error:
        raise unreadable(path, "segmentation", error) from None
    return np.asarray(gray) > 0
