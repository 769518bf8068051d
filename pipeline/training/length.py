"""Length of a stage's training: what it counts, and whether it ended too early."""

from __future__ import annotations

import math
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from learned_saliency.pipeline.cli import origin_of
from learned_saliency.pipeline.reports import name_split, told_rise
from learned_saliency.pipeline.runs import Checkpoint, stage_config
from learned_saliency.pipeline.training.best import KeepBest
from learned_saliency.pipeline.training.budget import Budget
from learned_saliency.pipeline.training.checks import stage_key
from learned_saliency.pipeline.training.selection import Choice
from learned_saliency.trainers import MONITORS

_LEAST = 0.01  # a point


def last_rise(curve: Mapping[int, float], epochs: int, higher_is_better: bool = True) -> float:
    """Find by how much a figure rose in the last third of a training that ended too early.

    It did where both hold: the best epoch lies in the last tenth of the epochs, or is the last one
    with a value; and its value is more than one point better than the best one of the first two
    thirds. Of several best epochs the first counts, as for the checkpoint that is kept.

    Args:
        curve: Values of the figure, fractions, by the number of the epoch, from 0 on; epochs
            without validation have none.
        epochs: Number of epochs that were trained.
        higher_is_better: Direction of the figure.

    Returns:
        Value of the best epoch less the best one of the first two thirds: above 0, of a figure that
        is to fall below 0; 0 where the training did not end too early, has fewer than three values,
        or none in the first two thirds.
    """
    sign = 1 if higher_is_better else -1
    values = {at: sign * value for at, value in sorted(curve.items()) if not math.isnan(value)}
    early = [value for at, value in values.items() if 3 * (at + 1) <= 2 * epochs]
    if len(values) < 3 or not early:
        return 0.0
    kept = max(values, key=lambda at: values[at])
    late = kept == max(values) or 10 * (kept + 1) > 9 * epochs
    rise = values[kept] - max(early)
    return sign * rise if late and rise > _LEAST else 0.0


def count_steps(config: DictConfig, stage: str) -> Budget:
    """Make the callback that counts a stage's steps, and says how long its epochs are."""
    model = stage_config(config.model, stage)
    steps = model.get("epoch_steps")  # runs of before have no such key
    key = origin_of(config, f"{stage_key(stage)}.epoch_steps")
    return Budget(stage or model.name, "" if steps is None else f"{key}={steps}")


def training_facts(
    config: DictConfig, checkpoint: Checkpoint, best: KeepBest, choice: Choice, budget: Budget
) -> dict[str, Any]:
    """Collect facts about a stage's training.

    Args:
        config: The configuration of the run.
        checkpoint: The stage's best checkpoint.
        best: What has kept it.
        choice: What has chosen it.
        budget: The counter of the training.

    Returns:
        ``training``, see `told_training`, with the number of steps of the checkpoint as
        ``kept_after``, None where nothing has counted; and ``rising``, see `told_rise`, None where
        the training did not end too early. That is not asked of a figure in a unit of its own,
        which has no points.
    """
    counted = checkpoint.content.get("callbacks", {}).get(budget.state_key) or {}
    training = None
    if budget.images:
        training = budget.state_dict() | {"kept_after": counted.get("steps")}
    figure, rise = MONITORS[choice.monitor], 0.0
    if best.curve is not None and figure.unit is None:
        rise = last_rise(best.curve, budget.epochs, bool(figure.higher_is_better))
    if not rise:
        return {"training": training, "rising": None}
    key = origin_of(config, f"{stage_key(checkpoint.stage)}.epochs")
    rising = {
        "metric": choice.monitor,
        "split": name_split(choice.supervision),
        "points": round(100 * rise, 2),
        "epochs": budget.epochs,
        "resumes": not checkpoint.stage,  # a classifier lies below a stage that begins now
        "word": f"{key}={2 * budget.epochs}",
    }
    return {"training": training, "rising": rising}


def warn_of_rise(name: str, facts: Mapping[str, Any], folder: Path) -> None:
    """Warn on stderr of a training that ended too early.

    Args:
        name: What was trained.
        facts: See `training_facts`.
        folder: The run's folder.
    """
    if facts["rising"] is not None:
        told = told_rise(facts["rising"], shlex.quote(str(folder)))
        print(f"{name}: warning: {told}.", file=sys.stderr)
