"""Start of a run on W&B that never asks, and the folder in which W&B stages what it sends."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # imported where it is used: most runs do not use it
    import wandb

_FLUSH_SECONDS = 1.0  # with W&B's default of 15 a killed run would lose 15 seconds


def start_run(options: Mapping[str, Any]) -> wandb.Run:
    """Start a run, or go on with it: online with credentials, else or without network offline.

    Args:
        options: Options of ``wandb.init``, its ``id`` among them.
    """
    import wandb

    mode = os.environ.get("WANDB_MODE") or "online"
    if mode == "online" and not _has_credentials():
        mode = "offline"  # W&B would ask for credentials
    settings = wandb.Settings(x_transaction_log_flush_interval=_FLUSH_SECONDS)
    options = {**options, "resume": "allow", "settings": settings}
    options.pop("anonymous", None)  # deprecated
    try:
        return wandb.init(**options, mode=mode)
    except wandb.errors.CommError as error:
        if mode != "online":
            raise
        warnings.warn(f"W&B's server does not answer, logged offline ({error}).", stacklevel=2)
        return wandb.init(**options, mode="offline")


def _has_credentials() -> bool:
    import wandb

    try:
        return wandb.login(prompt=False, verify=False)
    except wandb.errors.AuthenticationError as error:
        warnings.warn(f"W&B's credentials are no good, logged offline: {error}", stacklevel=2)
        return False


@contextmanager
def staged_in(folder: Path) -> Iterator[None]:
    """Stage tables and their pictures for sending in a folder instead of the user's home."""
    name = "WANDB_DATA_DIR"
    if name in os.environ:
        yield
        return
    os.environ[name] = str(folder)
    try:
        yield
    finally:
        del os.environ[name]
