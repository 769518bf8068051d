"""Rows of a comparison: each metric of each contender beside the first one's."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from learned_saliency.metrics import Figure
from learned_saliency.pipeline.cli import UserError
from learned_saliency.pipeline.comparison.estimates import (
    Estimate,
    Values,
    compute_values,
    estimates,
    unpaired_estimates,
)
from learned_saliency.pipeline.comparison.matching import Matched, scores_of
from learned_saliency.pipeline.comparison.pairing import Contender, Group
from learned_saliency.pipeline.reports import ImageScores, shown_figures
from learned_saliency.trainers import TEST_FIGURES

#: Declarations of what is compared, with the columns of ``images.csv`` that no table shows.
COMPARED: Mapping[str, Figure] = {**TEST_FIGURES, "iou": Figure(True, headline=False)}
_UNKNOWN = Figure(None, headline=False)


class Row(NamedTuple):
    """A metric of a contender.

    Attributes:
        metric: Name of the metric.
        title: Name of the method that the contenders of the group share; empty without one.
        contender: The contender.
        reference: The contender that it is compared to; None of that one itself.
        images: Number of images that have a part in the metric.
        runs: Number of trainings.
        paired: Whether its trainings are paired by seed with those of the reference.
        value: The metric, a fraction or in its own unit.
        difference: The metric minus the reference's; None of the reference.
    """

    metric: str
    title: str
    contender: Contender
    reference: Contender | None
    images: int
    runs: int
    paired: bool
    value: Estimate
    difference: Estimate | None


class Options(NamedTuple):
    """Options of the statistics.

    Attributes:
        level: Level of the intervals.
        resamples: Number of draws of images.
        seed: Seed of the draws.
    """

    level: float
    resamples: int
    seed: int


def figure_of(metric: str) -> Figure:
    """Look up the declaration of a metric."""
    return COMPARED.get(metric, _UNKNOWN)


def shared_metrics(matched: Matched, group: Group) -> list[str]:
    """List the metrics that all trainings of a group's contenders have, the leading ones first.

    Metrics in pixels are left out where the inputs have several sizes.
    """
    known = [
        {name for method, name in scores.names() if method == contender.method}
        for contender in group.contenders
        for scores in _scores(matched, contender)
    ]
    first = group.contenders[0]
    ordered = [name for _, name in _scores(matched, first)[0].names()]
    names = [name for name in ordered if all(name in others for others in known)]
    if not matched.one_size:
        names = [name for name in names if not figure_of(name).in_pixels]
    return list(dict.fromkeys([*shown_figures(names, COMPARED), *names]))


def check_metrics(shared: Collection[str], asked: Sequence[str], matched: Matched) -> None:
    """Check that every metric that was asked for can be compared, or any metric at all.

    Args:
        shared: The metrics that the contenders of any group share.
        asked: The metrics that were asked for; empty for all.
        matched: The sides.

    Raises:
        UserError: If one cannot; the message says why.
    """
    if not shared and not asked:
        raise UserError(
            "the compared methods share no metric that follows from single images; evaluate them "
            "with the same metrics."
        )
    for name in asked:
        if name in shared:
            continue
        if figure_of(name).in_pixels and not matched.one_size:
            raise UserError(
                f"metrics={name}: changes with the size of the input, which the networks do not "
                "share; leave it out."
            )
        near = difflib.get_close_matches(name, [*shared, *COMPARED], n=1)
        nearest = f"; the nearest: {near[0]}" if near and near[0] != name else ""
        raise UserError(
            f"metrics={name}: no value that follows from single images and that the compared "
            f"methods share{nearest}."
        )


def compare_group(
    matched: Matched, group: Group, names: Sequence[str], options: Options
) -> list[Row]:
    """Compare the contenders of a group.

    Args:
        matched: The sides, with the images that they share.
        group: The contenders.
        names: The metrics, some of `shared_metrics`.
        options: Options of the statistics.

    Returns:
        Rows by metric, and for each metric by contender.
    """
    rows: list[Row] = []
    reference = None
    for contender in group.contenders if names else ():
        members = _scores(matched, contender)
        columns = [(contender.method, name) for name in names]
        values = compute_values(members, columns, options.resamples, options.seed)
        first = group.contenders[0] if reference else None
        paired = first is None or _are_paired(matched, contender, first)
        own = estimates(values.without_bias(), options.level, options.seed)
        apart = _differences(values, reference, paired, options) if reference else [None] * len(own)
        images = members[0].images()
        for name, value, difference in zip(names, own, apart, strict=True):
            counted = images[contender.method, name], len(members), paired
            rows.append(Row(name, group.title, contender, first, *counted, value, difference))
        reference = reference or values
    return sorted(rows, key=lambda row: names.index(row.metric))


def _scores(matched: Matched, contender: Contender) -> list[ImageScores]:
    members = matched.sides[contender.side].members
    return [scores_of(m.saved, matched.image_ids, contender.method) for m in members]


def _are_paired(matched: Matched, contender: Contender, reference: Contender) -> bool:
    one, other = matched.sides[contender.side], matched.sides[reference.side]
    return contender.side == reference.side or (
        len(one.members) == len(other.members) and one.seeds == other.seeds
    )


def _differences(
    values: Values, reference: Values, paired: bool, options: Options
) -> Sequence[Estimate]:
    if paired:
        return estimates(values.minus(reference), options.level, options.seed)
    return unpaired_estimates(values, reference, options.level, options.seed)
