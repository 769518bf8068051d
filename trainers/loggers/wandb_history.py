"""Reads back what W&B has written to disk."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def read_records(path: Path) -> Iterator[dict[str, Any]]:
    """Records of a ``.wandb`` file by W&B's own reader, whole ones of a killed run, too.

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
    """Rows of the curves in a ``.wandb`` file, in order; ``_step`` is W&B's number of the row."""
    for record in read_records(path):
        if record["type"] == "history":
            yield record["history"]["item"]
