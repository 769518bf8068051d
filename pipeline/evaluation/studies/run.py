"""Construction, checks and runs of the chosen studies: ``studies=[cues,removal]``."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig

from learned_saliency.datamodules import WSOLDataModule
from learned_saliency.metrics import Figure
from learned_saliency.pipeline.cli import UserError
from learned_saliency.pipeline.evaluation.studies.base import Setting, Study
from learned_saliency.trainers import Journal, SaliencyModule, place

_SECONDS = 20.0  # between lines of progress


class StudyResults(NamedTuple):
    """Results of the studies of an evaluation.

    Attributes:
        results: Metrics by method, fractions.
        figures: Declaration of each of these metrics.
        written: Paths of the files.
    """

    results: dict[str, dict[str, float]]
    figures: dict[str, Figure]
    written: list[Path]


def build_studies(config: DictConfig) -> list[Study]:
    """Build the studies in ``config.studies``; check them as far as the configuration tells.

    Raises:
        UserError: If an option is wrong or a study cannot run.
    """
    studies = []
    for name, options in config.studies.items():
        try:
            studies.append(instantiate(options))
        except InstantiationException as error:
            if not isinstance(error.__cause__, ValueError):
                raise
            raise UserError(f"studies.{name}: {error.__cause__}") from None
    for study in studies:
        study.check(config)
    return studies


def run_studies(
    studies: Sequence[Study],
    config: DictConfig,
    module: SaliencyModule,
    data: WSOLDataModule,
    folder: Path,
    kept: Path,
    device: torch.device,
) -> StudyResults:
    """Run studies in all processes; the first one writes their files.

    Args:
        studies: The studies from `build_studies`.
        config: The evaluation's configuration.
        module: The evaluated module; it is left in evaluation mode on ``device``.
        data: The data module, set up.
        folder: Folder to write to.
        kept: Folder of what a later call needs to go on, where this one is ended.
        device: Device to compute on.

    Raises:
        UserError: If a study does not fit model or data.
    """
    module.to(device).eval()
    lines, first = _Lines(), place().rank == 0
    found = StudyResults({}, {}, [])
    for study in studies:
        note = partial(lines.say, study.name) if first else _say_nothing
        journal = Journal(kept / study.name)
        try:
            with torch.no_grad():  # a method that needs gradients turns them on for itself
                outcome = study.run(Setting(config, module, data, note, journal))
        finally:
            journal.save()
        for method, values in outcome.results.items():
            found.results.setdefault(method, {}).update(values)
        found.figures.update(outcome.figures)
        if first:
            found.written.extend(_write(outcome.files, folder))
            for line in outcome.lines:
                print(f"{study.name}: {line}", file=sys.stderr, flush=True)
    return found


def _write(files: Mapping[str, Callable[[Path], None]], folder: Path) -> list[Path]:
    paths = []
    for name, write in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path)
        paths.append(path)
    return paths


def _say_nothing(what: str) -> None:
    """Leave the lines of progress to the first process."""


class _Lines:
    """Progress lines on stderr, now and then, about the current work."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def say(self, study: str, what: str) -> None:
        if time.monotonic() - self._last >= _SECONDS:
            self._last = time.monotonic()
            print(f"{study}: {what}", file=sys.stderr, flush=True)
