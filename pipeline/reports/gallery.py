"""File of the pictures of tested images, beside the tables of an evaluation."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

from learned_saliency.storage import parse_json, replacing
from learned_saliency.trainers import GalleryImage, GalleryMap

GALLERY_FILE = "gallery.zip"
_INDEX = "gallery.json"
_TIME = (1980, 1, 1, 0, 0, 0)  # time of all members: equal galleries are equal files


class SavedGallery(NamedTuple):
    """Pictures of some tested images.

    Attributes:
        images: The images, in the order of the split.
        class_names: Names of the labels.
    """

    images: list[GalleryImage]
    class_names: list[str]


def write_gallery(
    folder: Path, images: Sequence[GalleryImage], class_names: Sequence[str]
) -> Path | None:
    """Write ``gallery.zip`` into the folder of an evaluation; nothing where there are no images.

    It holds ``gallery.json`` and, by the images' places, ``images/PLACE.jpg`` and
    ``maps/NUMBER/PLACE.png``, NUMBER being the method's place among the methods.
    """
    if not images:
        return None
    path = folder / GALLERY_FILE
    methods = list(dict.fromkeys(name for image in images for name in image.maps))
    told = {"class_names": list(class_names), "methods": methods, "images": []}
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for image in images:
            _add(archive, f"images/{image.place}.jpg", image.picture)
            for name, found in image.maps.items():
                _add(archive, f"maps/{methods.index(name)}/{image.place}.png", found.values)
            values = image._asdict()
            del values["picture"]
            values["maps"] = {
                name: {"box": found.box, "iou": found.iou} for name, found in image.maps.items()
            }
            told["images"].append(values)
        _add(archive, _INDEX, json.dumps(told).encode())
    return path


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    archive.writestr(zipfile.ZipInfo(name, _TIME), content)


def read_gallery(folder: Path) -> SavedGallery:
    """Read ``gallery.zip`` in the folder of an evaluation; no images where it is not there.

    Raises:
        ValueError: If it is not as evaluations write it.
    """
    path = folder / GALLERY_FILE
    return parse_gallery(path) if path.is_file() else SavedGallery([], [])


def parse_gallery(path: Path | BinaryIO) -> SavedGallery:
    """Read a gallery, which may be anyone's.

    Raises:
        ValueError: If it is not as evaluations write it.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
                raise zipfile.BadZipFile("pictures are not stored as they are")
            told = parse_json(archive.read(_INDEX))
            numbers = {name: number for number, name in enumerate(told["methods"])}
            images = []
            for values in told["images"]:
                place = int(values["place"])
                maps = {
                    name: GalleryMap(archive.read(f"maps/{numbers[name]}/{place}.png"), **found)
                    for name, found in values["maps"].items()
                }
                picture = archive.read(f"images/{place}.jpg")
                size = tuple(values["size"])
                images.append(
                    GalleryImage(**values | {"picture": picture, "maps": maps, "size": size})
                )
            return SavedGallery(images, [str(name) for name in told["class_names"]])
    except (KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
        name = path if isinstance(path, Path) else GALLERY_FILE
        raise ValueError(f"{name}: is not as evaluations write it ({error})") from None
