"""Tables for the terminal: no wider than it, with signs that it can show."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from learned_saliency.metrics import Figure

WIDTH = 120  # characters of a line of a table
NOTHING = "-"  # cell without a value


class Signs(NamedTuple):
    """Signs for "higher is better", "lower is better" and "plus or minus"."""

    higher: str
    lower: str
    spread: str

    @classmethod
    def printable(cls) -> Signs:
        """Those that standard output can encode."""
        signs = cls("↑", "↓", "±")
        try:
            "".join(signs).encode(getattr(sys.stdout, "encoding", None) or "utf-8")
        except UnicodeEncodeError:
            return cls("^", "v", "+-")
        return signs

    def column(self, name: str, figure: Figure) -> str:
        """The head of a metric's column: short name, unit, and the sign of its better direction."""
        shown = figure.head(name)
        if figure.higher_is_better is None:
            return shown
        return f"{shown} {self.higher if figure.higher_is_better else self.lower}"

    def heading(self, title: str) -> str:
        """A line above a table that says its unit and what the signs mean."""
        return f"{title}, percent ({self.higher} higher is better, {self.lower} lower is better)"


def shown_figures(found: Sequence[str], figures: Mapping[str, Figure]) -> list[str]:
    """The metrics among ``found`` that tables show, those that lead before the others."""
    names = [name for name in found if name in figures and figures[name].headline]
    return sorted(names, key=lambda name: not figures[name].leads)


def layout(rows: Sequence[Sequence[str]], fixed: int = 1, width: int = WIDTH) -> str:
    """Align the cells of a table.

    Args:
        rows: A row of heads, then the others, of as many cells each.
        fixed: How many columns at the left name a row: they are repeated in each block.
        width: Most characters in a line: further columns go to a block below. A column that is
            wider by itself has a block of its own. A block has the rows with a cell that says
            something; the first one also those which say nothing anywhere.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    names = list(range(fixed))
    room = width - sum(widths[i] + 2 for i in names)
    blocks: list[list[int]] = [[]]
    for column in range(fixed, len(widths)):
        taken = sum(widths[i] + 2 for i in blocks[-1])
        if blocks[-1] and taken + widths[column] > room:
            blocks.append([])
        blocks[-1].append(column)
    head, *lines = rows
    silent = [line for line in lines if not _says(line, range(fixed, len(widths)))]
    parts = []
    for block in blocks:
        empty = silent if block is blocks[0] else []
        shown = [line for line in lines if _says(line, block) or line in empty]
        parts.append(_block([head, *shown], [*names, *block], fixed, widths))
    return "\n\n".join(parts)


def _says(row: Sequence[str], columns: Iterable[int]) -> bool:
    return any(row[column] != NOTHING for column in columns)


def _block(rows: Sequence[Sequence[str]], columns: list[int], fixed: int, widths: list[int]) -> str:
    lines = []
    for row in rows:
        cells = [row[i].ljust(widths[i]) if i < fixed else row[i].rjust(widths[i]) for i in columns]
        lines.append("  ".join(cells).rstrip())
    lines.insert(1, "-" * max(map(len, lines)))
    return "\n".join(lines)
