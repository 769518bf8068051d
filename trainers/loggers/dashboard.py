"""Interface of loggers that show more of a run than its curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from torch import Tensor

from learned_saliency.metrics import PrecisionRecall
from learned_saliency.trainers.outputs import Example

STAGE_SEPARATOR = "/"  # between the name of an earlier stage and that of its curve


class Report(NamedTuple):
    """Results of a test, for loggers.

    Attributes:
        split: Name of the tested split.
        results: Metrics by method, fractions.
        boxes: Curves of `metrics.Localization` by method; empty without boxes.
        pixels: Curves of `metrics.PxAP` by method; empty without masks.
        examples: A few images with their maps.
        class_names: Names of the labels.
        pictures: PNG files; they are shown under their stems.
        page: The page to look at, ``report.html``; None where there is none.
    """

    split: str
    results: Mapping[str, Mapping[str, float]]
    boxes: Mapping[str, Mapping[str, Tensor]]
    pixels: Mapping[str, PrecisionRecall]
    examples: Sequence[Example]
    class_names: Sequence[str]
    pictures: Sequence[Path]
    page: Path | None = None


class Dashboard:
    """Base of the project's loggers; a logger leaves out what it cannot show.

    Lightning hands the curves to all loggers. Names are the same in all of them:
    ``train/loss_*``, ``train/gradient_share/*``, ``train/lr``, ``train/images_per_second``,
    ``val/native/*``, ``test/METHOD/*``; the curves of an earlier stage have its name and a
    `STAGE_SEPARATOR` in front: ``classifier/train/lr``. Only the first process writes.

    Attributes:
        package: Package that the dashboard needs and an extra of its name brings; empty for none.
    """

    package: ClassVar[str] = ""

    @classmethod
    def load(cls) -> None:
        """Import the package, as the dashboard does later; it raises whatever the package does."""
        if cls.package:
            import_module(cls.package)

    def log_config(self, config: dict[str, Any]) -> None:
        """Show the run's composed configuration; called before the first batch."""

    def log_picture(self, name: str, path: Path, epoch: int, step: int) -> None:
        """Show a PNG that was drawn after an epoch, at the current step of the training."""

    def log_report(self, report: Report) -> None:
        """Show the results of a test, beside the metrics that are logged one by one."""

    def log_checkpoint(
        self, name: str, files: Sequence[Path], aliases: Sequence[str], metadata: dict[str, Any]
    ) -> None:
        """Store a checkpoint and its files under the name of its method."""

    def finish(self, failed: bool = False) -> None:
        """Close; the next run of the same process starts afresh."""


def prefixed(stage: str, name: str) -> str:
    """Name a curve of a stage; an empty ``stage`` is the last one, which has no prefix."""
    return f"{stage}{STAGE_SEPARATOR}{name}" if stage else name
