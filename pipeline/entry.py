"""What all entry points share: mistakes end in one line, not in a stack trace."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import NoReturn

from hydra.errors import InstantiationException
from lightning.pytorch.utilities import rank_zero_only

from datamodules import DataError
from pipeline.compose import check_command_line
from pipeline.errors import UserError


def check_or_exit(program: str) -> None:
    """Check the command line of ``program`` and exit with code 2 where it is wrong."""
    run_or_exit(program, lambda: check_command_line(sys.argv[1:]))


def run_or_exit(program: str, work: Callable[[], None]) -> None:
    """Do ``work``; what the user did wrong is told in one line on stderr, with exit code 2.

    Parts that refuse their options (a ``ValueError`` below Hydra's instantiation) count too.
    """
    try:
        work()
    except (UserError, DataError) as error:
        _exit(program, error)
    except InstantiationException as error:
        if not isinstance(error.__cause__, ValueError | RuntimeError):
            raise
        _exit(program, error.__cause__)


def _exit(program: str, error: BaseException) -> NoReturn:
    if rank_zero_only.rank == 0:
        print(f"{program}: {' '.join(str(error).split())}", file=sys.stderr)
    sys.exit(2)
