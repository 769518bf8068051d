"""The house: which room may import which, read from the source; and what the package holds."""

import ast
import importlib
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest

from tests.support.paths import ROOT

PACKAGE = "learned_saliency"
BASE = "errors"  # which every room may import
LOWEST = {BASE, "attribution", "models", "ops", "storage", "visualization"}
LOWER = {*LOWEST, "configs", "datamodules", "losses", "metrics", "trainers"}
SHARED = ["pipeline.cli", "pipeline.runs", "pipeline.reports"]  # each may import those before it
_JOBS = ("training", "evaluation", "prediction", "export", "conversion", "data", "comparison")
JOBS = {f"pipeline.{job}" for job in _JOBS}
ALLOWED = {
    **{room: {BASE} for room in [*LOWEST, "configs", "datamodules"]},
    "attribution": {BASE, "ops"},
    "models": {BASE, "ops", "storage"},
    "losses": {BASE, "ops"},
    "metrics": {BASE, "ops"},
    "trainers": {BASE, "attribution", "datamodules", "losses", "metrics", "models"}
    | {"ops", "storage", "visualization"},
    **{room: {*LOWER, *SHARED[:i]} for i, room in enumerate(SHARED)},
    **{job: {*LOWER, *SHARED} for job in JOBS},
    "pipeline.search": {*LOWER, *SHARED, "pipeline.training"},  # it consists of trainings
    "pipeline.commands": {"pipeline.cli"},  # finds the jobs by their names, when it needs them
    "pipeline": {"pipeline.commands"},
}
FOLDERS = sorted({room.partition(".")[0] for room in ALLOWED})


def room_of(module: str) -> str:
    """Room of a module, both without the package: ``pipeline.cli`` of ``pipeline.cli.errors``."""
    first, *rest = module.split(".")
    known = f"{first}.{rest[0]}" if rest else first
    return known if known in ALLOWED else first


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def sources() -> dict[str, Path]:
    """Files of all rooms by the names of their modules, without the package."""
    return {name_of(path): path for room in FOLDERS for path in sorted((ROOT / room).rglob("*.py"))}


@cache
def imports(path: Path) -> frozenset[tuple[str, str]]:
    """Pairs (module, name) that a file imports, wherever in it; name is empty for `import x`."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {(alias.name, "") for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {(node.module, alias.name) for alias in node.names}
    return frozenset(found)


def own_imports(path: Path) -> set[tuple[str, str]]:
    """Those of this package, named without it; ``from learned_saliency import x`` is a module."""
    found = set()
    for module, name in imports(path):
        first, _, rest = module.partition(".")
        if first == PACKAGE:
            found.add((rest, name) if rest else (name, ""))
    return found


@pytest.mark.parametrize("room", sorted(ALLOWED))
def test_imports_point_down_only(room):
    members = {name: path for name, path in sources().items() if room_of(name) == room}
    assert members
    for path in members.values():
        for module, name in own_imports(path):
            other = room_of(module)
            if other != room:
                assert other in ALLOWED[room], f"{path.relative_to(ROOT)} imports {module}.{name}"


def test_names_cross_a_rooms_border_through_its_init():
    for importer, path in sources().items():
        for module, name in own_imports(path):
            if room_of(module) != room_of(importer):
                assert module in ALLOWED, f"{path.relative_to(ROOT)} imports {module}.{name}"


def test_no_file_imports_itself_by_a_detour():
    graph = {name: set() for name in sources()}
    for importer, path in sources().items():
        for module, name in own_imports(path):
            inner = f"{module}.{name}"
            graph[importer].add(inner if inner in graph else module)
    done, path = set(), []

    def visit(module):
        assert module not in path, f"a circle: {' -> '.join([*path[path.index(module) :], module])}"
        if module not in done:
            path.append(module)
            for other in graph[module] - {module}:
                visit(other)
            path.pop()
            done.add(module)

    for module in graph:
        visit(module)


@pytest.mark.parametrize("room", sorted({*LOWEST, "losses", "metrics"}))
def test_lowest_rooms_do_not_know_lightning(room):
    for path in (ROOT / room).rglob("*.py"):
        for module, _ in imports(path):
            assert module.partition(".")[0] not in ("lightning", "pytorch_lightning"), path


def test_trainers_take_only_the_batch_type_from_datamodules():
    for path in (ROOT / "trainers").rglob("*.py"):
        for module, name in own_imports(path):
            if module.partition(".")[0] == "datamodules":
                assert (module, name) == ("datamodules", "WSOLBatch"), path


def test_no_room_imports_an_entry_point():
    entries = {path.stem for path in ROOT.glob("*.py")}
    assert "train" in entries
    for path in sources().values():
        assert not {module for module, _ in imports(path)} & entries, path


def test_everything_is_imported_under_one_name():
    folders = [path for path in ROOT.iterdir() if path.is_dir() and path.name[0] != "."]
    for path in [*ROOT.glob("*.py"), *(file for top in folders for file in top.rglob("*.py"))]:
        bare = {module for module, _ in imports(path) if module.partition(".")[0] in FOLDERS}
        assert not bare, f"{path}: {bare}"
    places = {str(ROOT / room) for room in FOLDERS}
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None) or ""
        if any(file.startswith(f"{place}/") for place in places):
            assert name.startswith(f"{PACKAGE}."), f"{file} was imported as {name}"


@pytest.mark.parametrize("room", sorted(set(ALLOWED) - {"configs"}))
def test_exports_are_sorted_and_exist(room):
    module = importlib.import_module(f"{PACKAGE}.{room}")
    assert sorted(module.__all__, key=_ruff_order) == list(module.__all__)
    assert all(hasattr(module, name) for name in module.__all__)


def _ruff_order(name: str) -> tuple[int, str]:
    """Constants, then classes, then functions, each by name: what `ruff` (RUF022) keeps."""
    kind = 0 if name.isupper() and len(name) > 1 else 1 if name[:1].isupper() else 2
    return kind, name


def test_the_package_lists_every_folder():
    with (ROOT / "pyproject.toml").open("rb") as file:
        setuptools = tomllib.load(file)["tool"]["setuptools"]
    found = {name for name, path in sources().items() if path.name == "__init__.py"}
    assert set(setuptools["packages"]) == {PACKAGE, *(f"{PACKAGE}.{name}" for name in found)}
    folders = {name: room for name, room in setuptools["package-dir"].items()}
    assert folders == {f"{PACKAGE}.{room}": room for room in FOLDERS}
    assert [path.name for path in (ROOT / PACKAGE).glob("*.py")] == ["__init__.py"]


def test_no_function_is_longer_than_50_lines():
    for path in sources().values():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = node.end_lineno - node.lineno + 1
                assert lines <= 50, f"{path.relative_to(ROOT)}: {node.name} has {lines} lines"
