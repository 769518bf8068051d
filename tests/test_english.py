"""First lines of docstrings and comments, by the rules of good English that a machine can check."""

import ast
import re
import tokenize
from pathlib import Path

import pytest

from tests.support.paths import ROOT

FOLDERS = (
    *("attribution", "benchmarks", "configs", "datamodules", "docs", "errors", "learned_saliency"),
    "losses",
    *("metrics", "models", "ops", "pipeline", "storage", "tests", "trainers", "visualization"),
)
# "Whether ..." begins a clause without its main verb, "Says ..." one without its subject.
CLAUSE = re.compile(r"(?:How|Of|Says|Tells|That|What|Where|Whether|Which|Who|Why)\b")
DANGLING = re.compile(r"#:?\s*of\b", re.IGNORECASE)


def docstrings(tree: ast.Module):
    """Yield line and text of each docstring."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text:
                yield node.body[0].lineno, text


def comments(path: Path):
    """Yield line and text of each comment that does not go on from the line above."""
    last = 0
    with path.open("rb") as file:
        for token in tokenize.tokenize(file.readline):
            if token.type == tokenize.COMMENT:
                alone = not token.line[: token.start[1]].strip()
                if not (alone and last == token.start[0] - 1):
                    yield token.start[0], token.string
                last = token.start[0] if alone else 0


def dangling(path: Path) -> list[str]:
    """List the docstrings and comments of a file that a reader has to complete."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = [(line, text) for line, text in docstrings(tree) if CLAUSE.match(text)]
    found += [(line, text) for line, text in comments(path) if DANGLING.match(text)]
    return [f"{path}:{line}: {text.splitlines()[0]}" for line, text in sorted(found)]


@pytest.mark.parametrize("folder", FOLDERS)
def test_docstrings_begin_with_a_verb_or_a_noun_and_comments_name_their_subject(folder):
    files = sorted((ROOT / folder).rglob("*.py"))
    assert files
    assert [line for path in files for line in dangling(path)] == []


def test_a_clause_and_a_dangling_comment_are_found(tmp_path):
    file = tmp_path / "module.py"
    file.write_text(
        '"""Which names are good."""\n'
        "SIZE = 3  # of a window\n"
        "# Of the last test.\n"
        "# A comment whose second line goes on\n"
        "# of itself is whole.\n"
        "def whether():\n"
        '    """Whether it is so."""\n'
        "def size():\n"
        '    """Return the size."""\n'
    )
    lines = [int(text.removeprefix(f"{file}:").split(":")[0]) for text in dangling(file)]
    assert lines == [1, 2, 3, 7]
