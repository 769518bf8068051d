"""The work of ``learned-saliency compare``, and what it prints."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from omegaconf import DictConfig

from learned_saliency.pipeline.cli import listed, printable, values
from learned_saliency.pipeline.comparison.matching import match
from learned_saliency.pipeline.comparison.page import Contents, check_page, compose_page
from learned_saliency.pipeline.comparison.pairing import Group, left_out_methods, pair_methods
from learned_saliency.pipeline.comparison.rows import (
    Options,
    check_metrics,
    compare_group,
    shared_metrics,
)
from learned_saliency.pipeline.comparison.sides import read_sides
from learned_saliency.pipeline.comparison.tables import format_comparison, shown_rows, write_tables
from learned_saliency.pipeline.runs import create_folder
from learned_saliency.storage import write_text


def run(config: DictConfig) -> None:
    """Compare; print the table and the paths of what was written.

    Raises:
        UserError: If the runs cannot be compared.
    """
    matched = match(read_sides(values(config.runs), config.join_seeds))
    asked = [] if config.metrics is None else values(config.metrics)
    methods = [] if config.methods is None else values(config.methods)
    pairs = pair_methods(matched.sides, methods)
    options = Options(config.level, config.resamples, config.seed)
    shared = [shared_metrics(matched, group) for group in pairs]
    check_metrics({name for names in shared for name in names}, asked, matched)
    check_page(matched, pairs, config.page.metric)
    chosen = [[name for name in names if name in (asked or names)] for names in shared]
    told = [*left_out_methods(matched.sides, pairs, methods), *_without_metrics(pairs, chosen)]
    matched = matched._replace(notes=[*matched.notes, *told])
    groups = [compare_group(matched, *each, options) for each in zip(pairs, chosen, strict=True)]
    shown = shown_rows(groups, asked)
    contents = Contents(matched, pairs, shown, options, config.page.images, config.page.metric)
    page = compose_page(contents)
    folder = create_folder(config)
    written = write_tables(folder, groups, shown, matched, options)
    write_text(folder / "compare.html", page)
    print(f"\n{printable_lines(format_comparison(shown, matched, config.level))}\n")
    print("\n".join(printable(str(path)) for path in [*written, folder / "compare.html"]))


def _without_metrics(groups: Sequence[Group], metrics: Sequence[Sequence[str]]) -> Iterator[str]:
    """Tell which methods have no row in any table."""
    for group, names in zip(groups, metrics, strict=True):
        if not names:
            methods = listed([*dict.fromkeys(c.method for c in group.contenders)])
            yield f"left out, as the runs share no metric of it to compare: {methods}"


def printable_lines(text: str) -> str:
    """Return a text of several lines that is safe to print, whatever names are in it."""
    return "\n".join(map(printable, text.splitlines()))
