"""Identity of a run on a dashboard, kept in a file of the run's folder."""

from __future__ import annotations

import re
import secrets
import warnings
from pathlib import Path

from learned_saliency.storage import write_text

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")  # it is part of paths and patterns


def read_id(path: Path, service: str) -> str | None:
    """Read the id in a file; None without the file, or, with a warning, if it holds no id."""
    if not path.is_file():
        return None
    with path.open(encoding="utf-8", errors="replace") as file:
        kept = file.read(100).strip()
    if _ID.fullmatch(kept):
        return kept
    warnings.warn(f"{path} holds no id of a {service} run; a new one is made.", stacklevel=2)
    return None


def kept_id(path: Path, service: str, prefix: str = "") -> str:
    """Read the id in a file; make and write a new one if there is none.

    Args:
        path: The file.
        service: Name of the dashboard's service, for the warning of a file that holds no id.
        prefix: Start of a new id, for people; other characters than those of ids become ``-``.
    """
    kept = read_id(path, service)
    if kept is not None:
        return kept
    readable = re.sub(r"[^A-Za-z0-9_-]+", "-", prefix)[:48]
    made = f"{readable}-{secrets.token_hex(4)}" if readable else secrets.token_hex(4)
    write_text(path, f"{made}\n")
    return made
