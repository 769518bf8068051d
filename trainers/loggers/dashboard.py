"""What a logger can show of a run beside its curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from learned_saliency.metrics import PrecisionRecall
from learned_saliency.trainers.outputs import Example

STAGE_SEPARATOR = "/"  # between the name of an earlier stage and that of its curve


class Report(NamedTuple):
    """What came out of a test.

    Attributes:
        split: Which one was tested.
        results: Figures by method, fractions.
        boxes: Curves of `metrics.Localization` by method; empty without boxes.
        pixels: Curves of `metrics.PxAP` by method; empty without masks.
        examples: A few images with their maps.
        class_names: Names of the labels.
        pictures: PNG files; they are shown under their stems.
    """

    split: str
    results: Mapping[str, Mapping[str, float]]
    boxes: Mapping[str, Mapping[str, Tensor]]
    pixels: Mapping[str, PrecisionRecall]
    examples: Sequence[Example]
    class_names: Sequence[str]
    pictures: Sequence[Path]


class Dashboard:
    """Base of the project's loggers; what one of them cannot show is left out.

    Lightning hands them the curves. Names are the same in all of them: ``train/loss_*``,
    ``train/lr``, ``train/images_per_second``, ``val/native/*``, ``test/METHOD/*``; those of an
    earlier stage stand behind its name and a `STAGE_SEPARATOR`: ``classifier/train/lr``. Only the
    first process writes.
    """

    def log_config(self, config: dict[str, Any]) -> None:
        """Show the run's composed configuration; called before the first batch."""

    def log_picture(self, name: str, path: Path, epoch: int, step: int) -> None:
        """Show a PNG that was drawn after an epoch, at a step of the training."""

    def log_report(self, report: Report) -> None:
        """Show what came out of a test, beside the figures that are logged one by one."""

    def log_checkpoint(
        self, name: str, files: Sequence[Path], aliases: Sequence[str], metadata: dict[str, Any]
    ) -> None:
        """Store a checkpoint and what belongs to it under the name of its method."""

    def finish(self, failed: bool = False) -> None:
        """Close; the next run of the same process starts afresh."""


def prefixed(stage: str, name: str) -> str:
    """The name of a curve of a stage; empty for the last stage."""
    return f"{stage}{STAGE_SEPARATOR}{name}" if stage else name
