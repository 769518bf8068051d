"""Choice of checkpoints and box thresholds on ``val``, by what the split has."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import NamedTuple

from omegaconf import DictConfig

from learned_saliency.datamodules import WSOLDataModule
from learned_saliency.pipeline.cli import UserError, nearest, values
from learned_saliency.pipeline.reports import told_supervision
from learned_saliency.trainers import (
    CRITERIA,
    DEFAULT_CRITERION,
    MONITORS,
    TASKS,
    THRESHOLD_CRITERION,
    ZeroBoxScores,
    draw_images,
    gives_threshold,
)

AUTO = "auto"  # boxes choose, or masks, or where there are neither, a criterion without them
ZEROBOX = "zerobox"  # the default of the criteria that need neither boxes nor masks
BY_BOXES = "max_box_acc"
_BY_MASKS = "pxap"


def known_monitors() -> list[str]:
    """List the names that a ``monitor`` may have."""
    choosing = [name for name, figure in MONITORS.items() if figure.higher_is_better is not None]
    return [AUTO, ZEROBOX, *choosing]


def resolve_monitor(asked: str, there: Set[str], constant: Set[str] = frozenset()) -> str:
    """Find the metric of ``val`` that a ``monitor`` stands for.

    Args:
        asked: The value of the key, one of `known_monitors`.
        there: Ground truth of the split: ``"labels"``, ``"boxes"`` and ``"masks"``, or some.
        constant: Metrics that the training cannot change; a criterion that sees no boxes chooses
            in their place.

    Returns:
        A name in `MONITORS`.
    """
    if asked == AUTO:
        asked = BY_BOXES if "boxes" in there else _BY_MASKS if "masks" in there else ZEROBOX
    if asked == ZEROBOX or asked in constant:
        return DEFAULT_CRITERION
    return asked


def ground_truth(data: WSOLDataModule) -> set[str]:
    """Name the ground truth of ``val``; see `Figure.needs`."""
    found = {
        "labels": data.num_labeled("val") > 0,
        "boxes": data.has_boxes("val"),
        "masks": data.has_masks("val"),
        TASKS[data.task].need: True,
    }
    return {name for name, there in found.items() if there}


class Choice(NamedTuple):
    """Metrics that choose on ``val``.

    Attributes:
        asked: The value of the stage's key ``monitor``.
        monitor: The metric that chooses the checkpoint, a name in `MONITORS`.
        threshold: The criterion that chooses the box threshold; None where boxes choose it.
        criteria: Criteria that need no box to compute: those that choose, and those to watch.
        supervision: Numbers of images, boxes and masks of ``val`` that the choice sees.
        boxes: Whether ``val`` has boxes.
        labels: Whether ``val`` has labels; predicted classes stand in for those that are unknown.
        learned: Supervision of the share of ``val`` that is learned from; the numbers above are
            then those of the other share. None for a training that sees neither boxes nor masks.
    """

    asked: str
    monitor: str
    threshold: str | None
    criteria: list[str]
    supervision: dict[str, str | int | float]
    boxes: bool
    labels: bool = True
    learned: dict[str, str | int | float] | None = None

    @property
    def regrets(self) -> bool:
        """Tell whether boxes are there that did not choose."""
        return self.boxes and self.threshold is not None

    def told(self) -> str:
        """Describe in a sentence what chooses, and what that has seen."""
        place, before = "val", ""
        if self.learned is not None:
            place = f"the other {self.supervision['images']} images of it"
            before = f"{told_supervision(self.learned)}, are learned from; "
        first = f"{before}{self.monitor} on {place} chooses the checkpoint"
        if self.asked != self.monitor:
            cannot = self.asked not in (AUTO, ZEROBOX)
            reason = ", which this training cannot change" if cannot else ""
            first += f" (monitor={self.asked}{reason})"
        own = " and" if self.threshold == self.monitor else f", {self.threshold or 'its boxes'}"
        seen = f"{self.supervision['boxes']} boxes and {self.supervision['masks']} masks are seen"
        blind = (
            "" if self.labels else ", and no label: predicted classes stand in for the true ones"
        )
        return f"{first}{own} the box threshold; {seen}{blind}"


def choose(
    asked: str, data: WSOLDataModule, options: DictConfig, constant: Set[str] = frozenset()
) -> Choice:
    """Decide what chooses a stage's checkpoint and its box threshold.

    Args:
        asked: The value of the stage's key ``monitor``.
        data: The data module, set up.
        options: The configuration's ``zerobox``.
        constant: See `resolve_monitor`.
    """
    there = ground_truth(data)
    monitor = resolve_monitor(asked, there, constant)
    threshold = None
    if monitor in CRITERIA or "boxes" not in there:
        own = monitor in CRITERIA and gives_threshold(monitor)
        threshold = monitor if own else THRESHOLD_CRITERION
    wanted = [name for name in (monitor, threshold) if name in CRITERIA]
    criteria = list(dict.fromkeys([*wanted, *values(options.also)]))
    supervision = data.supervision("val")
    if monitor in CRITERIA:
        supervision |= {"boxes": 0, "masks": 0}
    has_boxes, has_labels = "boxes" in there, "labels" in there
    seen = supervision, has_boxes, has_labels, data.learned_from
    return Choice(asked, monitor, threshold, criteria, *seen)


def build_scores(choice: Choice, options: DictConfig, images: int, seed: int) -> ZeroBoxScores:
    """Build the counter of a stage's criteria.

    Args:
        choice: What chooses.
        options: The configuration's ``zerobox``.
        images: Number of images of ``val``.
        seed: Seed of the draw of images.
    """
    drawn = draw_images(images, options.images, seed)
    return ZeroBoxScores(choice.criteria, choice.threshold, drawn)


def check_monitors(asked: Mapping[str, str], there: Set[str]) -> None:
    """Check that ``val`` has the ground truth by which each stage's checkpoint is chosen.

    Args:
        asked: The stages' values of ``monitor`` by their keys.
        there: See `ground_truth`.

    Raises:
        UserError: If a metric does not exist or cannot choose, or needs boxes or masks that the
            split lacks; the message names every key that has to change.
    """
    wrong = {}
    for key, name in asked.items():
        known = known_monitors()
        if name not in known:
            close = nearest(name, known)
            raise UserError(
                f"{key}={name}: is no metric of `val` that can choose{close}; there are: "
                f"{', '.join(known)}."
            )
        needs = MONITORS[resolve_monitor(name, there)].needs
        if not needs <= there:
            wrong[key] = (name, needs)
    if wrong:
        lacking = sorted(frozenset().union(*(needs for _, needs in wrong.values())) - there)
        given = " ".join(f"{key}={name}" for key, (name, _) in wrong.items())
        words = " ".join(f"{key}={AUTO}" for key in wrong)
        raise UserError(
            f"{given}: needs {' and '.join(lacking)}, but the split `val` has none; choose by what "
            f"it has: {words}."
        )


def check_criteria(names: list[str]) -> None:
    """Check that the criteria of ``zerobox.also`` exist.

    Raises:
        UserError: If one does not.
    """
    for name in names:
        if name not in CRITERIA:
            raise UserError(
                f"zerobox.also: no criterion is named '{name}'{nearest(name, list(CRITERIA))}; "
                f"there are: {', '.join(CRITERIA)}."
            )
