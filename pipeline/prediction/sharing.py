"""Sharing of many shards among calls: a part for each, or whatever no other has begun."""

from __future__ import annotations

import os
import re
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from learned_saliency.pipeline.cli import UserError

_Item = TypeVar("_Item")
_PART = re.compile(r"(\d{1,9})/(\d{1,9})")
_BEAT = 60.0  # seconds between signs of life
_DEAD = 15 * 60.0  # seconds without one, after which others take over


def own_share(
    items: Sequence[_Item], part: str | None, environment: Mapping[str, str] = os.environ
) -> list[_Item]:
    """Take a call's share: every N-th item, from the I-th on.

    Args:
        items: All of them, in the same order in all calls.
        part: ``I/N`` with I from 1 to N; ``slurm`` for the task of a job array; None or ``claim``
            for all.
        environment: Variables of the surroundings, with those of SLURM.

    Raises:
        UserError: If ``part`` is none of these, or the array's tasks do not follow each other.
    """
    if part in (None, "claim"):
        return list(items)
    number, count = _of_array(environment) if part == "slurm" else _parsed(part)
    return list(items[number - 1 :: count])


def _parsed(part: str) -> tuple[int, int]:
    found = _PART.fullmatch(str(part))
    number, count = map(int, found.groups()) if found else (0, 0)
    if not 1 <= number <= count:
        raise UserError(f"part={part}: expected I/N with I from 1 to N, 3/100; slurm, or claim.")
    return number, count


def _of_array(environment: Mapping[str, str]) -> tuple[int, int]:
    """Return the number of this task, from 1, among those of its job array."""
    names = ("ID", "MIN", "MAX", "STEP", "COUNT")
    try:
        task, first, last, step, count = (
            int(environment.get(f"SLURM_ARRAY_TASK_{name}", "1" if name == "STEP" else ""))
            for name in names
        )
    except ValueError:
        raise UserError(
            "part=slurm: this is no task of a job array (SLURM_ARRAY_TASK_ID is missing); start it "
            "by sbatch --array=1-100."
        ) from None
    if (last - first) // step + 1 != count:
        raise UserError(
            f"part=slurm: the {count} tasks of the array do not follow each other from {first} to "
            f"{last}; share them by part=claim."
        )
    return (task - first) // step + 1, count


class Claims:
    """Claims of shards by calls that share a folder, without locks.

    A claim is a file that only one of them can make. A call that is alive renews its claims, and
    one that was silent for 15 minutes has lost them. Where two make the same shard all the same,
    both write the same, each whole.

    Args:
        folder: The folder of the output.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held: dict[str, threading.Event] = {}

    def take(self, name: str) -> bool:
        """Claim a shard; tell whether no other call has it."""
        path = self._path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            if time.time() - path.stat().st_mtime > _DEAD:
                path.unlink(missing_ok=True)
        except FileNotFoundError:
            pass
        try:
            with path.open("x", encoding="utf-8") as file:
                file.write(f"{socket.gethostname()} {os.getpid()}\n")
        except FileExistsError:
            return False
        self._held[name] = threading.Event()
        threading.Thread(target=self._renew, args=(path, self._held[name]), daemon=True).start()
        return True

    def leave(self, name: str) -> None:
        """Give a claim up: the shard is there, or this call has ended."""
        self._held.pop(name).set()
        self._path(name).unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        path = self._folder / name
        return path.with_name(f".{path.name}.claim")

    @staticmethod
    def _renew(path: Path, left: threading.Event) -> None:
        while not left.wait(_BEAT):
            try:
                os.utime(path)
            except OSError:
                return
