"""Choice between compiled loops and their plain versions."""

import subprocess
import sys

import pytest

from learned_saliency.ops.backends import compiling


@pytest.fixture(autouse=True)
def _forget():
    compiling.compiled_loops.cache_clear()
    yield
    compiling.compiled_loops.cache_clear()


def test_nothing_is_compiled_where_numba_is_switched_off(monkeypatch):
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    assert compiling.compiled_loops("jit") is None


def test_the_plain_version_stands_in_for_a_numba_that_cannot_be_imported(monkeypatch):
    def refuse(name):
        raise ImportError("Numba needs another NumPy", name="numba")

    monkeypatch.setattr(compiling, "import_module", refuse)
    with pytest.warns(UserWarning, match="needs another NumPy"):
        assert compiling.compiled_loops("jit") is None


def test_a_module_that_numba_takes_for_another_package_ends_nothing(monkeypatch, tmp_path):
    (tmp_path / "coverage.py").write_text("percent = 90\n")  # a script of somebody's own
    code = (
        "from learned_saliency.ops.backends.compiling import compiled_loops\n"
        "print(compiled_loops('component_trees'))"
    )
    found = subprocess.run(
        [sys.executable, "-W", "default", "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert found.stdout.strip() == "None"
    assert "numba cannot be imported, slower code stands in for it" in found.stderr


def test_a_file_that_does_not_exist_is_no_missing_numba():
    with pytest.raises(ImportError, match="compiled"):
        compiling.compiled_loops("nothing")


def test_numba_is_not_imported_beforehand():
    code = (
        "import sys, learned_saliency.ops, learned_saliency.losses; print('numba' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"


def twice(number):
    return 2 * number


def test_a_damaged_file_of_compiled_code_is_written_anew(monkeypatch, tmp_path):
    from learned_saliency.ops.backends.compiled.jit import jit, numba

    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    for ending in ("nbc", "nbi"):
        assert jit(twice)(3) == 6
        (path,) = tmp_path.rglob(f"*.{ending}")
        whole = path.read_bytes()
        path.write_bytes(whole[:9])
        assert jit(twice)(3) == 6
        (path,) = tmp_path.rglob(f"*.{ending}")
        assert len(path.read_bytes()) == len(whole)
        again = jit(twice)
        assert again(3) == 6
        assert sum(again.stats.cache_hits.values()) == 1


def test_a_full_disk_does_not_end_what_is_compiled(monkeypatch, tmp_path):
    from learned_saliency.ops.backends.compiled.jit import jit, numba

    def fail(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(numba.core.caching.IndexDataCacheFile, "_save_data", fail)
    assert jit(twice)(3) == jit(twice)(3) == 6
