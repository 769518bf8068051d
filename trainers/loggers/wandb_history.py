"""Reader of W&B's own files on disk."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def read_records(path: Path) -> Iterator[dict[str, Any]]:
    """Read the records of a ``.wandb`` file by W&B's own reader, also after a killed run.

    Raises:
        RuntimeError: If the reader refuses the file.
    """
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise RuntimeError(f"{path}: `wandb leet inspect` failed: {done.stderr.strip()}")
    for line in done.stdout.splitlines():
        yield json.loads(line)


def read_history(path: Path) -> Iterator[dict[str, Any]]:
    """Read the rows of curves in a ``.wandb`` file, in order; ``_step`` is W&B's row number."""
    for record in read_records(path):
        if record["type"] == "history":
            yield record["history"]["item"]
