"""Text of others, such as names of classes, in Markdown: it shows as it is and does nothing."""

from __future__ import annotations

import re
from collections.abc import Sequence

from learned_saliency.pipeline.cli import printable

_HTML = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "@": "&#64;"})
_SIGNS = re.compile(r"[\\`*\[\]|~#$]|(?<![^\W_])_|_(?![^\W_])")  # `_` within a word means nothing
_LINKS = re.compile(r"(?<=:)/(?=/)|(?<=\bwww)\.", re.IGNORECASE)  # what readers make links of


def escaped(text: object) -> str:
    """Escape a text for use within a line of Markdown, whose readers take HTML, too.

    Args:
        text: The text; line breaks and control characters in it are replaced.
    """
    line = _SIGNS.sub(r"\\\g<0>", printable(str(text))).translate(_HTML)
    return _LINKS.sub(lambda found: f"&#{ord(found[0])};", line)


def markdown_table(rows: Sequence[Sequence[object]]) -> str:
    """Lay out rows of plain texts, the first of which is the head."""
    head, *body = ([escaped(cell) for cell in row] for row in rows)
    lines = [head, ["---"] * len(head), *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
