"""Common part of all entry points: mistakes end in one line, not in a stack trace."""

from __future__ import annotations

import logging
import re
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import NamedTuple, NoReturn

import hydra
from hydra.errors import InstantiationException
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig

from learned_saliency.datamodules import DataError
from learned_saliency.pipeline.cli.compose import CONFIG_DIR, check_command_line
from learned_saliency.pipeline.cli.errors import UserError
from learned_saliency.trainers import DivergedError

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


def _as_given(words: Sequence[str]) -> list[str]:
    return list(words)


class Command(NamedTuple):
    """A command of this project.

    Attributes:
        program: Its name in messages.
        config_name: Its file in ``configs``, without the ending.
        work: Does the work of a composed configuration.
        words: Writes the words of the command line as Hydra wants them.
        complete: Whether all values must be there, instead of some coming from a checkpoint.
    """

    program: str
    config_name: str
    work: Callable[[DictConfig], None]
    words: Callable[[Sequence[str]], list[str]] = _as_given
    complete: bool = True

    def run(self, words: Sequence[str]) -> None:
        """Check the words of a command line, compose the configuration and do the work of it.

        What the user did wrong is told in one line on stderr, with exit code 2.
        """
        run_command(self, words)


def run_command(command: Command, words: Sequence[str]) -> None:
    """Run a command; see `Command.run`."""
    _leave_out_known_messages()
    given, overrides = list(sys.argv), command.words(words)
    run_or_exit(
        command.program,
        lambda: check_command_line(overrides, command.config_name, command.complete),
    )

    @hydra.main(config_path=str(CONFIG_DIR), config_name=command.config_name, version_base="1.3")
    def task(config: DictConfig) -> None:
        sys.argv[:] = given  # Lightning makes the command line of further processes of it
        run_or_exit(command.program, lambda: command.work(config))

    sys.argv[1:] = overrides
    task()


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
