"""Runs beside the recipes of the papers' rows: which row a run has, and what differs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from omegaconf import OmegaConf

from learned_saliency.pipeline.cli import compose_checked
from learned_saliency.pipeline.comparison.published import PublishedRow, published_rows
from learned_saliency.pipeline.reports import SavedEvaluation

_NAMING = ("model.name", "data.name", "backbone.name")  # keys that tell most rows apart at once
# Keys of which a change leaves the training and its choice as they are: how it is computed and
# watched, where its data lie, which methods are tested.
_FREE = (
    *("seed", "output_dir", "resume", "checkpoint", "test", "methods", "feature_cache"),
    *("classifier", "pictures", "logger", "attribution", "zerobox", "evaluate.faithfulness"),
    *("model.methods", "model.pictures", "model.paper", "model.first_stage.paper"),
    *("model.first_stage.methods", "model.first_stage.pictures", "recipe"),
    *(f"data.{key}" for key in ("root", "metadata", "mask_root", "eval_batch_size", "num_workers")),
    *(f"data.{key}" for key in ("pin_memory", "verify_images", "cache", "cache_folder")),
    *(f"data.reader.{key}" for key in ("published", "sources", "workers", "imagenetv2_root")),
    *("data.reader.cubv2_root", "data.parts"),
)
# Keys of the trainer that change what is trained; its others do not.
_TRAINER = ("gradient_clip_val", "check_val_every_n_epoch", "fast_dev_run", "max_time")
_LIMITS = tuple(f"limit_{split}_batches" for split in ("train", "val", "test"))
_LISTS = ("cubv2_metadata", "imagenetv2_metadata", "benchmark_metadata")  # the benchmark's `val`
_ABSENT = object()


class Origin(NamedTuple):
    """Row that a run has, or the nearest one.

    Attributes:
        row: The row; None where the papers have none like it.
        differs: What differs from the row's recipe, as words; empty for a run of the row.
        notes: What a reader should know besides.
        reason: Why there is no row; empty where there is one.
    """

    row: PublishedRow | None
    differs: list[str]
    notes: list[str]
    reason: str = ""


def find_origin(saved: SavedEvaluation, config: Mapping[str, Any] | None) -> Origin:
    """Find the row that a run has by its recorded configuration, whatever it is called.

    A configuration equal to a row's recipe in every key that matters is that row; of others the
    recipe counts that the run was begun with, else the one from which the fewest keys differ.

    Args:
        saved: The test of a run, or an evaluation of it.
        config: The recorded configuration of the training; None where it is not known.
    """
    if config is None:
        return Origin(None, [], [], "the configuration of its training is not there")
    data, model = (_at(config, key) for key in ("data.name", "model.name"))
    rows = list(published_rows().values())
    known = {row.values["data.name"] for row in rows}
    if data not in known:
        embedded = ", the embedded data set" if data == "creatures" else ""
        return Origin(None, [], [], f"no paper has a row of data={data}{embedded}")
    same = [row for row in rows if _is_named(row, config)]
    if not same:
        backbone = _at(config, "backbone.name")
        return Origin(None, [], [], f"no paper has a row of {model} on {data} with {backbone}")
    found = [(row, _differences(row, saved, config)) for row in same]
    begun = saved.record.get("experiment")
    chosen = [pair for pair in found if pair[0].recipe == begun and all(d for _, d in found)]
    row, differs = min(chosen or found, key=lambda pair: len(pair[1]))
    return Origin(row, differs, list(_notes(config)))


def training_config(saved: SavedEvaluation) -> Mapping[str, Any] | None:
    """Read the configuration of the training that an evaluation is of; None if it is gone.

    What is measured, ``evaluate`` and ``target``, is that of the evaluation.
    """
    own = _read(saved.path)
    if own is not None and "model" in own:
        return own
    named = saved.record.get("checkpoint") or (own or {}).get("checkpoint")
    if not named:
        return None
    path = Path(str(named)).expanduser()
    folders = [path, *list(path.parents)[:3]]
    found = next((c for c in map(_read, folders) if c is not None and "model" in c), None)
    if found is None or own is None:
        return found
    asked, measured = found.get("evaluate") or {}, own.get("evaluate") or {}
    evaluate = {key: measured.get(key, value) for key, value in asked.items()}
    return {**found, "evaluate": evaluate, "target": own.get("target")}


def _read(folder: Path) -> Mapping[str, Any] | None:
    try:
        found = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return None
    return found if isinstance(found, dict) else None


def _is_named(row: PublishedRow, config: Mapping[str, Any]) -> bool:
    return all(_at(config, key) == row.values.get(key, _at(config, key)) for key in _NAMING)


@cache
def recipe_config(recipe: str) -> Mapping[str, Any]:
    """Compose the configuration of a recipe."""
    words = [f"experiment={recipe}", "data.root=ROOT", "data.metadata=METADATA"]
    return OmegaConf.to_container(compose_checked(words), resolve=True)


def _differences(row: PublishedRow, saved: SavedEvaluation, config: Mapping[str, Any]) -> list[str]:
    """List what differs between a run and a row's recipe, as words."""
    ours, theirs = (dict(_compared(c)) for c in (config, recipe_config(row.recipe)))
    keys = [key for key in {**theirs, **ours} if ours.get(key, _ABSENT) != theirs.get(key, _ABSENT)]
    found = [f"{key}={_told(ours, key)} instead of {_told(theirs, key)}" for key in sorted(keys)]
    images = len(saved.scores.image_ids)
    if saved.split != "test":
        found.append(f"measured on {saved.split} instead of test")
    elif row.test_images is not None and images != row.test_images:
        found.append(f"{images} test images instead of {row.test_images}")
    return found


def _told(leaves: Mapping[str, Any], key: str) -> str:
    return "nothing" if key not in leaves else str(leaves[key])


def _compared(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the keys that define a training with their values."""
    trainer = config.get("trainer") or {}
    for name in (*_TRAINER, *_LIMITS):
        if trainer.get(name) not in (None, False, 0, 1.0):
            yield f"trainer.{name}", trainer[name]
    for key, value in _leaves({k: v for k, v in config.items() if k not in ("trainer", "hydra")}):
        names = key.split(".")
        free = any(f"{key}.".startswith(f"{name}.") for name in _FREE)
        if free or names[-1] in _LISTS or (names[-1] == "seed" and "reader" not in names):
            continue
        yield (key, _images_of_a_step(value, trainer)) if key == "data.batch_size" else (key, value)


def _images_of_a_step(batch_size: int, trainer: Mapping[str, Any]) -> Any:
    """Count the images of a step over all devices, where their number is known."""
    for key in ("devices", "num_nodes", "accumulate_grad_batches"):
        number = trainer.get(key, 1)
        batch_size *= number if isinstance(number, int) and number > 0 else 1
    return batch_size


def _notes(config: Mapping[str, Any]) -> Iterator[str]:
    """Tell where `val`, which chooses, is not the benchmark's."""
    reader = _at(config, "data.reader") or {}
    for name in _LISTS:
        if name in reader and reader[name] is None:
            yield (
                f"data.reader.{name} is not given: `val`, which chooses the checkpoint, is not the "
                "benchmark's"
            )


def _at(config: Mapping[str, Any], key: str) -> Any:
    node: Any = config
    for name in key.split("."):
        node = node.get(name) if isinstance(node, dict) else None
    return node


def _leaves(node: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(node, dict) and node:
        for name, value in node.items():
            yield from _leaves(value, f"{key}.{name}" if key else str(name))
    else:
        yield key, node
