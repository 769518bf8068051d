"""Page of a comparison: the tables, and the images on which the contenders differ most."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from string import ascii_uppercase
from typing import NamedTuple

from learned_saliency.pipeline.comparison.cards import Pictures, gallery_block
from learned_saliency.pipeline.comparison.images import (
    Pair,
    Terms,
    choose_metric,
    rank_images,
    read_terms,
)
from learned_saliency.pipeline.comparison.matching import Matched
from learned_saliency.pipeline.comparison.pairing import Contender, Group
from learned_saliency.pipeline.comparison.rows import Options, Row, figure_of
from learned_saliency.pipeline.comparison.tables import shared_method, star_told, table_cells
from learned_saliency.pipeline.reports import (
    GALLERY_FILE,
    NOTHING,
    Cell,
    Details,
    Head,
    Items,
    Section,
    Signs,
    Table,
    Text,
    render_page,
)

_PLAIN = Signs("↑", "↓", "±")
_EXPLAINED = (
    "Over images: what these trainings would have on other images, by draws of the images, the "
    "same for all runs. Of sweeps, over seeds: the mean over all trainings on these "
    "images, by Student's t; one more seed: a single further training; seeds and images: both are "
    "drawn, which is too narrow for few seeds."
)


class Contents(NamedTuple):
    """Contents of the page.

    Attributes:
        matched: The sides.
        groups: What was compared with what.
        shown: Rows of the table.
        options: Options of the statistics.
        images: Number of images of each kind.
        metric: Metric by which images differ; None for the usual one.
    """

    matched: Matched
    groups: Sequence[Group]
    shown: Sequence[Row]
    options: Options
    images: int
    metric: str | None


def check_page(matched: Matched, groups: Sequence[Group], metric: str | None) -> None:
    """Check before the work that the images can be ranked by a metric.

    Raises:
        UserError: If the metric has no terms of single images.
    """
    if metric is not None:
        contenders = [contender for group in groups for contender in group.contenders]
        choose_metric([read_terms(matched, contender) for contender in contenders], metric)


def compose_page(contents: Contents) -> str:
    """Compose the page.

    Raises:
        UserError: If the metric of the images has no terms, or a gallery cannot be read.
    """
    matched, level = contents.matched, contents.options.level
    labels = _labels(matched, contents.groups)
    cells = table_cells([_relabeled(row, labels) for row in contents.shown], _PLAIN)
    metrics = [_metrics_table(cells), Text([f"{_EXPLAINED} {star_told(contents.shown)}."])]
    sections = [
        Section("Metrics", metrics),
        Section("Notes", [Items(matched.notes)] if matched.notes else []),
        *(_image_sections(contents, labels) if contents.images else []),
    ]
    method = shared_method(contents.shown)
    lead = (
        f"{len(matched.image_ids)} images of the split {matched.sides[0].members[0].saved.split} "
        f"that all of them tested; {method}{'; ' if method else ''}percent; "
        f"intervals of {100 * level:g} %."
    )
    title = " and ".join(side.name for side in matched.sides)
    return render_page(f"Comparison: {title}", sections, lead, _facts(matched))


def _facts(matched: Matched) -> dict[str, str]:
    """Tell which side each letter stands for, and whose pictures are shown."""
    found = {}
    for i, side in enumerate(matched.sides):
        seeds = side.seeds
        told = (
            f" (seeds {', '.join(map(str, seeds))}; pictures of seed {seeds[0]})" if seeds else ""
        )
        found[_letter(i)] = f"{side.name}{told}"
    return found if len(found) > 1 else {"run": found[_letter(0)]}


def _labels(matched: Matched, groups: Sequence[Group]) -> dict[Contender, str]:
    """Name the contenders shortly: a letter for the side, the method where there are several."""
    contenders = [c for group in groups for c in group.contenders]
    if len(matched.sides) == 1:
        return {contender: contender.method for contender in contenders}
    several = len({contender.method for contender in contenders}) > 1
    return {c: f"{_letter(c.side)}{f', {c.method}' if several else ''}" for c in contenders}


def _letter(side: int) -> str:
    return ascii_uppercase[side] if side < len(ascii_uppercase) else str(side + 1)


def _relabeled(row: Row, labels: Mapping[Contender, str]) -> Row:
    return row._replace(contender=row.contender._replace(name=labels[row.contender]), title="")


def _metrics_table(cells: Sequence[Sequence[str]]) -> Table:
    """Lay out the table, each interval below its value."""
    head, *rows = cells
    below = {head.index(name): head.index(name) + 1 for name in ("value", "difference")}
    columns = [k for k in range(len(head)) if k not in below.values()]
    laid = [
        [_cell(row[k], row[below[k]]) if k in below else row[k] for k in columns] for row in rows
    ]
    heads = [head[k] for k in columns]
    return Table("Metrics by run", heads, laid)


def _cell(value: str, interval: str) -> Cell:
    return Cell(value, "" if value == NOTHING else interval)


def _image_sections(contents: Contents, labels: Mapping[Contender, str]) -> Iterator[Section]:
    """Lay out the images: those with pictures as a gallery, the most different ones by name."""
    matched = contents.matched
    contenders = [c for group in contents.groups for c in group.contenders]
    terms = {contender: read_terms(matched, contender) for contender in contenders}
    metric = choose_metric(list(terms.values()), contents.metric)
    pairs = [p for group in contents.groups for p in rank_images(group, terms, metric)]
    pictures = _read_pictures(matched, labels)
    if metric is not None:
        tables = [
            _named(contents, p, side, terms, pictures, metric) for p in pairs for side in (0, 1)
        ]
        yield Section(f"Images that differ most in {metric}", tables)
    gallery = gallery_block(matched.image_ids, pairs, terms, pictures, contents.images)
    yield Section("Pictures", [gallery] if gallery.cards else [])
    untold = [n for n in matched.image_ids if not any(n in p.images for p in pictures.values())]
    if untold:
        told = f"{len(untold)} images without a picture in any gallery"
        yield Section("Images without a picture", [Details(told, [Items(untold)])])


def _read_pictures(matched: Matched, labels: Mapping[Contender, str]) -> dict[Contender, Pictures]:
    """Read the galleries of each contender's first training."""
    saved = [side.members[0].saved for side in matched.sides]
    galleries = [one.gallery() for one in saved]
    photographs = [one.bundle is None or GALLERY_FILE in one.bundle for one in saved]
    found = {}
    for contender, name in labels.items():
        gallery = galleries[contender.side]
        images = {i.image_id: i for i in gallery.images if contender.method in i.maps}
        found[contender] = Pictures(name, images, gallery.class_names, photographs[contender.side])
    return found


def _named(
    contents: Contents,
    pair: Pair,
    side: int,
    terms: Mapping[Contender, Terms],
    pictures: Mapping[Contender, Pictures],
    metric: str,
) -> Table:
    """List the images on which a contender is furthest ahead, or behind."""
    figure, ids = figure_of(metric), contents.matched.image_ids
    one, other = terms[pair.reference].of(metric), terms[pair.contender].of(metric)
    better = figure.higher_is_better is not None
    words = ("is ahead of", "is behind") if better else ("is above", "is below")
    name, reference = pictures[pair.contender].name, pictures[pair.reference].name
    rows = []
    for place in (pair.ahead, pair.behind)[side][: contents.images]:
        drawn = [p for p in (pair.reference, pair.contender) if ids[place] in pictures[p].images]
        rows.append(
            [
                ids[place],
                figure.shown(one[place]),
                figure.shown(other[place]),
                ("no", "of one", "yes")[len(drawn)],
            ]
        )
    unit = figure.unit or "%"
    heads = ["image", Head(reference, unit), Head(name, unit), "picture"]
    told = f"{name} {words[side]} {reference} most"
    return Table(told, heads, rows, note=f"{told}.")
