"""Parts that pages are made of: plain values, which the page's templates lay out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from markupsafe import Markup

Point = tuple[float, float]


class Text(NamedTuple):
    """Paragraphs.

    Attributes:
        paragraphs: Plain texts.
    """

    paragraphs: Sequence[str]
    template = "text"


class Items(NamedTuple):
    """List of sentences.

    Attributes:
        sentences: Plain texts.
        warning: Whether a reader must not miss them.
    """

    sentences: Sequence[str]
    warning: bool = False
    template = "items"


class Facts(NamedTuple):
    """List of names with their values.

    Attributes:
        values: Values by name.
    """

    values: Mapping[str, object]
    template = "facts"


class Cell(NamedTuple):
    """Cell of a table.

    Attributes:
        text: Value.
        note: What stands behind it in small, such as an interval; empty for nothing.
        best: Whether the value is marked as the best of its column.
    """

    text: str
    note: str = ""
    best: bool = False


class Head(NamedTuple):
    """Head of a column.

    Attributes:
        text: Name.
        unit: Unit; empty for none.
        higher_is_better: The better direction; None where there is none.
    """

    text: str
    unit: str = ""
    higher_is_better: bool | None = None


class Table(NamedTuple):
    """Table that scrolls within its own region where it is wider than the page.

    Attributes:
        label: Name of the table, which no other table of the page has.
        head: Heads of the columns, that of the rows' names first.
        rows: Rows of as many cells; the first one names the row.
        further: Rows apart from the others, such as floors.
        further_label: Name of these rows.
        note: Sentence below the table; empty for none.
    """

    label: str
    head: Sequence[Head | str]
    rows: Sequence[Sequence[Cell | str]]
    further: Sequence[Sequence[Cell | str]] = ()
    further_label: str = ""
    note: str = ""
    template = "table"


class Picture(NamedTuple):
    """Picture with its caption.

    Attributes:
        source: Data URI.
        alt: Text for those who do not see it.
        caption: Plain text below it; empty for none.
    """

    source: Markup
    alt: str
    caption: str = ""
    template = "picture"


class Line(NamedTuple):
    """Line of a chart.

    Attributes:
        name: Name in the legend.
        points: Points x, y; those that are not finite are left out.
    """

    name: str
    points: Sequence[Point]


class Chart(NamedTuple):
    """Lines in a plane, drawn as SVG with a legend and a table of the same values.

    Attributes:
        title: Name of the chart, which no other chart of the page has.
        x_label: Label of the horizontal axis.
        y_label: Label of the vertical axis.
        lines: The lines.
        levels: Horizontal lines by name, such as floors.
        x_range: Ends of the horizontal axis; None for those of the points.
        y_range: Ends of the vertical axis; None likewise.
    """

    title: str
    x_label: str
    y_label: str
    lines: Sequence[Line]
    levels: Mapping[str, float] = {}
    x_range: Point | None = None
    y_range: Point | None = None
    template = "chart"


class Details(NamedTuple):
    """Blocks that are shown when a reader opens them, and in print.

    Attributes:
        summary: What is inside.
        blocks: The blocks.
    """

    summary: str
    blocks: Sequence[Block]
    template = "details"


class Panel(NamedTuple):
    """Picture of a card: its image, with a map and boxes over it.

    Attributes:
        name: Caption.
        alt: Text for those who do not see it.
        size: Height and width in pixels in which boxes and outlines are given.
        layer: Data URI of the colored map, transparent where it is 0; empty for the image alone.
        true_boxes: Boxes x0 y0 x1 y1, both ends inside.
        found_box: Box of the map, likewise; None for none.
        outlines: Polygons of points x, y.
        note: Small text below, such as an IoU.
        group: What shows and hides the panel together with those of other cards; empty for none.
        blank: Whether the image is left out, too.
    """

    name: str
    alt: str
    size: tuple[int, int]
    layer: Markup = Markup("")
    true_boxes: Sequence[Sequence[int]] = ()
    found_box: Sequence[int] | None = None
    outlines: Sequence[Sequence[Sequence[int]]] = ()
    note: str = ""
    group: str = ""
    blank: bool = False


class Card(NamedTuple):
    """Image of a gallery.

    Attributes:
        title: Name of the image.
        picture: Data URI of the image.
        panels: Its pictures.
        facts: Values by name, such as classes.
        table: Metrics of the image; None for none.
        values: Numbers to sort by, as many as the gallery has keys; None where one is unknown.
        label: Name of the class to filter by; empty for none.
        right: Whether the prediction is right; None where that is unknown.
    """

    title: str
    picture: Markup
    panels: Sequence[Panel]
    facts: Mapping[str, object] = {}
    table: Table | None = None
    values: Sequence[float | None] = ()
    label: str = ""
    right: bool | None = None


class SortKey(NamedTuple):
    """Order of a gallery.

    Attributes:
        name: What images are sorted by, such as a metric.
        group: Whose value that is, such as a method; empty where there are no several.
        descending: Whether the largest numbers come first at first.
        ends: What the first images are called in ascending and in descending order.
    """

    name: str
    group: str = ""
    descending: bool = False
    ends: tuple[str, str] = ("lowest first", "highest first")


class Gallery(NamedTuple):
    """Images with their maps, to sort and to filter.

    Attributes:
        cards: The images in their first order.
        order: Description of that order.
        keys: Further orders.
        note: Sentence above the images; empty for none.
    """

    cards: Sequence[Card]
    order: str
    keys: Sequence[SortKey] = ()
    note: str = ""
    template = "gallery"


Block = Text | Items | Facts | Table | Picture | Chart | Details | Gallery


class Section(NamedTuple):
    """Part of a page with a heading.

    Attributes:
        title: The heading.
        blocks: What is in it; a section without blocks is left out.
    """

    title: str
    blocks: Sequence[Block]
