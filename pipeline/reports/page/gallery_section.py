"""Gallery of an evaluation: its cards in the order of failures, with all that they sort by."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from learned_saliency.metrics import Figure
from learned_saliency.pipeline.reports.gallery import SavedGallery
from learned_saliency.pipeline.reports.image_scores import Column, ImageScores
from learned_saliency.pipeline.reports.page.blocks import Card, Gallery, SortKey, Table
from learned_saliency.pipeline.reports.page.cards import (
    image_card,
    is_right,
    map_panel,
    plain_panel,
)
from learned_saliency.pipeline.reports.page.metrics_section import head_of
from learned_saliency.pipeline.reports.page.pictures import gray_levels
from learned_saliency.trainers import GalleryImage, GalleryMap

_IOU = {"iou": Figure(True)}  # the one term of images that is no metric of a test
_PROBABILITY = SortKey("probability of the explained class")
_DISAGREEMENT = SortKey("disagreement between methods", "", True, ("least first", "most first"))


class _Order(NamedTuple):
    """Orders of a gallery: keys, and how the columns of the scores belong to them."""

    keys: list[SortKey]
    columns: list[int]
    disagreement: bool
    probability: bool


def gallery_block(
    gallery: SavedGallery, scores: ImageScores, figures: Mapping[str, Figure], tested: int
) -> Gallery | None:
    """Lay out a gallery; None without images.

    Args:
        gallery: The images.
        scores: Scores of all tested images.
        figures: Declarations of the metrics.
        tested: Number of tested images.
    """
    images = gallery.images
    if not images:
        return None
    declared = _IOU | dict(figures)
    order = _order(images, scores, declared)
    rows = {image_id: place for place, image_id in enumerate(scores.image_ids)}
    ranked = sorted(images, key=failure, reverse=True)  # equal ones stay in the split's order
    cards = []
    for image in ranked:
        row = rows.get(image.image_id)
        terms = np.full(len(scores.columns), np.nan) if row is None else scores.terms[row]
        cards.append(_card(image, gallery.class_names, scores.columns, terms, order, declared))
    first = "failures first" if _rule(images) else "order of the split"
    return Gallery(cards, first, order.keys, _note(images, tested))


def _order(
    images: Sequence[GalleryImage], scores: ImageScores, figures: Mapping[str, Figure]
) -> _Order:
    disagreement = any(len(image.maps) > 1 for image in images)
    probability = any(image.target_probability is not None for image in images)
    keys = [_DISAGREEMENT] if disagreement else []
    keys += [_PROBABILITY] if probability else []
    known = (~np.isnan(scores.terms)).any(0)
    columns = [k for k, (_, name) in enumerate(scores.columns) if known[k] and name in figures]
    keys += [_key(scores.columns[k], figures) for k in columns]
    return _Order(keys, columns, disagreement, probability)


def _key(column: Column, figures: Mapping[str, Figure]) -> SortKey:
    method, name = column
    better = figures[name].higher_is_better
    if better is None:
        return SortKey(name, method)
    ends = ("worst first", "best first") if better else ("best first", "worst first")
    return SortKey(name, method, not better, ends)


def _card(
    image: GalleryImage,
    class_names: Sequence[str],
    columns: Sequence[Column],
    terms: NDArray[np.float64],
    order: _Order,
    figures: Mapping[str, Figure],
) -> Card:
    """Make the card of an image, each map of which is decoded once."""
    levels = {name: gray_levels(found.values) for name, found in image.maps.items()}
    panels = [plain_panel(image)]
    panels += [map_panel(name, image.maps[name], image, levels[name]) for name in levels]
    values = [disagreement(list(levels.values()))] if order.disagreement else []
    values += [image.target_probability] if order.probability else []
    values += [None if math.isnan(terms[k]) else float(terms[k]) for k in order.columns]
    facts = {}
    if order.disagreement and values[0] is not None:
        facts["disagreement"] = f"{values[0]:.2f}"
    table = _terms_table(image.image_id, columns, terms, figures)
    return image_card(image, class_names, panels, facts, table, values)


def _terms_table(
    image_id: str,
    columns: Sequence[Column],
    terms: NDArray[np.float64],
    figures: Mapping[str, Figure],
) -> Table | None:
    """Lay out the metrics of one image; None where it has none."""
    known = {
        column: float(term)
        for column, term in zip(columns, terms, strict=True)
        if column[1] in figures and not math.isnan(term)
    }
    names = list(dict.fromkeys(name for _, name in known))
    if not names:
        return None
    rows = [
        [method, *(_shown(known.get((method, name)), figures[name]) for name in names)]
        for method in dict.fromkeys(method for method, _ in known)
    ]
    head = ["method", *(head_of(figures[name].short or name, figures[name]) for name in names)]
    return Table(f"Metrics of {image_id}", head, rows)


def _shown(term: float | None, figure: Figure) -> str:
    return "-" if term is None else figure.shown(term)


def disagreement(levels: Sequence[NDArray[np.uint8]]) -> float | None:
    """Measure how differently methods order the pixels of an image.

    Args:
        levels: Maps (H, W) of all methods, of one size.

    Returns:
        1 minus the mean over all pairs of `metrics.rank_correlation`, in [0, 2]; a constant map
        correlates with none. None for fewer than two maps.
    """
    if len(levels) < 2:
        return None
    ranks = np.stack([_ranks(each) for each in levels])
    scale = np.sqrt(np.square(ranks).sum(1, keepdims=True))
    ranks = np.divide(ranks, scale, out=np.zeros_like(ranks), where=scale > 0)
    found = (ranks @ ranks.T)[np.triu_indices(len(levels), 1)]
    return 1 - float(found.mean())


def _ranks(levels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Rank the pixels of a map around a mean of 0; ties share their mean rank."""
    counts = np.bincount(levels.ravel(), minlength=256)
    ranks = counts.cumsum() - (counts - 1) / 2
    found = ranks[levels.ravel()]
    return found - found.mean()


def failure(image: GalleryImage) -> float:
    """Measure how badly an image failed by its first map, so that failures can come first.

    With true boxes it is 1 minus the IoU of the map's box, and 1 for a constant map; without them
    1 minus the probability of the explained class, plus 1 where the predicted class is wrong. It is
    0 without boxes and predictions.
    """
    first: GalleryMap | None = next(iter(image.maps.values()), None)
    if first is not None and image.boxes:
        return 1 - (first.iou or 0.0)
    if image.target_probability is None:
        return 0.0
    return 1 - image.target_probability + (is_right(image) is False)


def _rule(images: Sequence[GalleryImage]) -> str:
    """Say what a failure is; nothing where there is no such thing."""
    if any(image.boxes for image in images):
        return f"the lowest IoU of the box of {_first_method(images)}"
    if any(image.target_probability is not None for image in images):
        return "wrong predictions, then the lowest probability of the explained class"
    return ""


def _first_method(images: Sequence[GalleryImage]) -> str:
    return next((name for image in images for name in image.maps), "no method")


def _note(images: Sequence[GalleryImage], tested: int) -> str:
    said = f"{len(images)} of {tested} tested images."
    if len(images) < tested:
        said += (
            " Some of them lie all over the split; on the others, at most as many, "
            f"{_first_method(images)} failed most."
        )
    if rule := _rule(images):
        said += f" Failures first: {rule}."
    if any(len(image.maps) > 1 for image in images):
        said += (
            " Disagreement between methods: 1 minus the mean rank correlation of all pairs of maps."
        )
    return said + " Maps are transparent where they are 0; what is shown is what is printed."
