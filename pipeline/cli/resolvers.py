"""Functions that the configuration's files may call, as ``${name:argument}``."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

_DIGITS = 10
_LONGEST = 40
_IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
_COLORS = {"channels": 3, "array_axes": "hwc"}  # what readers of colors say, as all did before
_UNUSUAL = re.compile(r"[^\w.-]+")


def folder_key(folder: Any, *options: Any) -> str:
    """Name what is made of a folder: by its name, and a digest of its place and the options.

    Args:
        folder: The folder, or its address; a relative path counts from the working directory.
        options: Values and groups of the configuration on which the result depends, too.

    Returns:
        A name of letters, digits and ``_.-``, "photos-5f2c81d09a": the same for the same absolute
        path and options, and another for any others.
    """
    place = Path(str(folder)).expanduser()
    place = place if "://" in str(folder) else place.absolute()
    plain = [_without_colors(_plain(option)) for option in options]
    text = json.dumps([str(place), *plain], sort_keys=True)
    digest = hashlib.sha256(text.encode())
    name = _UNUSUAL.sub("_", place.name)[:_LONGEST] or "root"
    return f"{name}-{digest.hexdigest()[:_DIGITS]}"


def imagenet(what: str, channels: int) -> list[float] | None:
    """Return ImageNet's mean or standard deviation of colors; None of other channels than three.

    Args:
        what: ``mean`` or ``std``.
        channels: Number of channels of the images.
    """
    return list(_IMAGENET[what]) if channels == 3 else None


def named(group: DictConfig, *keys: str) -> str:
    """Name the options of a group that are set, to end the name of a folder.

    Args:
        group: The group.
        *keys: Names of options that are null by default, or missing in older files.

    Returns:
        "-KEY" and the value of each that is set, in the order of the keys; empty if none is.
    """
    found = ((key, group.get(key)) for key in keys)
    return "".join(f"-{key}{value}" for key, value in found if value is not None)


def counted(group: DictConfig, key: str) -> str:
    """Name a number of a group that is above 1, to end the name of a folder.

    Args:
        group: The group.
        key: Name of a number that is 1 by default, or missing in older files.

    Returns:
        "-KEY" and the number; empty for 1.
    """
    number = group.get(key, 1)
    return f"-{key}{number}" if number != 1 else ""


def task_of(reader: Any) -> str:
    """Name the task of the images of a reader, which may show several animals."""
    animals = 1 if reader is None else reader.get("animals", 1)
    return "multiclass" if animals == 1 else "multilabel"


def classifier_figure(task: str) -> str:
    """Name the figure by which a classifier's checkpoint is chosen, whatever its maps are."""
    return {"multilabel": "mean_average_precision", "regression": "r2"}.get(task, "accuracy")


def _plain(value: Any) -> Any:
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


def _without_colors(value: Any) -> Any:
    """Leave out what a reader says about channels where these are colors: names stay as before."""
    if not isinstance(value, dict) or not _COLORS.items() <= value.items():
        return value
    return {key: child for key, child in value.items() if key not in _COLORS}


def register() -> None:
    """Make the functions known to OmegaConf."""
    OmegaConf.register_new_resolver("folder_key", folder_key, replace=True)
    OmegaConf.register_new_resolver("imagenet", imagenet, replace=True)
    OmegaConf.register_new_resolver("named", named, replace=True)
    OmegaConf.register_new_resolver("counted", counted, replace=True)
    OmegaConf.register_new_resolver("task_of", task_of, replace=True)
    OmegaConf.register_new_resolver("classifier_figure", classifier_figure, replace=True)
