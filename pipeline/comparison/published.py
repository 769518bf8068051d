"""Rows of the papers' tables: published metrics, and the values that the papers state."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from learned_saliency.pipeline.cli import CONFIG_DIR, PUBLISHED

_COMMAND = "python train.py "


class PublishedFigure(NamedTuple):
    """Metric that a paper prints.

    Attributes:
        paper: The paper.
        table: Name of the table.
        label: Name of its line.
        method: Method of a run that it is compared with; ``native`` or a post-hoc method.
        metric: Name of the metric in this project.
        percent: The printed value.
        mean_of: Recipes whose mean it is; empty for a value of one recipe.
    """

    paper: str
    table: str
    label: str
    method: str
    metric: str
    percent: float
    mean_of: tuple[str, ...] = ()

    @property
    def author(self) -> str:
        """First author of the paper, as it is cited."""
        return self.paper.partition(",")[0]


class PublishedRow(NamedTuple):
    """Row of the papers, which a recipe of ``configs/experiment`` trains.

    Attributes:
        recipe: Name of the recipe.
        figures: Its published metrics.
        values: Values that the papers state, by key of the composed configuration.
        test_images: Number of test images; None where no paper says it.
    """

    recipe: str
    figures: list[PublishedFigure]
    values: dict[str, Any]
    test_images: int | None

    @property
    def path(self) -> Path:
        """File of the recipe."""
        return CONFIG_DIR / "experiment" / f"{self.recipe}.yaml"

    def header(self) -> list[str]:
        """Read the lines of comment that begin the recipe up to its first command."""
        lines = self.path.read_text(encoding="utf-8").splitlines()
        comments = [line.removeprefix("#").strip() for line in _leading(lines)]
        told = [line for line in comments if not line.startswith("@package")]
        end = next((k for k, line in enumerate(told) if line.startswith(_COMMAND)), len(told))
        return told[:end]

    def command(self) -> str:
        """Read the command that trains the row; the shortest one where the recipe shows none."""
        for line in _leading(self.path.read_text(encoding="utf-8").splitlines()):
            if (told := line.removeprefix("#").strip()).startswith(_COMMAND):
                return told
        return f"{_COMMAND}experiment={self.recipe} data.root=..."


@cache
def published_rows() -> Mapping[str, PublishedRow]:
    """Read the rows of all papers, by the names of their recipes."""
    rows: dict[str, PublishedRow] = {}
    for path in sorted(PUBLISHED.glob("*.yaml")):
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        figures: dict[str, list[PublishedFigure]] = {}
        for block in content["figures"]:
            for recipe, figure in _figures(content["paper"], block):
                figures.setdefault(recipe, []).append(figure)
        for recipe, found in figures.items():
            row = rows.setdefault(recipe, PublishedRow(recipe, [], {}, None))
            row.figures.extend(found)
            row.values.update(_values(content["values"], recipe))
            number = content["test_images"].get(row.values["data.name"])
            rows[recipe] = row._replace(test_images=number)
    return rows


def _figures(paper: str, block: Mapping[str, Any]) -> Iterator[tuple[str, PublishedFigure]]:
    """Yield the recipes of a table with their metrics."""
    for line in block["lines"]:
        for place, percent in zip(block["of"], line["percent"], strict=True):
            members = block.get("mean_of", [])
            places = [f"{place}_{member}" for member in members] or [place]
            recipes = [line["recipe"].format(each) for each in places]
            metric = line.get("metric", block.get("metric"))
            named = (paper, block["table"], line["label"], line.get("method", "native"), metric)
            figure = PublishedFigure(*named, percent, tuple(recipes) if members else ())
            for recipe in recipes:
                yield recipe, figure


def _values(patterns: list[dict[str, Any]], recipe: str) -> dict[str, Any]:
    """Collect the values of a recipe; later patterns count."""
    found: dict[str, Any] = {}
    for each in patterns:
        if fnmatchcase(recipe, each["recipes"]):
            found |= each["keys"]
    return found


def _leading(lines: list[str]) -> Iterator[str]:
    for line in lines:
        if not line.startswith("#"):
            return
        yield line
