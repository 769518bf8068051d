"""Hooks of mkdocs: tables and references that the package declares, and equations.

A page asks for a generated part by a comment, ``<!-- generate: commands -->``. Nothing generated is
stored.
"""

from __future__ import annotations

import importlib
import inspect
import json
import re
import tempfile
from collections.abc import Callable, Iterator
from html import escape, unescape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from command_reference import command_reference
from latex2mathml.converter import convert
from mkdocs.plugins import event_priority

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.pages import Page

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent

_MARK = re.compile(r"^<!-- generate: (\w+)(?: (\S+))? -->$", re.MULTILINE)
_EQUATION = re.compile(
    r'<(span|div) class="arithmatex">\\(?:\(|\[)(.*?)\\(?:\)|\])</\1>', re.DOTALL
)
# What docstrings and comments call "paper 000" to "paper 004".
_PAPERS = ("Opti-CAM's paper", "CALM's paper", "LIFT-CAM's paper", "F-CAM's paper", "CASM's paper")
_PAPER = re.compile(r"[Pp]aper 00([0-4])")
_DIRECTIONS = {True: "higher", False: "lower", None: "-"}

_view: list[tempfile.TemporaryDirectory] = []


@event_priority(100)  # before mkdocstrings reads it
def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Show mkdocstrings the rooms as they are imported, ``models/`` as ``learned_saliency/models``.

    It reads sources without importing them, and does not know pyproject's ``package-dir``.
    """
    folder = tempfile.TemporaryDirectory(prefix="learned-saliency-docs-")
    _view.append(folder)
    package = Path(folder.name, "learned_saliency")
    package.mkdir()
    (package / "__init__.py").touch()
    for room in sorted(ROOT.iterdir()):
        if (room / "__init__.py").is_file():
            (package / room.name).symlink_to(room, target_is_directory=True)
    handlers = config.plugins["mkdocstrings"].config["handlers"]
    handlers["python"]["paths"] = [folder.name]
    return config


def on_post_build(config: MkDocsConfig) -> None:
    """Remove what `on_config` made."""
    while _view:
        _view.pop().cleanup()


def on_build_error(error: Exception) -> None:
    """Remove what `on_config` made, after a failure too."""
    while _view:
        _view.pop().cleanup()


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Any) -> str:
    """Replace each comment that asks for a generated part."""
    return _MARK.sub(lambda mark: _PARTS[mark[1]](*filter(None, [mark[2]])), markdown)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Any) -> str:
    """Write equations as MathML, which browsers draw without a script, and name the papers."""
    html = _PAPER.sub(lambda found: _PAPERS[int(found[1])], html)
    return _EQUATION.sub(_equation, html)


def _equation(found: re.Match[str]) -> str:
    latex = unescape(found[2]).strip()
    display = "block" if found[1] == "div" else "inline"
    math = convert(latex, display=display)
    math = math.replace("<math ", f'<math aria-label="{escape(latex)}" ', 1)
    return f'<span class="equation">{math}</span>' if display == "block" else math


def figures() -> dict[str, tuple[Any, str]]:
    """All declared figures by name, each with the class of the metric that gives it.

    Those of a test come first, under the names that they have in its results. Of several metrics
    that give a figure the one that gives the fewest is named.
    """
    metrics = importlib.import_module("learned_saliency.metrics")
    trainers = importlib.import_module("learned_saliency.trainers")
    found: dict[str, tuple[Any, str]] = {}
    exported = [(name, getattr(metrics, name)) for name in metrics.__all__]
    declaring = [(n, m) for n, m in exported if inspect.isclass(m) and hasattr(m, "figures")]
    # figures that depend on options are those of the default options
    declaring = [(n, m() if isinstance(m.figures, property) else m) for n, m in declaring]
    for name, metric in sorted(declaring, key=lambda item: len(item[1].figures)):
        for figure, declared in metrics.declared(metric).items():
            found.setdefault(figure, (declared, name))
    measured = {name: each.metric.__name__ for name, each in trainers.FIGURES.items()}
    for score in trainers.SCORES.values():
        for figure in score.figures().keys() - found.keys():  # metrics with other options
            measured[figure] = type(score.metric).__name__
    tested = {
        name: (figure, measured.get(name) or found.get(name, (None, ""))[1])
        for name, figure in trainers.TEST_FIGURES.items()
        if not name.endswith("seen")
    }
    return tested | {name: figure for name, figure in found.items() if name not in tested}


def figure_table() -> str:
    """The table of figures that metrics declare."""
    rows = [
        [
            f"`{name}`" + (f" ({figure.short})" if figure.short else ""),
            _DIRECTIONS[figure.higher_is_better],
            "yes" if figure.headline else "files only",
            ", ".join(sorted(figure.needs)) or "-",
            f"`{metric}`" if metric else "-",
        ]
        for name, (figure, metric) in figures().items()
    ]
    head = ["figure", "better", "in tables", "needs", "metric"]
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def api(room: str) -> str:
    """References to all that a room exports and that can be called."""
    module = importlib.import_module(f"learned_saliency.{room}")
    exported = ((name, getattr(module, name)) for name in module.__all__)
    return "\n\n".join(
        f"::: {thing.__module__}.{thing.__qualname__}"
        for _, thing in sorted(exported, key=lambda item: item[0].lower())
        if inspect.isclass(thing) or inspect.isfunction(thing)
    )


def notebook(path: str) -> str:
    """The cells of a notebook as a page."""
    cells = json.loads((DOCS / path).read_text(encoding="utf-8"))["cells"]
    return "\n\n".join(_cells(cells))


def _cells(cells: list[dict[str, Any]]) -> Iterator[str]:
    for cell in cells:
        text = "".join(cell["source"])
        yield text if cell["cell_type"] == "markdown" else f"```python\n{text}\n```"


_PARTS: dict[str, Callable[..., str]] = {
    "api": api,
    "commands": command_reference,
    "figures": figure_table,
    "notebook": notebook,
}
