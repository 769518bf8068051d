"""Words for the length of a training, and for one that ended too early."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def told_training(training: Mapping[str, Any]) -> str:
    """Describe the epochs, passes and steps of a training.

    Args:
        training: ``epochs``, ``passes`` of each epoch over ``images``, and ``steps`` of all epochs,
            None where they were not counted.
    """
    epochs, passes, steps = (training[key] for key in ("epochs", "passes", "steps"))
    told = "1 epoch" if epochs == 1 else f"{epochs:,} epochs"
    told += f" of {'one pass' if passes == 1 else f'{passes:,} passes'}"
    told += f" over {training['images']:,} images"
    return told if steps is None else f"{told}, {steps:,} {'step' if steps == 1 else 'steps'}"


def told_rise(rising: Mapping[str, Any], run: str = "RUN") -> str:
    """Say that a figure was still rising when a training ended, and what goes on.

    Args:
        rising: ``metric``, ``split`` on which it was measured, ``points`` by which it rose in the
            last third, below 0 where it fell and is to fall, ``epochs``, ``resumes``, whether the
            run can go on, and the ``word`` that gives more epochs.
        run: The run's folder.

    Returns:
        A sentence without its full stop.
    """
    points = rising["points"]
    doing = "rising" if points > 0 else "falling"
    remedy = f"resume={run} {rising['word']} goes on"
    if not rising["resumes"]:
        remedy = f"a new run with {rising['word']} trains it longer"
    return (
        f"{rising['metric']} on {rising['split']} was still {doing} when the "
        f"training ended, by {abs(points):.1f} points in the last third of {rising['epochs']:,} "
        f"epochs; {remedy}"
    )
