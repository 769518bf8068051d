"""Folder of an evaluation or a run, as far as its page needs it: nothing else is read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from learned_saliency.datamodules import SPLITS
from learned_saliency.pipeline.reports.image_scores import TABLE_FILE, ImageScores
from learned_saliency.pipeline.reports.results import restored
from learned_saliency.pipeline.reports.saved import SavedEvaluation, read_saved
from learned_saliency.storage import read_json

_CONFIG = "config.yaml"


def read_folder(folder: Path) -> SavedEvaluation:
    """Read an evaluation, also one without images, such as of studies alone.

    Raises:
        UserError: If its images are not as evaluations write them.
        OSError: If there are no results.
        ValueError: If the results are not as evaluations write them.
    """
    if (folder / TABLE_FILE).is_file():
        return read_saved(folder)
    content = read_json(folder / "results.json")
    split = next((key for key in content if key in SPLITS), None)
    if split is None:
        raise ValueError(f"{folder}: its results.json has no split")
    record = {key: value for key, value in content.items() if key != split}
    nothing = ImageScores([], [], np.empty((0, 0)), {})
    return SavedEvaluation(folder, split, restored(content[split]), record, [], nothing)


def read_names(folder: Path) -> Mapping[str, str]:
    """Read names out of the configuration: ``data``, ``model`` and ``backbone``, where they are."""
    path = folder / _CONFIG
    if not path.is_file():
        return {}
    try:
        config: Any = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    except (OSError, YAMLError, OmegaConfBaseException):
        return {}
    found = {}
    for key in ("data", "model", "backbone"):
        part = config.get(key) if isinstance(config, dict) else None
        name = part.get("name") if isinstance(part, dict) else None
        if isinstance(name, str) and "${" not in name:
            found[key] = name
    return found
