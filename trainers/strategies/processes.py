"""Exchange of values between processes that work together; one alone is the first of one."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch.distributed as dist


class Place(NamedTuple):
    """Place of this process among those that work together.

    Attributes:
        rank: Number of this process, from 0 on.
        world: Number of processes.
    """

    rank: int
    world: int


def place() -> Place:
    """Return the place of this process in the group of processes, if it is in one."""
    if dist.is_available() and dist.is_initialized():
        return Place(dist.get_rank(), dist.get_world_size())
    return Place(0, 1)


def gathered(value: Any) -> list[Any]:
    """Gather a value of every process, in their order; all of them have to call this."""
    values = [value] * place().world
    if len(values) > 1:
        dist.all_gather_object(values, value)
    return values


def meet() -> None:
    """Wait until all processes are here."""
    gathered(None)
