"""Rule by which a search compares its runs, and the choice."""

from __future__ import annotations

import math
from collections.abc import Sequence, Set
from typing import NamedTuple

from omegaconf import DictConfig

from learned_saliency.pipeline.cli import Trials, UserError, nearest, values, with_value
from learned_saliency.trainers import CRITERIA, MONITORS


class Rule(NamedTuple):
    """Rule that chooses.

    Attributes:
        metric: Name in `MONITORS` of the metric of ``val`` that is compared.
        higher_is_better: Its better direction; None with a target.
        target: Number that the metric shall come near to; None where a direction is better.
    """

    metric: str
    higher_is_better: bool | None
    target: float | None = None


def choose(scores: Sequence[float | None], rule: Rule) -> int | None:
    """Choose the best of several runs.

    Args:
        scores: The metric of each run; None or NaN for a run that has none.
        rule: The rule.

    Returns:
        Index of the best score, the first among equals; None if no run has a score.
    """
    costs = {
        index: abs(score - rule.target)
        if rule.target is not None
        else (-score if rule.higher_is_better else score)
        for index, score in enumerate(scores)
        if score is not None and not math.isnan(score)
    }
    return min(costs, key=costs.__getitem__, default=None)  # the first of the smallest


def own_rule(monitor: str) -> Rule:
    """Make the rule by which runs are compared with the metric that chose their checkpoints."""
    return Rule(monitor, MONITORS[monitor].higher_is_better)


def given_rule(config: DictConfig, trials: Trials, there: Set[str]) -> Rule | None:
    """Make the rule that ``search.metric`` asks for; None for the monitor of the runs.

    Args:
        config: The composed configuration.
        trials: The values to try.
        there: Ground truth of ``val``, see `ground_truth`.

    Raises:
        UserError: If the metric does not exist, cannot choose, is not counted, or needs ground
            truth that ``val`` lacks; or if the runs have different monitors.
    """
    name, target = config.search.metric, config.search.target
    if name is None:
        _check_own(config, trials)
        return None
    if name not in MONITORS:
        raise UserError(
            f"search.metric={name}: is no metric of `val`{nearest(name, list(MONITORS))}; there "
            f"are: {', '.join(MONITORS)}."
        )
    figure = MONITORS[name]
    if lacking := sorted(figure.needs - there):
        raise UserError(
            f"search.metric={name}: needs {' and '.join(lacking)}, but the split `val` has none; "
            "choose another, or search.metric=null."
        )
    counted = {str(config.model.monitor), *values(config.zerobox.also)}
    if name in CRITERIA and name not in counted:
        raise UserError(
            f"search.metric={name}: is counted only where it is asked for; add "
            f"zerobox.also=[{name}]."
        )
    target = figure.target if target is None else float(target)
    if target is None and figure.higher_is_better is None:
        raise UserError(
            f"search.metric={name}: is better neither higher nor lower; give search.target."
        )
    return Rule(name, None if target is not None else figure.higher_is_better, target)


def _check_own(config: DictConfig, trials: Trials) -> None:
    if config.search.target is not None:
        raise UserError(
            f"search.target={config.search.target}: needs search.metric, whose values shall come "
            "near to it."
        )
    monitors = {str(with_value(config, trials.key, v).model.monitor) for v in trials.values}
    if len(monitors) > 1:
        raise UserError(
            f"search.key={trials.key}: the runs would be chosen by different metrics; give "
            "search.metric, by which they are compared."
        )
