"""What all entry points share: mistakes end in one line, not in a stack trace."""

from __future__ import annotations

import logging
import re
import sys
import warnings
from collections.abc import Callable
from typing import NoReturn

from hydra.errors import InstantiationException
from lightning.pytorch.utilities import rank_zero_only

from datamodules import DataError
from pipeline.compose import CONFIG_NAME, check_command_line
from pipeline.errors import UserError
from trainers import DivergedError

# What Lightning says that is no news here: its advertisement, that a frozen classifier is in
# evaluation mode on purpose, that a second stage writes into the folder of the first.
_KNOWN = (
    "For seamless cloud logging",
    "module(s) in eval mode",
    "exists and is not empty",
    "does not have many workers",
    "LeafSpec",
    "TPU available",
    "val_dataloader` contains",
)


def check_or_exit(program: str, config_name: str = CONFIG_NAME, complete: bool = True) -> None:
    """Check the command line of ``program`` and exit with code 2 where it is wrong."""
    _leave_out_known_messages()
    run_or_exit(program, lambda: check_command_line(sys.argv[1:], config_name, complete))


def _leave_out_known_messages() -> None:
    for words in _KNOWN:
        warnings.filterwarnings("ignore", message=f".*{re.escape(words)}")
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.fabric.utilities.rank_zero"):
        logging.getLogger(name).addFilter(
            lambda record: not any(words in record.getMessage() for words in _KNOWN)
        )


def run_or_exit(program: str, work: Callable[[], None]) -> None:
    """Do ``work``; what the user did wrong is told in one line on stderr, with exit code 2.

    A training that diverged, and parts that refuse their options (a ``ValueError`` below Hydra's
    instantiation), count too.
    """
    try:
        work()
    except (UserError, DataError, DivergedError) as error:
        _exit(program, error)
    except InstantiationException as error:
        if not isinstance(error.__cause__, ValueError | RuntimeError):
            raise
        _exit(program, error.__cause__)


def _exit(program: str, error: BaseException) -> NoReturn:
    if rank_zero_only.rank == 0:
        print(f"{program}: {' '.join(str(error).split())}", file=sys.stderr)
    sys.exit(2)
