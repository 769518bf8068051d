"""Self-contained pages out of sections: nothing leaves them, and only their own script runs."""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import count
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from learned_saliency.pipeline.cli import printable
from learned_saliency.pipeline.reports.page.blocks import Card, Gallery, Section
from learned_saliency.pipeline.reports.page.charts import draw_chart


def render_page(
    title: str,
    sections: Sequence[Section],
    lead: str = "",
    facts: Mapping[str, object] | None = None,
) -> str:
    """Render a page.

    Names of classes, images and methods may hold anything: they are shown as they are and do
    nothing. The page's content security policy allows its own script, its own style and pictures
    inside the page, and no connection.

    Args:
        title: The page's title and heading.
        sections: Its parts; there is one `Gallery` in all of them at most.
        lead: Sentences below the heading.
        facts: Values by name below these.

    Returns:
        The HTML document.

    Raises:
        ValueError: If there are several galleries.
    """
    shown = [section for section in sections if section.blocks]
    galleries = [b for section in shown for b in section.blocks if isinstance(b, Gallery)]
    if len(galleries) > 1:
        raise ValueError(f"a page has room for one gallery, got {len(galleries)}")
    style = _part("style.css")
    script = _part("script.js")
    policy = (
        f"default-src 'none'; script-src {_digest(script)}; style-src {_digest(style)}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    template = _environment().get_template("page.html")
    return template.render(
        title=title,
        sections=shown,
        lead=lead,
        facts=facts or {},
        style=Markup(style),
        script=Markup(script),
        policy=policy,
        number=count(1),
    )


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    functions = {"drawn": draw_chart, "marks": _marks, "next": next, "numbers": _numbers}
    environment.globals |= functions
    return environment


def _shown(value: object) -> object:
    """Take control characters out of plain texts; those of the page itself are markup."""
    return printable(value) if type(value) is str else value


def _marks(gallery: Gallery) -> list[tuple[str, str]]:
    """List what is drawn over a gallery's images: class of the style, and its name."""
    panels = [panel for card in gallery.cards for panel in card.panels]
    marks = (
        ("true", "true box", any(panel.true_boxes for panel in panels)),
        ("outline", "outline of the true mask", any(panel.outlines for panel in panels)),
        ("found", "box of the map", any(panel.found_box is not None for panel in panels)),
    )
    return [(kind, told) for kind, told, there in marks if there]


def _numbers(card: Card) -> list[float | None]:
    """Return what a card is sorted by, as JSON can hold it."""
    known = (None if v is None or not math.isfinite(v) else v for v in card.values)
    return [None if v is None else round(v, 6) for v in known]


def _part(name: str) -> str:
    return (Path(__file__).parent / name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    """Name an inline script or style in a content security policy."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
