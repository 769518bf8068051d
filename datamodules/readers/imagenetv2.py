"""ImageNetV2 (Recht et al., ICML 2019), which the WSOL benchmark gave boxes for validation."""

import os
import re
from pathlib import Path

from learned_saliency.datamodules.metadata import read_split
from learned_saliency.datamodules.readers.writing import SplitRows
from learned_saliency.datamodules.textfile import DataError, read_columns

_PREFIX = "val2/"  # the benchmark's ids begin with it
_CLASS = re.compile(r"\d{1,4}")
_IMAGES = (".jpeg", ".jpg", ".png")


def read_imagenetv2(root: Path, place: Path, metadata: Path | None) -> SplitRows:
    """Read ImageNetV2 as a split.

    Args:
        root: Root of the data set, to which ids are relative where the images lie below it.
        place: Folder of the images, which lie in folders named by the class, 0 to 999.
        metadata: The benchmark's ``metadata/ILSVRC/val``, with boxes; None lists the folders. The
            archive's files were renamed since; ``mapping.txt`` there tells names of both releases.

    Returns:
        The rows, with boxes where ``metadata`` is given.

    Raises:
        DataError: If images or metadata are missing or malformed.
    """
    if not place.is_dir():
        raise DataError(
            f"{place}: the folder of ImageNetV2's images is missing; unpack"
            " imagenetv2-threshold0.7.tar.gz and set data.reader.imagenetv2_root."
        )
    base = place.relative_to(root) if place.is_relative_to(root) else place
    if metadata is None:
        classes = sorted((int(name), name) for name in os.listdir(place) if _CLASS.fullmatch(name))
        found = [
            ((base / name / file).as_posix(), label)
            for label, name in classes
            for file in sorted(os.listdir(place / name))
            if file[0] != "." and file.lower().endswith(_IMAGES)
        ]
        if not found:
            raise DataError(f"{place}: holds no images in folders 0, 1, ...; unpack it again.")
        ids, labels = zip(*found, strict=True)
        return SplitRows(ids, labels)
    if not (metadata / "image_ids.txt").is_file():
        raise DataError(
            f"{metadata}: not the benchmark's folder metadata/ILSVRC/val (no image_ids.txt); set"
            " data.reader.imagenetv2_metadata."
        )
    split = read_split(metadata, localization=True)
    if split.boxes is None:
        raise DataError(f"{metadata}: holds no boxes; give ImageNetV2's own metadata.")
    names = _names_on_disk(
        [name.removeprefix(_PREFIX) for name in split.image_ids], place, metadata
    )
    ids = [(base / name).as_posix() for name in names]
    return SplitRows(
        ids, split.labels, split.sizes, split.boxes, [ids[i] for i in split.box_images]
    )


def _names_on_disk(names: list[str], place: Path, metadata: Path) -> list[str]:
    """Find the names that the images have: those of the metadata or of the other release."""
    if (place / names[0]).is_file():
        return names
    path = metadata / "mapping.txt"
    if path.is_file():
        one, other = read_columns(path, "name,name")
        renamed = dict(zip(one, other, strict=True)) | dict(zip(other, one, strict=True))
        names = [renamed.get(name, name) for name in names]
    if not (place / names[0]).is_file():
        raise DataError(
            f"{place / names[0]}: this image of ImageNetV2 is missing; unpack"
            " imagenetv2-threshold0.7.tar.gz, or set data.reader.imagenetv2_root."
        )
    return names
