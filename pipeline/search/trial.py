"""Runs of a search: how one is trained, and its outcome on disk."""

from __future__ import annotations

import json
import math
import re
import shutil
import sys
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from learned_saliency.errors import MendableError
from learned_saliency.pipeline.cli import (
    RECORD_FILE,
    first_sentence,
    named_keys,
    printable,
    surroundings_error,
)
from learned_saliency.pipeline.runs import CLASSIFIER, as_one, read_checkpoint
from learned_saliency.pipeline.training import chosen_values, resumed_config, train
from learned_saliency.storage import read_json, write_text
from learned_saliency.trainers import DivergedError

TRAINED, DIVERGED, FAILED = "trained", "diverged", "failed"
_LONGEST = 60  # characters of a folder's name


class Outcome(NamedTuple):
    """Outcome of a run of a search.

    Attributes:
        status: ``"trained"``, ``"diverged"`` or ``"failed"``.
        reason: What ended a run that was not trained, a sentence.
        monitor: The metric that chose its checkpoint; empty where none did.
        epoch: The epoch that is kept, from 1 on; None without one.
        val: Metrics of the native map on ``val`` in this epoch by name.
    """

    status: str
    reason: str = ""
    monitor: str = ""
    epoch: int | None = None
    val: dict[str, float] = {}  # noqa: RUF012 - nobody changes it


class Trial(NamedTuple):
    """Run of a search.

    Attributes:
        value: The value of the searched key.
        folder: The run's folder.
    """

    value: Any
    folder: Path

    @property
    def classifier(self) -> Path:
        """Checkpoint of the classifier that the run has trained as its first stage."""
        return self.folder / "checkpoints" / CLASSIFIER / "best.ckpt"

    def outcome(self) -> Outcome | None:
        """Read the outcome of the run; None while there is none, or it is damaged."""
        try:
            return Outcome(**read_json(_outcome_path(self.folder)))
        except (OSError, ValueError, TypeError):
            return None


def make_trials(values: Sequence[Any], folder: Path) -> list[Trial]:
    """Give each value a folder below ``folder``, named after it."""
    return [Trial(value, folder / _name(value)) for value in values]


def _name(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    name = re.sub(r"[^\w.+-]", "_", text)[:_LONGEST].strip(".")
    if name == text:
        return name
    return f"{name}-{sha256(json.dumps(value).encode()).hexdigest()[:8]}"


def _outcome_path(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.json")


def train_trial(config: DictConfig) -> MendableError | None:
    """Train a run of a search, or go on with it, and write its outcome beside its folder.

    Hydra's launcher calls it, maybe on another machine.

    Args:
        config: The composed configuration of the training.

    Returns:
        What ends the search, as all other runs would meet it, too; None after an outcome.
    """
    folder = Path(config.output_dir)
    try:
        with as_one():
            train(_going_on(config, folder), named_keys(_words()))
        outcome = _trained(folder)
    except DivergedError as error:
        outcome = Outcome(DIVERGED, str(error))
    except MendableError as error:
        return error
    except ValueError as error:  # huge weights that are finite give maps that are not
        outcome = Outcome(FAILED, first_sentence(error))
    except Exception as error:
        return _surroundings(error)
    if outcome.reason:
        print(f"{folder}: {printable(outcome.reason)}", file=sys.stderr)
    write_text(_outcome_path(folder), json.dumps(outcome._asdict(), indent=2) + "\n", durable=True)
    return None


def _words() -> list[str]:
    """List the words of the run, which Hydra's launcher knows."""
    return list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []


def _surroundings(error: Exception) -> MendableError:
    """Return the fault of the machine that an error tells.

    Raises:
        Exception: The error itself, if it is a defect.
    """
    found = surroundings_error(error)
    if found is None:
        raise error
    return found


def _going_on(config: DictConfig, folder: Path) -> DictConfig:
    """Return the configuration of the run that lies in ``folder``, or else of a new one."""
    if (folder / RECORD_FILE).is_file():
        config = config.copy()
        config.resume = str(folder)
        return resumed_config(config, [])  # its words are those that it was begun with
    shutil.rmtree(folder, ignore_errors=True)  # ended before anything was recorded
    return config


def _trained(folder: Path) -> Outcome:
    checkpoint = read_checkpoint(folder, "best.ckpt")
    monitor, val = chosen_values(checkpoint.content)
    known = {name: value for name, value in val.items() if not math.isnan(value)}
    return Outcome(TRAINED, "", monitor if val else "", int(checkpoint.content["epoch"]) + 1, known)
