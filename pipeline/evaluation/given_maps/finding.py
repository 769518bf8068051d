"""Search for the map of each image in a folder, in one ``.npz``, or in what predict.py wrote."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from learned_saliency.pipeline.cli import UserError
from learned_saliency.pipeline.evaluation.given_maps.files import (
    ENDINGS,
    MapError,
    MapFile,
    keys,
)
from learned_saliency.storage import read_json

INDEX = "predictions.json"  # what predict.py calls the index of its folder


class FoundMaps(NamedTuple):
    """Maps that were found of one method.

    Attributes:
        files: The map of each image that has one, by the image's id.
        source: What a user named, for messages.
        whole: Whether the maps are known to cover the whole original images.
        others: Number of maps that are known to explain another class than the image's label.
    """

    files: dict[str, MapFile]
    source: str
    whole: bool = False
    others: int = 0


def find_maps(
    name: str, place: Path, image_ids: Sequence[str], labels: Sequence[int]
) -> dict[str, FoundMaps]:
    """Find the maps of images.

    Args:
        name: Name that the user gave the maps.
        place: A folder, an ``.npz`` whose keys are image ids, or a folder of predict.py.
        image_ids: Ids of the images.
        labels: Class of each image, -1 where it is unknown.

    Returns:
        The maps by method: the given name, and behind it the name of the method where a folder of
        predict.py has several.

    Raises:
        UserError: If there is nothing, or one map would serve two images.
    """
    source = f"maps.{name}={place}"
    if place.is_file() and place.suffix.lower() == ".npz":
        found = {name: FoundMaps(_in_archive(source, place, image_ids), source)}
    elif not place.is_dir():
        raise UserError(f"{source}: there is no such folder, or .npz of arrays by image id.")
    elif (place / INDEX).is_file():
        found = _predicted(name, source, place, dict(zip(image_ids, labels, strict=True)))
    else:
        found = {name: FoundMaps(_in_folder(place, image_ids), source)}
    for maps in found.values():
        _check_apart(maps)
    return found


def candidates(image_id: str) -> list[str]:
    """List the names under which the map of an image is looked for, the first one first.

    The ending is appended to the id, or replaces the id's own. No name leads out of the folder.
    """
    path = PurePosixPath(image_id)
    if path.is_absolute() or ".." in path.parts or not path.name:
        return []
    stems = dict.fromkeys([str(path), str(path.with_suffix(""))])
    return [f"{stem}{ending}" for ending in ENDINGS for stem in stems]


def _in_folder(folder: Path, image_ids: Sequence[str]) -> dict[str, MapFile]:
    listings: dict[str, set[str]] = {}

    def is_there(name: str) -> bool:
        parent, _, file = name.rpartition("/")
        if parent not in listings:
            place = folder / parent
            listings[parent] = set(os.listdir(place)) if place.is_dir() else set()
        return file in listings[parent] and (folder / name).is_file()

    return _first(image_ids, is_there, lambda name: MapFile(folder / name))


def _in_archive(source: str, path: Path, image_ids: Sequence[str]) -> dict[str, MapFile]:
    try:
        known = set(keys(path))
    except MapError as error:
        raise UserError(f"{source}: {error}.") from None
    found = {}
    for image_id in image_ids:
        for key in (image_id, str(PurePosixPath(image_id).with_suffix(""))):
            if key in known:
                found[image_id] = MapFile(path, key)
                break
    return found


def _first(
    image_ids: Iterable[str], is_there: Callable[[str], bool], make: Callable[[str], MapFile]
) -> dict[str, MapFile]:
    """Take the first candidate of each image that is there."""
    found = {}
    for image_id in image_ids:
        name = next(filter(is_there, candidates(image_id)), None)
        if name is not None:
            found[image_id] = make(name)
    return found


def _predicted(
    name: str, source: str, folder: Path, labels: Mapping[str, int]
) -> dict[str, FoundMaps]:
    """Read the index of a folder that predict.py wrote.

    Of several classes of an image the map of its label is taken, else the first one.
    """
    found: dict[str, dict[str, MapFile]] = {}
    others: dict[str, int] = {}
    try:
        records = {
            record["image"]: record["maps"] for record in read_json(folder / INDEX)["images"]
        }
        for image_id in labels.keys() & records.keys():
            by_method: dict[str, list[Mapping[str, Any]]] = {}
            for record in records[image_id]:
                by_method.setdefault(str(record["method"]), []).append(record)
            for method, maps in by_method.items():
                chosen, is_other = _of_label(maps, labels[image_id])
                found.setdefault(method, {})[image_id] = _file(folder, chosen)
                others[method] = others.get(method, 0) + is_other
    except (KeyError, TypeError, AttributeError, ValueError, OSError) as error:
        raise UserError(
            f"{source}: {INDEX} is not as predict.py writes it ({type(error).__name__}: {error})."
        ) from None
    if not found:
        return {name: FoundMaps({}, source, whole=True)}
    several = len(found) > 1
    return {
        f"{name}_{method}" if several else name: FoundMaps(files, source, True, others[method])
        for method, files in sorted(found.items())
    }


def _of_label(maps: Sequence[Mapping[str, Any]], label: int) -> tuple[Mapping[str, Any], bool]:
    """Choose among the maps of a method; tell whether the map is known to be of another class."""
    classes = [(record.get("class") or {}).get("index") for record in maps]
    if label in classes:
        return maps[classes.index(label)], False
    return maps[0], label >= 0 and classes[0] is not None


def _file(folder: Path, record: Mapping[str, Any]) -> MapFile:
    name = record.get("array") or record.get("map")
    if name is None:
        raise ValueError("has neither arrays nor 16-bit PNG; call predict.py with arrays=true")
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or path.suffix not in ENDINGS:
        raise ValueError(f"names {name}, which is no map of this folder")
    return MapFile(folder / path)


def _check_apart(maps: FoundMaps) -> None:
    """Check that no map serves two images.

    Raises:
        UserError: If one does.
    """
    taken: dict[MapFile, str] = {}
    for image_id, file in maps.files.items():
        if file in taken:
            raise UserError(
                f"{maps.source}: {file} would be the map of {taken[file]} and of {image_id}; "
                f"append the ending to the whole name, {image_id}.npy."
            )
        taken[file] = image_id
