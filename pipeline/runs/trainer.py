"""Arguments of the trainer that must fit the machine and the data set."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import Any

import torch
from omegaconf import DictConfig

from learned_saliency.datamodules import WSOLDataModule
from learned_saliency.pipeline.cli import UserError, values
from learned_saliency.pipeline.runs.launchers import check_launcher

_GPUS = ("gpu", "cuda", "mps")
_LEAST = 2  # processes on CPUs that may share one core


def check_hardware(trainer: DictConfig) -> None:
    """Check that the devices that a trainer asks for are there, before any process is started.

    Args:
        trainer: Its arguments, of which each value is in range.

    Raises:
        UserError: If there are fewer devices, or an argument does not fit them; or if other numbers
            of processes were started, see `check_launcher`.
    """
    found = _count_gpus()
    kind = str(trainer.get("accelerator", "auto"))
    if kind in _GPUS and not found:
        raise UserError(
            f"trainer.accelerator={kind}: torch sees no GPU on this machine; choose trainer=cpu, "
            "or trainer=ddp trainer.accelerator=cpu trainer.precision=32-true."
        )
    devices = trainer.get("devices", "auto")
    if kind in _GPUS or (kind == "auto" and found):
        count = _check_gpus(devices, found)
    else:
        count = _check_cpus(devices)
        if trainer.get("precision") == "16-mixed":
            raise UserError(
                "trainer.precision=16-mixed: is for GPUs alone; on a CPU choose 32-true or "
                "bf16-mixed."
            )
    if count > 1 and trainer.get("strategy", "auto") == "auto":
        raise UserError(
            f"trainer.devices={devices}: {count} devices need trainer=ddp, whose evaluation counts "
            "each image once."
        )
    check_launcher(trainer, count)


def check_limits(trainer: DictConfig, data: WSOLDataModule, splits: Mapping[str, str]) -> None:
    """Check that parts of the batches, ``limit_train_batches`` and so on, are a batch at least.

    Args:
        trainer: Its arguments, of which each value is in range.
        data: The data module, set up.
        splits: Names of the splits that are read, by their names in the arguments.

    Raises:
        UserError: If nothing would be left of a split.
    """
    for name, split in splits.items():
        key = f"limit_{name}_batches"
        part = trainer.get(key)
        if not isinstance(part, float) or trainer.get("fast_dev_run") or not data.has_split(split):
            continue
        size = data.batch_size if name == "train" else data.eval_batch_size
        share = data.train_fraction if name == "train" else 1
        batches = math.ceil(data.count(split) * share / size)
        if batches * part < 1:
            raise UserError(
                f"trainer.{key}={part}: nothing is left of the {batches} batches of `{split}`; "
                f"give a number of batches, trainer.{key}=1."
            )


def _count_gpus() -> int:
    return torch.cuda.device_count() or int(torch.backends.mps.is_available())


def _check_gpus(devices: Any, found: int) -> int:
    """Check the GPUs that are asked for, by their number or one by one; return how many."""
    asked = _numbers(devices)
    if asked is None:
        count = found if devices in ("auto", -1, "-1") else int(devices)
        missing = count > found
    else:
        count = len(asked)
        missing = len(set(asked)) < count or max(asked) >= found
    if missing:
        raise UserError(f"trainer.devices={devices}: torch sees {found} GPUs on this machine.")
    return count


def _check_cpus(devices: Any) -> int:
    """Check the number of processes on the CPU."""
    if devices == "auto":
        return 1
    asked, cores = _numbers(devices), os.cpu_count() or 1
    if asked is not None or devices == -1:
        raise UserError(
            f"trainer.devices={devices}: on a CPU it is a number of processes from 1 on, or auto."
        )
    if int(devices) > max(cores, _LEAST):
        raise UserError(
            f"trainer.devices={devices}: this machine has {cores} CPU cores, each for a process."
        )
    return int(devices)


def _numbers(devices: Any) -> list[int] | None:
    """The numbers of single devices, [0, 2] or "0,2"; None for a count of devices."""
    if isinstance(devices, str) and "," in devices:
        return [int(part) for part in devices.split(",") if part.strip()]
    if isinstance(devices, int | str):
        return None
    return [int(value) for value in values(devices)]
