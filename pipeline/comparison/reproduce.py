"""The work of ``learned-saliency reproduce``, and what it prints."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from omegaconf import DictConfig

from learned_saliency.pipeline.cli import printable, values
from learned_saliency.pipeline.comparison.published import PublishedRow, published_rows
from learned_saliency.pipeline.comparison.reproduce_page import compose_page
from learned_saliency.pipeline.comparison.reproduce_tables import figure_cells, records
from learned_saliency.pipeline.comparison.reproduced import (
    ReproducedRow,
    Tested,
    compare_rows,
    read_tested,
)
from learned_saliency.pipeline.comparison.rows import Options
from learned_saliency.pipeline.reports import Signs, layout
from learned_saliency.pipeline.runs import create_folder
from learned_saliency.storage import write_csv, write_text

_SHOWN = 8  # keys that differ


def run(config: DictConfig) -> None:
    """Compare runs with the papers' rows, or list these; print tables and paths.

    Raises:
        UserError: If a place holds no tested run, or one is damaged.
    """
    if not config.runs:
        print(_lines(_listed(list(published_rows().values()))))
        return
    options = Options(config.level, config.resamples, config.seed)
    tested = read_tested(values(config.runs))
    rows = compare_rows(tested, options)
    others = [each for each in tested if each.origin.row is None]
    missing = rows_without_run(rows)
    page = compose_page(rows, others, missing, options.level)
    folder = create_folder(config)
    print(f"\n{_lines(_told(rows, others, missing, options.level, config.all))}\n")
    paths = [folder / name for name in ("reproduce.csv", "reproduce.json", "reproduce.html")]
    table = records(rows)
    heads = list(table[0]) if table else ["recipe"]
    write_csv(paths[0], heads, table)
    write_text(paths[1], json.dumps(_content(rows, others, missing, options), indent=2) + "\n")
    write_text(paths[2], page)
    print("\n".join(printable(str(path)) for path in paths))


def rows_without_run(rows: Sequence[ReproducedRow]) -> list[PublishedRow]:
    """List the rows of the papers that no run has; one that differs is none."""
    have = {each.row.recipe for each in rows if not each.differs}
    return [row for recipe, row in published_rows().items() if recipe not in have]


def _lines(lines: Iterator[str]) -> str:
    """Join lines that are safe to print, whatever names are in them."""
    return "\n".join(map(printable, "\n".join(lines).splitlines()))


def _listed(rows: Sequence[PublishedRow]) -> Iterator[str]:
    """Yield the rows with what they are and the commands that train them."""
    for row in rows:
        tables: dict[str, dict[str, None]] = {}
        for figure in row.figures:
            tables.setdefault(figure.author, {})[figure.table] = None
        printed = "; ".join(f"{author}, {', '.join(found)}" for author, found in tables.items())
        yield f"{row.recipe}  ({printed})"
        yield f"  {row.command()}"
    yield f"{len(rows)} rows of the papers; learned-saliency reproduce RUN shows a run's beside it."


def _told(
    rows: Sequence[ReproducedRow],
    others: Sequence[Tested],
    missing: Sequence[PublishedRow],
    level: float,
    in_full: bool,
) -> Iterator[str]:
    """Yield what the terminal shows."""
    signs = Signs.printable()
    if rows:
        yield f"{signs.heading('Test split')}, intervals of {100 * level:g} %"
    for row in rows:
        yield ""
        yield title_of(row)
        if row.differs:
            yield f"  NOT A REPRODUCTION, the recipe has other values: {_some(row.differs)}"
        cells = figure_cells(row, signs)
        yield layout(cells, fixed=cells[0].index("paper"))
        yield from (f"  {note}" for note in row.notes)
    if others:
        yield ""
    for each in others:
        yield f"{each.saved.path}: {each.origin.reason}"
    yield ""
    if in_full:
        yield from _listed(missing)
    else:
        verb = "row of the papers has" if len(missing) == 1 else "rows of the papers have"
        yield f"{len(missing)} {verb} no run here (all=true lists them)"


def title_of(row: ReproducedRow) -> str:
    """Name a row with its runs."""
    seeds = [str(member.seed) for member in row.runs if member.seed is not None]
    count = f"{len(row.runs)} {'run' if len(row.runs) == 1 else 'runs'}"
    told = f", {'seed' if len(seeds) == 1 else 'seeds'} {', '.join(seeds)}" if seeds else ""
    return f"{row.row.recipe}: {count}{told}"


def _some(differs: Sequence[str]) -> str:
    more = f" and {len(differs) - _SHOWN} more" if len(differs) > _SHOWN else ""
    return "; ".join(differs[:_SHOWN]) + more


def _content(
    rows: Sequence[ReproducedRow],
    others: Sequence[Tested],
    missing: Sequence[PublishedRow],
    options: Options,
) -> dict[str, Any]:
    return {
        **options._asdict(),
        "rows": [
            {
                "recipe": row.row.recipe,
                "reproduction": not row.differs,
                "differs": row.differs,
                "runs": [str(m.saved.path) for m in row.runs],
                "seeds": [m.seed for m in row.runs],
                "notes": row.notes,
                "figures": records([row]),
            }
            for row in rows
        ],
        "without_row": {str(each.saved.path): each.origin.reason for each in others},
        "without_run": [row.recipe for row in missing],
    }
