"""Facts about a checkpoint, as plain values."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from omegaconf import OmegaConf

from learned_saliency.datamodules import Size
from learned_saliency.pipeline.runs.checkpoints import RECORD, Checkpoint
from learned_saliency.pipeline.runs.coverage import coverage_facts
from learned_saliency.pipeline.runs.given import given_part
from learned_saliency.pipeline.runs.record import LEARNED
from learned_saliency.storage import read_json

_RECORDED = ("selection", "splits", "training", "rising")  # keys of `results.json`
_PACKAGES = ("learned-saliency", "torch", "torchvision", "lightning", "timm")


def checkpoint_facts(checkpoint: Checkpoint) -> dict[str, Any]:
    """Collect a checkpoint's origin, needs and metrics, ready for JSON.

    Returns:
        ``method``, ``backbone``, ``data``, ``class_names``; of a network from outside, which is
        named as the ``backbone``, ``layer`` and the finer ``levels``; the input: ``input_size``
        (height and width in pixels), ``mean`` and ``std`` of the color channels in [0, 1];
        ``box_threshold`` in [0, 1]; ``coverage``: see `coverage_facts`; ``metrics``: the metrics in
        the run's ``results.json`` by split and method, empty if this file is missing or belongs to
        another checkpoint; from the same file, if it belongs to this one, ``selection``: what chose
        the checkpoint and the box threshold, ``splits``: the supervision of each split,
        ``training``: its epochs and steps, and ``rising``: how it ended too early, if it did;
        ``selected_by``: the supervision of the split that chose the checkpoint; of a supervised
        bound ``learned_from``: that of the share of `val` that it was trained on; ``versions`` of
        the packages; ``config``: the run's configuration.
    """
    config = OmegaConf.to_container(checkpoint.config, resolve=True)
    data = config["data"]
    given = given_part(config["model"])
    layers = {} if given is None else _layers(given)
    return {
        "method": checkpoint.model.name,
        "backbone": given["classifier"] if given else config["backbone"]["name"],
        **layers,
        "data": config["data"]["name"],
        "epoch": checkpoint.content.get("epoch"),
        "class_names": list(checkpoint.class_names),
        "input_size": list(Size.of(data["crop_size"])),
        "mean": list(data["mean"]),
        "std": list(data["std"]),
        "box_threshold": float(checkpoint.content["state_dict"]["box_threshold"]),
        "coverage": coverage_facts(checkpoint.content["state_dict"]),
        **_tested(checkpoint),
        "selected_by": checkpoint.content[RECORD]["selected_by"],
        **learned_record(checkpoint),
        "versions": package_versions(),
        "config": config,
    }


def learned_record(checkpoint: Checkpoint | None) -> dict[str, Any]:
    """Record the boxes and masks that a checkpoint has learned from; nothing where it saw none."""
    learned = None if checkpoint is None else checkpoint.learned_from
    return {} if learned is None else {LEARNED: learned}


def package_versions() -> dict[str, str]:
    """Look up the versions of Python and of the packages that decide what a network computes."""
    return {"python": platform.python_version()} | {name: version(name) for name in _PACKAGES}


def _layers(given: Mapping[str, Any]) -> dict[str, Any]:
    """Name the layers of a network from outside that a model reads."""
    levels = given["levels"]
    return {"layer": levels["layer"], "levels": [name for name, *_ in levels["levels"]]}


def _tested(checkpoint: Checkpoint) -> dict[str, Any]:
    """Read what the run's test has recorded, if it was a test of this very checkpoint."""
    path = checkpoint.run_folder / "results.json"
    try:
        results = read_json(path)
        named = checkpoint.run_folder / results["checkpoint"]
        found = {"metrics": {"test": results["test"]}}
        found |= {key: results[key] for key in _RECORDED if key in results}
    except (OSError, ValueError, KeyError, TypeError):
        return {"metrics": {}}
    return found if named.resolve() == checkpoint.path.resolve() else {"metrics": {}}
