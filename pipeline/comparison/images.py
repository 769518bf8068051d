"""Images on which two contenders differ most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from learned_saliency.metrics import rank_correlation
from learned_saliency.pipeline.cli import UserError
from learned_saliency.pipeline.comparison.matching import Matched, scores_of
from learned_saliency.pipeline.comparison.pairing import Contender, Group
from learned_saliency.pipeline.comparison.rows import figure_of
from learned_saliency.pipeline.reports import gray_levels, shown_figures
from learned_saliency.trainers import TEST_FIGURES, GalleryImage

_FIRST = "iou"  # tells images apart better than metrics that are 0 or 1


class Terms(NamedTuple):
    """Terms of the N images by a contender, means over its trainings.

    Attributes:
        names: Metrics.
        values: Terms, (N, K); NaN where an image has none.
    """

    names: list[str]
    values: NDArray[np.float64]

    def of(self, metric: str) -> NDArray[np.float64]:
        """Return the terms (N,) of a metric."""
        return self.values[:, self.names.index(metric)]


class Pair(NamedTuple):
    """Contender beside the reference of its group.

    Attributes:
        reference: The reference.
        contender: The contender.
        ahead: Places of images, the one on which the contender is furthest ahead first.
        behind: Places of images, the one on which it is furthest behind first.
    """

    reference: Contender
    contender: Contender
    ahead: list[int]
    behind: list[int]


def read_terms(matched: Matched, contender: Contender) -> Terms:
    """Read the terms of the compared images by a contender."""
    found = [
        scores_of(member.saved, matched.image_ids, contender.method)
        for member in matched.sides[contender.side].members
    ]
    names = [name for _, name in found[0].columns]
    names = [n for n in names if all((contender.method, n) in s.columns for s in found)]
    values = [
        s.terms[:, [s.columns.index((contender.method, name)) for name in names]] for s in found
    ]
    return Terms(names, np.mean(values, axis=0))


def choose_metric(terms: Sequence[Terms], asked: str | None) -> str | None:
    """Choose the metric by which images differ; None where no metric has terms.

    Raises:
        UserError: If the metric that was asked for has no terms of single images.
    """
    known = [name for name in terms[0].names if all(name in t.names for t in terms)]
    known = [n for n in known if not any(np.isnan(t.of(n)).all() for t in terms)]
    if asked is not None:
        if asked not in known:
            raise UserError(
                f"page.metric={asked}: no metric with terms of single images; choose one of "
                f"{', '.join(known) or 'none'}."
            )
        return asked
    ranked = [_FIRST, *shown_figures(known, TEST_FIGURES), *known]
    return next((name for name in ranked if name in known), None)


def rank_images(group: Group, terms: Mapping[Contender, Terms], metric: str | None) -> list[Pair]:
    """Rank the images on which each contender of a group is ahead of the first, and behind it."""
    first, *others = group.contenders
    pairs = []
    for contender in others:
        places: tuple[list[int], list[int]] = ([], [])
        if metric is not None:
            better = figure_of(metric).higher_is_better
            apart = terms[contender].of(metric) - terms[first].of(metric)
            apart = np.nan_to_num(-apart if better is False else apart)
            order = np.argsort(-apart, kind="stable").tolist()
            places = (
                [i for i in order if apart[i] > 0],
                [i for i in reversed(order) if apart[i] < 0],
            )
        pairs.append(Pair(first, contender, *places))
    return pairs


def disagreement(one: GalleryImage, other: GalleryImage, methods: tuple[str, str]) -> float:
    """Measure how differently two maps of an image order its pixels.

    Returns:
        1 minus the rank correlation of the maps, in [0, 2]; 1 for a constant map.
    """
    pictures = ((one, methods[0]), (other, methods[1]))
    levels = [gray_levels(image.maps[method].values) for image, method in pictures]
    smaller = min((found.shape for found in levels), key=lambda shape: shape[0] * shape[1])
    size = (smaller[1], smaller[0])
    one_map, other_map = (
        torch.from_numpy(cv2.resize(found, size, interpolation=cv2.INTER_AREA))[None]
        for found in levels
    )
    return 1 - float(rank_correlation(one_map, other_map))
