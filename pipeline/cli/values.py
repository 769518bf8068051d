"""Values of a configuration that may be one or several."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig, ListConfig

BASIC_LAUNCHER = "basic"  # Hydra's launcher that trains in the command's process, one by one
SWEEP_RUNS = "runs"  # folder in the folder of a sweep: a file for each run
_SHOWN = 4


def values(node: Any) -> list[str]:
    """The texts of one value or of a list of them; the keys of a group."""
    several = isinstance(node, ListConfig | DictConfig | list | tuple)
    return [str(value) for value in (node if several else [node])]


def listed(node: Any) -> str:
    """The first of these as part of a sentence, and how many there are beside them."""
    found = values(node)
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return ", ".join(found[:_SHOWN]) + more
