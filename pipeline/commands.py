"""The commands: what ``train.py`` and its like start, and ``learned-saliency`` in their stead."""

from __future__ import annotations

import importlib
import sys

JOBS = {
    "train": "training",
    "evaluate": "evaluation",
    "predict": "prediction",
    "export": "export",
    "convert": "conversion",
}
_USAGE = f"learned-saliency {'|'.join(JOBS)} key=value ...; --help behind one of them shows more"


def main(name: str, words: list[str] | None = None) -> None:
    """Run a command and exit.

    Args:
        name: One of ``JOBS``.
        words: The command line behind the program's name and the command; by default all of it.
    """
    room = importlib.import_module(f"learned_saliency.pipeline.{JOBS[name]}")
    room.COMMAND.run(sys.argv[1:] if words is None else words)


def console() -> None:
    """Run the command that the first word of the command line names."""
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name in ("-h", "--help"):
        print(_USAGE)
    elif name in JOBS:
        main(name, sys.argv[2:])
    else:
        print(f"learned-saliency: '{name}' is no command; {_USAGE}", file=sys.stderr)
        sys.exit(2)
