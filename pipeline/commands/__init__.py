"""The commands, as far as they are known before their jobs are imported.

Each file has one command: what its help says, which files its command line must name, what it says
that it is going to do. The rooms that do the work import torch and Lightning, which takes seconds;
they are imported when the command line was found right.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Sequence

from learned_saliency.pipeline.commands.compare import COMPARE
from learned_saliency.pipeline.commands.convert import CONVERT
from learned_saliency.pipeline.commands.data import DATA
from learned_saliency.pipeline.commands.evaluate import EVALUATE
from learned_saliency.pipeline.commands.export import EXPORT
from learned_saliency.pipeline.commands.guard import GUARD
from learned_saliency.pipeline.commands.predict import PREDICT
from learned_saliency.pipeline.commands.reproduce import REPRODUCE
from learned_saliency.pipeline.commands.search import SEARCH
from learned_saliency.pipeline.commands.shard import SHARD
from learned_saliency.pipeline.commands.train import TRAIN
from learned_saliency.pipeline.commands.verify import VERIFY

__all__ = ["COMMANDS", "console", "main", "without_group"]

_ALL = (
    *(TRAIN, SEARCH, EVALUATE, PREDICT, EXPORT, CONVERT, DATA, SHARD),
    *(GUARD, COMPARE, REPRODUCE, VERIFY),
)
COMMANDS = {command.name: command for command in _ALL}


def main(name: str) -> None:
    """Run a command as its script does, on the command line of this process.

    Args:
        name: One of ``COMMANDS``.
    """
    COMMANDS[name].run(sys.argv[1:])


def without_group(words: Sequence[str]) -> list[str]:
    """Leave out the first of the words ``data shard``: that command has a name of its own, too."""
    return list(words[1:] if list(words[:2]) == [DATA.name, SHARD.name] else words)


def console() -> None:
    """Run the command that the first word of the command line of ``learned-saliency`` names."""
    name, *words = without_group(sys.argv[1:]) or ["--help"]
    if name in ("-h", "--help"):
        print("learned-saliency COMMAND key=value ...; --help behind a command shows its keys\n")
        for command in COMMANDS.values():
            print(f"  {command.name:<10}{command.page.about}")
    elif name in COMMANDS:
        COMMANDS[name].run(words, f"learned-saliency {name}")
    else:
        close = difflib.get_close_matches(name, COMMANDS, n=1)
        nearest = f"; the nearest: {close[0]}" if close else ""
        known = ", ".join(COMMANDS)
        print(
            f"learned-saliency: '{name}' is no command{nearest}; there are: {known}",
            file=sys.stderr,
        )
        sys.exit(2)
