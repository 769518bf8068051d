"""Gallery of a comparison: the same image with the maps of all contenders."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from learned_saliency.pipeline.comparison.images import Pair, Terms, disagreement
from learned_saliency.pipeline.comparison.pairing import Contender
from learned_saliency.pipeline.comparison.rows import figure_of
from learned_saliency.pipeline.reports import (
    NOTHING,
    Card,
    Cell,
    Gallery,
    Head,
    Panel,
    SortKey,
    Table,
    data_uri,
    map_panel,
    plain_panel,
)
from learned_saliency.trainers import GalleryImage

_DISAGREEMENT = ("least first", "most first")
_ORDER = "those listed first"
_UNKEPT = "its test kept no picture"


class Pictures(NamedTuple):
    """Pictures of one contender's images.

    Attributes:
        name: Name of the contender on the page.
        images: The images that have one, by name.
        class_names: Names of the labels.
        photographs: Whether the images themselves are in the pictures; else maps are on gray.
    """

    name: str
    images: Mapping[str, GalleryImage]
    class_names: Sequence[str]
    photographs: bool


class _Key(NamedTuple):
    """Order of the gallery: a pair's differences in a metric, or of its maps."""

    pair: Pair
    metric: str | None


def gallery_block(
    image_ids: Sequence[str],
    pairs: Sequence[Pair],
    terms: Mapping[Contender, Terms],
    pictures: Mapping[Contender, Pictures],
    count: int,
) -> Gallery:
    """Lay out the images on which contenders differ most, as far as there are pictures.

    The listed images with any picture come first; then others with pictures of both, until there
    are as many of each kind as were asked for.

    Args:
        image_ids: Names of the compared images.
        pairs: What is compared with what.
        terms: Terms of the images by contender.
        pictures: Their pictures.
        count: Number of images of each kind: ahead, behind, and maps that disagree.
    """
    places = {name: place for place, name in enumerate(image_ids)}
    drawn = {name for p in pictures.values() for name in p.images if name in places}
    apart = [_disagreements(pair, pictures, places) for pair in pairs]
    reasons = _reasons(pairs, apart, pictures, {places[n] for n in drawn}, count)
    keys = list(_keys(pairs, terms))
    cards = []
    for place, told in reasons.items():
        values = [_value(key, place, terms, apart[pairs.index(key.pair)]) for key in keys]
        cards.append(_card(image_ids[place], place, told, values, terms, pictures))
    shown = [_sort_key(key, pictures) for key in keys]
    return Gallery(cards, _ORDER, shown, _note(len(cards), count, pictures))


def _reasons(
    pairs: Sequence[Pair],
    apart: Sequence[Mapping[int, float]],
    pictures: Mapping[Contender, Pictures],
    drawn: Collection[int],
    count: int,
) -> dict[int, list[str]]:
    """Choose the images to show, in their order, and tell why each is shown.

    Args:
        pairs: What is compared with what.
        apart: Disagreement of the maps of each pair by place, of images with pictures of both.
        pictures: Pictures by contender.
        drawn: Places of the images that have any picture.
        count: Number of images of each kind.
    """
    listed: list[tuple[int, str]] = []
    others: list[tuple[int, str]] = []
    for pair, of_maps in zip(pairs, apart, strict=True):
        name = pictures[pair.contender].name
        for kind, order in {"ahead": pair.ahead, "behind": pair.behind}.items():
            first = [place for place in order[:count] if place in drawn]
            further = [place for place in order[count:] if place in of_maps]
            listed += [(place, f"{name} {kind}") for place in first]
            others += [(place, f"{name} {kind}") for place in further[: count - len(first)]]
        ranked = sorted(of_maps, key=lambda place: -of_maps[place])[:count]
        others += [(place, f"{name} disagrees") for place in ranked]
    reasons: dict[int, list[str]] = {}
    for place, told in [*listed, *others]:
        reasons.setdefault(place, []).append(told)
    return reasons


def _disagreements(
    pair: Pair, pictures: Mapping[Contender, Pictures], places: Mapping[str, int]
) -> dict[int, float]:
    """Measure how differently the maps of a pair order the pixels of each image with both."""
    one, other = (pictures[c].images for c in (pair.reference, pair.contender))
    methods = (pair.reference.method, pair.contender.method)
    return {
        places[name]: disagreement(image, other[name], methods)
        for name, image in one.items()
        if name in other and name in places
    }


def _keys(pairs: Sequence[Pair], terms: Mapping[Contender, Terms]) -> Iterator[_Key]:
    for pair in pairs:
        yield _Key(pair, None)
        known = terms[pair.contender].names
        yield from (_Key(pair, name) for name in terms[pair.reference].names if name in known)


def _sort_key(key: _Key, pictures: Mapping[Contender, Pictures]) -> SortKey:
    name = pictures[key.pair.contender].name
    if key.metric is None:
        return SortKey("disagreement of the maps", name, True, _DISAGREEMENT)
    better = figure_of(key.metric).higher_is_better
    ends = ("behind first", "ahead first")
    ends = ends[::-1] if better is False else ends
    return SortKey(
        f"difference in {key.metric}",
        name,
        better is not False,
        ("lowest first", "highest first") if better is None else ends,
    )


def _value(
    key: _Key, place: int, terms: Mapping[Contender, Terms], apart: Mapping[int, float]
) -> float | None:
    if key.metric is None:
        return apart.get(place)
    one, other = (terms[c].of(key.metric)[place] for c in (key.pair.reference, key.pair.contender))
    return None if math.isnan(other - one) else float(other - one)


def _card(
    image_id: str,
    place: int,
    reasons: Sequence[str],
    values: Sequence[float | None],
    terms: Mapping[Contender, Terms],
    pictures: Mapping[Contender, Pictures],
) -> Card:
    drawn = {c: p.images[image_id] for c, p in pictures.items() if image_id in p.images}
    first = max(drawn.items(), key=lambda item: pictures[item[0]].photographs)[1]
    names = next(iter(pictures.values())).class_names
    facts: dict[str, object] = {"shown for": "; ".join(reasons)}
    if first.label >= 0:
        facts["true class"] = _class(first.label, names)
    panels: list[Panel] = [plain_panel(first)]
    for contender, told in pictures.items():
        if contender in drawn:
            image = drawn[contender]
            panels.append(map_panel(told.name, image.maps[contender.method], image))
            facts |= _classes(told, image)
        else:
            panels.append(_blank_panel(told.name, first))
    return Card(
        title=image_id,
        picture=data_uri(first.picture, "jpeg"),
        panels=panels,
        facts=facts,
        table=_terms_table(image_id, place, terms, pictures),
        values=values,
        label=_class(first.label, names),
    )


def _blank_panel(name: str, image: GalleryImage) -> Panel:
    """Make the panel of a contender that has no picture of an image."""
    alt = f"No map of {name} over {image.image_id}: {_UNKEPT}"
    return Panel(name, alt, image.size, note=_UNKEPT, group=name, blank=True)


def _classes(pictures: Pictures, image: GalleryImage) -> dict[str, Cell]:
    """Name the class that a contender predicts, and another one that it explains."""
    found = {}
    kinds = {"predicts": (image.predicted, image.predicted_probability)}
    if image.target != image.predicted:
        kinds["explains"] = (image.target, image.target_probability)
    for kind, (label, probability) in kinds.items():
        if label >= 0 and probability is not None:
            name = _class(label, pictures.class_names)
            found[f"{pictures.name} {kind}"] = Cell(name, f"{100 * probability:.1f} %")
    return found


def _class(label: int, class_names: Sequence[str]) -> str:
    if label < 0:
        return ""
    return class_names[label] if label < len(class_names) else str(label)


def _terms_table(
    image_id: str,
    place: int,
    terms: Mapping[Contender, Terms],
    pictures: Mapping[Contender, Pictures],
) -> Table:
    """Lay out the terms of an image by all contenders, one row per metric."""
    rows = []
    for name in dict.fromkeys(name for found in terms.values() for name in found.names):
        known = [t.of(name)[place] if name in t.names else np.nan for t in terms.values()]
        if not np.isnan(known).all():
            shown = figure_of(name).shown
            rows.append([name, *(NOTHING if math.isnan(v) else shown(v) for v in known)])
    heads = [Head(pictures[contender].name) for contender in terms]
    return Table(f"Metrics of {image_id}", ["metric", *heads], rows, note="Percent, or nats.")


def _note(shown: int, count: int, pictures: Mapping[Contender, Pictures]) -> str:
    both = set.intersection(*(set(p.images) for p in pictures.values()))
    return (
        f"{shown} images: those listed that have a picture in any gallery, then others with "
        f"pictures in all of them ({len(both)} have these), up to {count} of each kind. "
        "Disagreement: 1 minus the rank correlation of the maps. Maps are transparent where they "
        "are 0."
    )
