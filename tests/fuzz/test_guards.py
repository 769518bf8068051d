"""The guards of the fuzz tests notice what they are there for."""

import subprocess
import threading

import pytest

from learned_saliency.errors import MendableError
from tests.fuzz import guards
from tests.fuzz.guards import outcome


def refuse(message, kind=MendableError):
    raise kind(message)


def test_values_and_refusals_are_told_apart(place):
    assert outcome(lambda: 3, place, ["a.txt"]) == (3, "")
    assert outcome(lambda: refuse("a.txt: is empty."), place, ["a.txt"]) == (
        None,
        "a.txt: is empty.",
    )


@pytest.mark.parametrize(
    "message", ["", "b.txt: is empty.", "a.txt: one\ntwo", f"a.txt{'x' * 3000}\n"]
)
def test_a_sentence_without_a_reason_or_a_name_is_noticed(place, message):
    with pytest.raises(AssertionError):
        outcome(lambda: refuse(message, ValueError), place, ["a.txt"], ValueError)


def test_other_errors_are_not_refusals(place):
    with pytest.raises(KeyError):
        outcome(lambda: {}["key"], place, [])


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder.parent / "beside").write_text("x"),
        lambda folder: (folder / "folder").mkdir(),
        lambda folder: (folder / "input").rename(folder / "moved"),
        lambda folder: subprocess.run(["true"], check=True),
    ],
)
def test_changes_outside_the_process_are_noticed(tmp_path, change):
    (tmp_path / "watched" / "input").mkdir(parents=True)
    with pytest.raises(AssertionError):
        outcome(lambda: change(tmp_path / "watched"), tmp_path / "watched", [])


def test_a_hang_is_noticed(place, monkeypatch):
    monkeypatch.setattr(guards, "_MOST_SECONDS", 1)
    with pytest.raises(AssertionError, match="nothing came of it in 1 s"):
        outcome(lambda: threading.Event().wait(60), place, [])
