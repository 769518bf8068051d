"""Page of published metrics beside those of runs."""

from __future__ import annotations

from collections.abc import Sequence

from learned_saliency.pipeline.comparison.published import PublishedRow
from learned_saliency.pipeline.comparison.reproduce_tables import figure_cells
from learned_saliency.pipeline.comparison.reproduced import ReproducedRow, Tested
from learned_saliency.pipeline.reports import (
    NOTHING,
    Block,
    Cell,
    Details,
    Items,
    Section,
    Signs,
    Table,
    Text,
    render_page,
)

_EXPLAINED = (
    "Ours is the mean over the seeds. Its interval over images, below it, is what these trainings "
    "would have on other images; over seeds, the mean over all trainings on these images, by "
    "Student's t, below their spread. The papers print no spread: that a figure lies outside an "
    "interval tells only that these runs are not expected to give it."
)


def compose_page(
    rows: Sequence[ReproducedRow],
    others: Sequence[Tested],
    missing: Sequence[PublishedRow],
    level: float,
) -> str:
    """Compose the page.

    Args:
        rows: Rows of the papers with their runs, those that differ from the recipe last.
        others: Runs without a row.
        missing: Rows without a run.
        level: Level of the intervals.
    """
    sections = [Section("How to read it", [Text([_EXPLAINED])])] if rows else []
    sections += [_section(number, row) for number, row in enumerate(rows, 1)]
    reasons = [f"{each.saved.path}: {each.origin.reason}" for each in others]
    sections.append(Section("Runs without a row", [Items(reasons)] if reasons else []))
    told = f"{len(missing)} rows of the papers"
    commands = [[row.recipe, row.command()] for row in missing]
    listed = Details(told, [Table("Rows without a run", ["recipe", "command"], commands)])
    sections.append(Section("Rows that no run here has", [listed] if missing else []))
    done = len({row.row.recipe for row in rows if not row.differs})
    lead = (
        f"{done} {'row' if done == 1 else 'rows'} of the papers with runs that have the recipe's "
        f"values; percent; intervals of {100 * level:g} %."
    )
    return render_page("Papers beside runs", sections, lead)


def _section(number: int, row: ReproducedRow) -> Section:
    head, *body = figure_cells(row, Signs("↑", "↓", "±"))
    below = {"ours": "over images", "spread of seeds": "over seeds"}
    places = {head.index(name): head.index(note) for name, note in below.items()}
    columns = [k for k in range(len(head)) if k not in places.values()]
    laid = [
        [_cell(line[k], line[places[k]]) if k in places else line[k] for k in columns]
        for line in body
    ]
    blocks: list[Block] = []
    if row.differs:
        blocks.append(Text(["Not a reproduction: the recipe has other values."]))
        blocks.append(Items(row.differs, warning=True))
    heads = [head[k] for k in columns]
    blocks.append(Table(f"{number}: {row.row.recipe}", heads, laid))
    runs = [f"{member.saved.path} (seed {member.seed})" for member in row.runs]
    blocks.append(Details(f"{len(runs)} {'run' if len(runs) == 1 else 'runs'}", [Items(runs)]))
    if row.notes:
        blocks.append(Items(row.notes))
    apart = ", differs" if row.differs else ""
    return Section(f"{row.row.recipe}{apart}", blocks)


def _cell(value: str, note: str) -> Cell:
    return Cell(value, "" if NOTHING in (value, note) else note)
