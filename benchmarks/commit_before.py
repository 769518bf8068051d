"""The package as another commit has it, to measure a change beside what was there before it."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
BEFORE = "bc0eae7"
"""The last commit before the work on speed."""


@contextlib.contextmanager
def checked_out(commit: str = BEFORE) -> Iterator[Path]:
    """Write the files of a commit into a temporary folder, as the package ``learned_saliency``.

    Args:
        commit: Name of a commit of this repository.

    Yields:
        Folder to put first into ``PYTHONPATH``, with the entry points, ``train.py``, in it.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = folder / "files"
        files.mkdir()
        archive = subprocess.run(
            ["git", "-C", str(ROOT), "archive", commit], check=True, capture_output=True
        ).stdout
        subprocess.run(["tar", "-x", "-C", str(files)], input=archive, check=True)
        package = folder / "learned_saliency"
        package.mkdir()
        for part in (*files.iterdir(), *(files / "learned_saliency").iterdir()):
            if part.name != "learned_saliency":
                (package / part.name).symlink_to(part)
        for script in files.glob("*.py"):
            shutil.copy(script, folder)  # Python looks for packages beside the script first
        yield folder


def environment(folder: Path, **more: str) -> dict[str, str]:
    """Environment of a process that imports the package from a folder, for `subprocess`."""
    return os.environ | {"PYTHONPATH": str(folder)} | more


def measured_there(folder: Path, script: Path, words: Sequence[str] = (), **more: str) -> Any:
    """Run a script with the package of a folder and read the JSON in its last line of output."""
    command = [sys.executable, str(script), *words]
    run = subprocess.run(
        command, check=True, capture_output=True, text=True, env=environment(folder, **more)
    )
    return json.loads(run.stdout.strip().splitlines()[-1])
