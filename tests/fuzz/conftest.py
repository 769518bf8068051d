"""Folders of the fuzz tests, all of them watched."""

import tempfile
from pathlib import Path

import pytest
from hypothesis.configuration import set_hypothesis_home_dir

# what hypothesis itself keeps, tables of characters for example, never goes into the checkout
set_hypothesis_home_dir(Path(tempfile.gettempdir()) / "learned-saliency-hypothesis")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Working folder that also holds home, temporary files and cache; inputs go into ``input``."""
    folder = tmp_path_factory.mktemp("fuzz")
    with pytest.MonkeyPatch.context() as patch:
        for key in ("HOME", "TMPDIR", "LEARNED_SALIENCY_CACHE", "XDG_CACHE_HOME"):
            (folder / key.lower()).mkdir()
            patch.setenv(key, str(folder / key.lower()))
        patch.setattr(tempfile, "tempdir", str(folder / "tmpdir"))
        patch.chdir(folder)
        (folder / "input").mkdir()
        yield folder
