"""Configuration of a run that goes on."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from learned_saliency.models import is_feature_cache
from learned_saliency.pipeline.cli import (
    RECORD_FILE,
    ResumePoint,
    UserError,
    config_groups,
    find_resume_point,
    first_sentence,
    is_own_code,
    nearest,
)
from learned_saliency.pipeline.runs import (
    RECORD,
    Checkpoint,
    asks_the_machine,
    check_named_parts,
    given_part,
    located_data,
    read_checkpoint,
    read_record,
    trained_stages,
)

# Keys that may change set how a run is computed and watched, how long it goes on, which tests it
# gets and where its data lie. All other keys define the run, or lie in its optimizers' state.
_GROUPS = ("trainer", "logger", "attribution")
_KEYS = (
    *("resume", "test", "methods", "target", "evaluate", "pictures", "feature_cache"),
    "recipe",  # see what it changes
    *("model.epochs", "model.methods", "model.pictures"),
    *(f"data.{key}" for key in ("root", "metadata", "mask_root", "eval_batch_size", "num_workers")),
    *(f"data.{key}" for key in ("pin_memory", "verify_images", "cache", "cache_folder")),
)
_PLACES = ("root", "metadata")
_OF_FIRST_STAGE = ("model.first_stage.epochs",)
_ABSENT = object()
# A change of these asks for another test.
_OF_TEST = ("test", "methods", "target", "evaluate", "attribution")


def resumed_config(config: DictConfig, overrides: Sequence[str]) -> DictConfig:
    """Compose the configuration of ``resume``'s run, with the given words applied.

    A word acts as it would have on the run's own command line: ``recipe.epochs=20`` changes all
    values that refer to it.

    Args:
        config: The configuration that the command line composes to.
        overrides: The words of the command line.

    Returns:
        ``config`` itself where nothing is resumed.

    Raises:
        UserError: If a word would make another run of it or could not act, or the checkpoint is
            exported or converted.
    """
    if not config.resume:
        return config
    point = find_resume_point(config.resume)
    started = _started(point)
    _check_own_code(config, started.record["config"], point)
    words = OverridesParser.create().parse_overrides(list(overrides))
    try:
        resumed = _composed(point, started.record)
        for word in words:
            _apply(word, resumed, config)
        _locate(resumed, words, started, point)
        _locate_features(resumed, words)
        resumed.resume = str(config.resume)
        _check_changes(started, resumed, words)
    except OmegaConfBaseException as error:
        raise UserError(
            f"{point.checkpoint or point.folder}: the record of its run is damaged "
            f"({first_sentence(error)})."
        ) from None
    return resumed


def _check_own_code(config: DictConfig, record: dict[str, Any], point: ResumePoint) -> None:
    """Check that the user names the code again on whose network a run was begun.

    Raises:
        UserError: If not: it is not imported because a file says so.
    """
    part = given_part(record["model"]) or {}
    words = {str(word) for word in (record.get("classifier"), part.get("classifier")) if word}
    path = point.checkpoint or point.folder
    for word in sorted(words):
        if not is_own_code(word) or config.classifier == word:
            continue
        raise UserError(
            f"resume={path}: was begun on a network of your own code, which is imported only where "
            f"you name it again: classifier={word}."
        )


class _Started(NamedTuple):
    """A training that has begun: its record, and the stage that it is in."""

    record: dict[str, Any]
    stage: str


def _started(point: ResumePoint) -> _Started:
    """Read what a run goes on by.

    Raises:
        UserError: If it is no training, or damaged.
    """
    wanted = _last_words(point.folder)
    if point.checkpoint is None:
        record = wanted or read_record(point.folder)
        stage = trained_stages(record["config"]["model"])[0]
    else:
        checkpoint = read_checkpoint(point.checkpoint)
        if "optimizer_states" not in checkpoint.content:
            raise UserError(
                f"resume={point.checkpoint}: holds weights alone, no training to go on with."
            )
        record, stage = checkpoint.content[RECORD], checkpoint.stage
        if wanted and set(_kept_keys(record["config"], wanted["config"], stage)) <= {"output_dir"}:
            record = wanted  # the checkpoint is of this run, which may have another name now
    config = {**record["config"], "output_dir": str(point.folder)}  # wherever it was moved
    return _Started({**record, "config": config}, stage)


def _last_words(folder: Path) -> dict[str, Any] | None:
    """Read what a run was last asked for: it may have been ended before the next checkpoint.

    Raises:
        UserError: If the record is damaged.
    """
    if not (folder / RECORD_FILE).is_file():
        return None
    record = read_record(folder)
    check_named_parts(OmegaConf.create(record["config"]), folder / RECORD_FILE)
    return record


def _kept_keys(saved: dict[str, Any], wanted: dict[str, Any], stage: str) -> list[str]:
    """List the keys that differ though a run that goes on in a stage keeps them."""
    free = (*_GROUPS, *_KEYS, *(_OF_FIRST_STAGE if stage else ()))
    return [key for key in _differing(saved, wanted) if not _is_below(key, free)]


def _differing(saved: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    before, after = dict(_leaves(saved)), dict(_leaves(wanted))
    keys = [*after, *(before.keys() - after.keys())]
    return [k for k in keys if k not in before or k not in after or before[k] != after[k]]


def _is_below(key: str, names: Sequence[str]) -> bool:
    return any(f"{key}.".startswith(f"{name}.") for name in names)


def is_finished(config: DictConfig, checkpoint: Checkpoint, folder: Path) -> bool:
    """Tell whether a run that goes on has all its epochs and, where it wants one, its test.

    Args:
        config: The configuration of the run, see `resumed_config`.
        checkpoint: The checkpoint to go on from.
        folder: The run's folder.

    Raises:
        UserError: If the checkpoint does not tell how far the training was.
    """
    try:
        loop = checkpoint.content["loops"]["fit_loop"]
        trained = loop["epoch_progress"]["current"]["processed"] >= config.model.epochs
    except (KeyError, TypeError):
        raise UserError(
            f"resume={checkpoint.path}: does not tell how far the training was; it is damaged."
        ) from None
    if checkpoint.stage or not trained:
        return False
    if not config.test:
        return True
    record = _last_words(folder) or {"config": _plain(checkpoint.config), "tested": True}
    other = [k for k in _differing(record["config"], _plain(config)) if _is_below(k, _OF_TEST)]
    return bool(record.get("tested")) and not other and (folder / "results.json").is_file()


def _composed(point: ResumePoint, record: dict[str, Any]) -> DictConfig:
    """Read the configuration of the run with its references to its own keys in place.

    Raises:
        UserError: If the configuration refers to anything else, or its resolved form is refused.
    """
    composed = record.get("composed")
    if not isinstance(composed, dict) or asks_the_machine(composed):
        raise UserError(
            f"{point.checkpoint or point.folder}: the record of its run is damaged, or asks for "
            "more than its own values; it is not resumed."
        )
    return OmegaConf.create(composed | {"output_dir": str(point.folder)})


def _locate(
    resumed: DictConfig, words: Sequence[Override], started: _Started, point: ResumePoint
) -> None:
    """Put the data set where it lies on this machine, unless a word says where.

    Raises:
        UserError: If it is not on this machine.
    """
    if {f"data.{key}" for key in _PLACES} & {word.key_or_group for word in words}:
        return
    recorded = OmegaConf.create(started.record["config"]["data"])
    found = located_data(recorded, OmegaConf.create(), point.checkpoint or point.folder)
    resumed.data.update({key: found[key] for key in _PLACES})


def _locate_features(resumed: DictConfig, words: Sequence[Override]) -> None:
    """Leave out a folder of features that no word names and that is none on this machine.

    The record may be anyone's, and nothing is written where it alone says.
    """
    folder = resumed.get("feature_cache")
    given = "feature_cache" in {word.key_or_group for word in words}
    if folder is None or given or is_feature_cache(folder):
        return
    resumed.feature_cache = None
    if rank_zero_only.rank == 0:
        print(
            f"feature_cache={folder}: holds no features on this machine, and the run goes on "
            "without; give feature_cache=FOLDER to keep them.",
            file=sys.stderr,
        )


def _apply(word: Override, resumed: DictConfig, config: DictConfig) -> None:
    name = word.key_or_group
    if word.is_delete():
        raise UserError(f"{word.input_line}: nothing can be taken from a resumed run.")
    group = name in config_groups()
    if group and name not in _GROUPS:
        if name not in resumed or _plain(resumed[name]) != _plain(config[name]):
            raise UserError(
                f"{word.input_line}: a resumed run keeps its own {name}; drop the word."
            )
        return
    absent = OmegaConf.select(resumed, name, default=_ABSENT) is _ABSENT
    if absent and not (word.is_add() or word.is_force_add() or _is_below(name, _GROUPS)):
        close = nearest(name, [key for key, _ in _leaves(_plain(resumed))])
        raise UserError(f"{word.input_line}: the resumed run has no such key{close}.")
    value = OmegaConf.select(config, name)
    OmegaConf.update(resumed, name, value, merge=not group, force_add=True)


def _plain(node: DictConfig) -> Any:
    return OmegaConf.to_container(node, resolve=True)


def _check_changes(started: _Started, resumed: DictConfig, words: list[Override]) -> None:
    """Check that every key that differs from the saved configuration may differ."""
    saved = started.record["config"]
    for key in _kept_keys(saved, _plain(resumed), started.stage):
        given = " ".join(word.input_line for word in words if word.key_or_group != "resume")
        if not given:
            raise UserError(
                f"resume={saved['output_dir']}: the record of its run is damaged ({key} has two "
                "values)."
            )
        raise UserError(
            f"{given}: would change {key}, which a resumed run keeps; drop the word, or start a "
            "new run."
        )


def _leaves(node: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(node, dict) and node:
        for name, value in node.items():
            yield from _leaves(value, f"{key}.{name}" if key else str(name))
    else:
        yield key, node
