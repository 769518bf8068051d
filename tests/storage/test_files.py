"""Folders that take the place of others, whole."""

import threading
from pathlib import Path

import pytest

from learned_saliency.storage import replace_folder


def folder(path, text):
    path.mkdir(parents=True)
    (path / "a").write_text(text)
    (path / "b").write_text(text)
    return path


def test_a_folder_takes_the_place_of_another_or_of_none(tmp_path):
    for text in ("old", "new"):
        replace_folder(folder(tmp_path / text / "x", text), tmp_path / "x")
        assert (tmp_path / "x" / "a").read_text() == text
    assert (tmp_path / "new" / "x.old-0" / "a").read_text() == "old"


def test_a_failure_leaves_the_old_folder(tmp_path, monkeypatch):
    old, made = folder(tmp_path / "x", "old"), folder(tmp_path / "new" / "x", "new")
    rename = Path.rename

    def failing(path, target):
        if path == made:
            raise KeyboardInterrupt
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(KeyboardInterrupt):
        replace_folder(made, old)
    assert (old / "a").read_text() == "old"
    with pytest.raises(FileNotFoundError):
        replace_folder(tmp_path / "missing", old)
    assert (old / "b").read_text() == "old"


def test_several_at_once_leave_one_of_theirs_whole(tmp_path):
    def work(name):
        for number in range(30):
            made = folder(tmp_path / name / str(number) / "x", name)
            replace_folder(made, tmp_path / "x")

    threads = [threading.Thread(target=work, args=(name,)) for name in "pqr"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = {(tmp_path / "x" / name).read_text() for name in "ab"}
    assert len(found) == 1
    made = list(tmp_path.rglob("a"))
    assert len(made) == 90  # none is lost
