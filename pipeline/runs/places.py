"""Place of a checkpoint's data set on this machine.

A checkpoint names the folders of its training. It may come from another machine or from anyone, so
these folders count only where they are there and hold the data set, and then nothing is written
into them. What a reader makes goes where the command line or this machine's own configuration says
(``LEARNED_SALIENCY_CACHE``, for the embedded data set and for images that are kept resized).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from learned_saliency.pipeline.cli import CONFIG_DIR, UserError

_PLACES = ("root", "metadata")
_SPLITS = ("train", "val", "test")


def located_data(own: DictConfig, given: DictConfig, origin: str | Path) -> DictConfig:
    """Return the data set of a checkpoint, at its place on this machine.

    Args:
        own: ``data`` of the configuration in the checkpoint.
        given: Values of the command line, which replace those of the checkpoint.
        origin: Name of the checkpoint, for a message.

    Raises:
        UserError: If the data set is not on this machine.
    """
    data = OmegaConf.merge(own, given)
    chosen = {key: given[key] for key in _PLACES if key in given}  # by a person or this machine
    moved = _moved(own, chosen["root"]) if "root" in chosen else None  # along with the root
    if _holds_data(chosen.get("root"), moved):
        chosen = {"metadata": moved} | chosen
    if data.get("reader") is not None:
        here = _of_machine(data, chosen)
        recorded = not chosen and "reader" not in given and _holds_recorded(data)
        if not recorded or _holds_data(here.get("root"), here.get("metadata")):
            chosen = here | chosen
    if moved is not None:
        chosen = {"metadata": moved} | chosen
    data.update(chosen | {"cache_folder": given.get("cache_folder")})
    if not {"root", "metadata"} <= chosen.keys():
        _check_recorded(data, chosen, origin)
    if data.get("mask_root") is not None and "mask_root" not in given:
        _check_folder("mask_root", data.mask_root, origin)
    return data


def _check_recorded(data: DictConfig, chosen: dict[str, Any], origin: str | Path) -> None:
    """Check the folders that the checkpoint alone names, and let nothing be written into them."""
    root, metadata = (_value(data, key) for key in _PLACES)
    if _holds_recorded(data):
        data.read_only = True
    elif data.get("reader") is not None and "metadata" in chosen:
        _check_folder("root", root, origin)  # a download, of which the metadata are made
    else:
        raise UserError(
            f"{origin}: its data set is not on this machine (data.root={root} data.metadata="
            f"{metadata}); say where it lies: data.root=FOLDER data.metadata=FOLDER."
        )


def _check_folder(key: str, place: Any, origin: str | Path) -> None:
    if not _is_folder(place):
        raise UserError(
            f"{origin}: its data.{key}={place} is no folder on this machine; give "
            f"data.{key}=FOLDER."
        )


def _value(data: DictConfig, key: str) -> Any:
    return None if OmegaConf.is_missing(data, key) else data.get(key)


def _moved(own: DictConfig, root: Any) -> str | None:
    """Return the folder of the metadata below another root; None if it was not below the root."""
    old, metadata = (Path(str(_value(own, key))) for key in _PLACES)
    if not metadata.is_relative_to(old):
        return None
    return str(Path(str(root)) / metadata.relative_to(old))


def _of_machine(data: DictConfig, chosen: dict[str, Any]) -> dict[str, str]:
    """Return where this machine's configuration puts the data set that a reader makes.

    Returns:
        ``root`` and ``metadata``, without those that the user has to give; empty for a reader that
        no file in ``configs/data`` has.
    """
    for path in sorted((CONFIG_DIR / "data").glob("*.yaml")):
        config = OmegaConf.load(path)
        if (config.get("reader") or {}).get("_target_") != data.reader.get("_target_"):
            continue
        places = {key: config._get_node(key)._value() for key in _PLACES if key in config}
        named = [key for key in places if not OmegaConf.is_missing(config, key)]
        places["root"] = places["root"] if "root" in named else _value(data, "root")
        node = OmegaConf.create({"reader": data.reader, **places, **chosen})
        found = {key: _resolved(node, key) for key in named}
        return {key: place for key, place in found.items() if place is not None}
    return {}


def _resolved(node: DictConfig, key: str) -> str | None:
    try:
        return str(node[key])
    except OmegaConfBaseException:  # the user has to give it, or an option of the reader is missing
        return None


def _holds_recorded(data: DictConfig) -> bool:
    return _holds_data(_value(data, "root"), _value(data, "metadata"))


def _holds_data(root: Any, metadata: Any) -> bool:
    """Tell whether images and the list of at least one split are there."""
    if root is None or metadata is None:
        return False
    lists = (Path(str(metadata)) / split for split in _SPLITS)
    return _is_folder(root) and any(_is_folder(split, "image_ids.txt") for split in lists)


def _is_folder(place: Any, file: str | None = None) -> bool:
    try:
        path = Path(str(place)).expanduser()
        return path.is_dir() if file is None else (path / file).is_file()
    except (OSError, RuntimeError, ValueError):  # a name that no system has
        return False
