"""Imports point down only: the arrows of the README, read from the source."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = {
    "attribution",
    "configs",
    "datamodules",
    "losses",
    "metrics",
    "models",
    "pipeline",
    "trainers",
}
LOWEST = ("attribution", "losses", "metrics", "models")
ALLOWED = {
    **{key: set() for key in [*LOWEST, "datamodules", "configs"]},
    "trainers": {*LOWEST, "datamodules"},
    "pipeline": ROOMS - {"pipeline"},
}


def imports(path: Path) -> set[tuple[str, str]]:
    """Pairs (module, name) that a file imports, wherever in it; name is empty for `import x`."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {(alias.name, "") for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {(node.module, alias.name) for alias in node.names}
    return found


def files(room: str) -> list[Path]:
    found = sorted((ROOT / room).rglob("*.py"))
    assert found, f"no files in {room}"
    return found


@pytest.mark.parametrize("room", sorted(ALLOWED))
def test_imports_point_down_only(room):
    for path in files(room):
        for module, name in imports(path):
            top = module.partition(".")[0]
            if top in ROOMS and top != room:
                assert top in ALLOWED[room], f"{path.relative_to(ROOT)} imports {module}.{name}"


@pytest.mark.parametrize("room", LOWEST)
def test_lowest_rooms_do_not_know_lightning(room):
    for path in files(room):
        for module, _ in imports(path):
            assert module.partition(".")[0] not in ("lightning", "pytorch_lightning"), path


def test_trainers_take_only_the_batch_type_from_datamodules():
    for path in files("trainers"):
        for module, name in imports(path):
            if module.partition(".")[0] == "datamodules":
                assert (module, name) == ("datamodules", "WSOLBatch"), path


def test_no_room_imports_an_entry_point():
    entries = {path.stem for path in ROOT.glob("*.py")}
    assert "train" in entries
    for room in ALLOWED:
        for path in files(room):
            assert not {module for module, _ in imports(path)} & entries, path


@pytest.mark.parametrize("room", sorted(ROOMS - {"configs", "pipeline"}))
def test_exports_are_sorted_and_exist(room):
    module = __import__(room)
    assert sorted(module.__all__, key=_ruff_order) == list(module.__all__)
    assert all(hasattr(module, name) for name in module.__all__)


def _ruff_order(name: str) -> tuple[int, str]:
    """Constants, then classes, then functions, each by name: what `ruff` (RUF022) keeps."""
    kind = 0 if name.isupper() and len(name) > 1 else 1 if name[:1].isupper() else 2
    return kind, name
