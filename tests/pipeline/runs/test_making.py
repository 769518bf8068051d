"""Data sets that their reader makes: one process at a time, and one sentence where that fails."""

import errno
import os
import shutil

import pytest

from learned_saliency.errors import SurroundingsError
from learned_saliency.pipeline.cli.compose import compose_checked
from learned_saliency.pipeline.runs import build as build_module
from learned_saliency.pipeline.runs import build_data
from tests.support.commands import run_command
from tests.support.words import SMALL_DATA, SMALL_RUN


def test_a_cache_that_cannot_be_written_is_one_line_and_exit_code_1(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LEARNED_SALIENCY_CACHE", f"{tmp_path}/file/cache")
    code, _, told = run_command("train", *SMALL_RUN, f"output_dir={tmp_path}/run")
    assert code == 1
    assert "file/cache: can be neither read nor written" in told
    assert "LEARNED_SALIENCY_CACHE" in told
    assert "Traceback" not in told
    assert not (tmp_path / "run").exists()


def test_a_complete_set_is_used_where_no_lock_can_be_made(creatures, tmp_path, monkeypatch):
    creatures = shutil.copytree(creatures, tmp_path / "set")

    class ReadOnly:
        def __init__(self, path):
            pass

        def __enter__(self):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))

        def __exit__(self, *error):
            pass

    monkeypatch.setattr(build_module, "FileLock", ReadOnly)
    words = [*SMALL_DATA, f"data.root={creatures}"]
    data = build_data(compose_checked([*words, f"data.metadata={creatures}/metadata"]), "test")
    assert data.supervision("test")["images"] == 17

    def refused(path, content):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    monkeypatch.setattr("learned_saliency.datamodules.readers.creatures.replace_file", refused)
    with pytest.raises(SurroundingsError, match=r"can be neither read nor written, .*Read-only"):
        build_data(compose_checked([*words, "data.reader.test_images=18"]), "test")


def test_an_existing_set_serves_other_numbers_of_images(creatures, tmp_path):
    creatures = shutil.copytree(creatures, tmp_path / "set")
    words = [*SMALL_DATA, f"data.root={creatures}", "data.reader.test_images=16"]
    before = {path: path.stat().st_mtime_ns for path in creatures.rglob("*.png")}
    data = build_data(compose_checked(words), "test")
    assert data.supervision("test")["images"] == 16
    assert {path: path.stat().st_mtime_ns for path in creatures.rglob("*.png")} == before
