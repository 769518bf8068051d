"""Programs that start the processes of a command, torchrun and SLURM, against what it asks for."""

from __future__ import annotations

import os
from typing import NamedTuple

from omegaconf import DictConfig

from learned_saliency.pipeline.cli import UserError

_INTERACTIVE = ("bash", "interactive")  # sessions in which Lightning starts the processes itself


class Launched(NamedTuple):
    """Processes that something else than this command has started.

    Attributes:
        program: What has started them.
        processes: How many, on all machines.
        on_each: How many on this machine; None where it is not told.
        nodes: Number of machines; None where it is not told.
    """

    program: str
    processes: int
    on_each: int | None
    nodes: int | None


def launched() -> Launched | None:
    """Read from the environment what has started this process; None where a shell has."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        names = ("WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_WORLD_SIZE")
        world, here, nodes = map(_number, names)
        return Launched("torchrun", world or 1, here, nodes)
    if "SLURM_NTASKS" in os.environ and os.environ.get("SLURM_JOB_NAME") not in _INTERACTIVE:
        world, here, nodes = map(_number, ("SLURM_NTASKS", "SLURM_NTASKS_PER_NODE", "SLURM_NNODES"))
        return Launched("SLURM", world or 1, here, nodes)
    return None


def check_launcher(trainer: DictConfig, devices: int) -> None:
    """Check that as many processes were started as a trainer asks for.

    Processes that do not know of each other would each do the whole work in the same folder, and
    those that wait for others that were never started would do so for half an hour.

    Args:
        trainer: Its arguments, of which each value is in range.
        devices: Number of devices on a machine that they ask for.

    Raises:
        UserError: If the numbers differ; the message names the keys that fit.
    """
    nodes = int(trainer.get("num_nodes", 1))
    found = launched()
    if found is None:
        if nodes > 1 and "MASTER_ADDR" not in os.environ:
            raise UserError(
                f"trainer.num_nodes={nodes}: nothing has started processes on several machines; "
                "start the command by torchrun --nnodes or by srun in a job of SLURM."
            )
        return
    alone = trainer.get("strategy", "auto") == "auto"
    if alone and _runs_once(found):
        return
    fits = devices * nodes == found.processes
    if not alone and fits and found.on_each in (None, devices) and found.nodes in (None, nodes):
        _check_step(found)
        return
    asked = "one process" if alone else f"{devices * nodes} processes, {devices} per machine"
    raise UserError(
        f"trainer.devices={devices}, trainer.num_nodes={nodes}: ask for {asked}, but "
        f"{_told(found)}; {_remedy(found, alone)}."
    )


def _runs_once(found: Launched) -> bool:
    """Tell whether the command runs once, though SLURM may have room for more of it."""
    return found.processes == 1 or (found.program == "SLURM" and not _is_step())


def _is_step() -> bool:
    """Tell whether srun has started this process, instead of the script of a job."""
    return "SLURM_STEP_ID" in os.environ


def _check_step(found: Launched) -> None:
    if found.program == "SLURM" and found.processes > 1 and not _is_step():
        raise UserError(
            f"trainer.num_nodes={found.nodes or 1}: the job of SLURM has {found.processes} tasks, "
            "but its script has started one; write srun before python."
        )


def _told(found: Launched) -> str:
    several = found.processes > 1
    told = f"{found.program} has {found.processes} process{'es' if several else ''}"
    if found.on_each is None or found.nodes is None or not several:
        return told
    return f"{told}, {found.on_each} on each of {found.nodes} machine{'s'[: found.nodes > 1]}"


def _remedy(found: Launched, alone: bool) -> str:
    nodes = found.nodes or 1
    devices = found.on_each or found.processes // nodes
    keys = f"trainer.devices={devices} trainer.num_nodes={nodes}"
    if not alone:
        return f"give {keys}, or start other numbers"
    return f"give trainer=ddp {keys}, or start one"


def _number(name: str) -> int | None:
    value = os.environ.get(name, "")
    return int(value) if value.isdigit() else None
