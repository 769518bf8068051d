"""Common part of all entry points: mistakes end in one line, not in a stack trace."""

from __future__ import annotations

import logging
import os
import re
import signal
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import NamedTuple, NoReturn, TypeVar

import hydra
from hydra.errors import InstantiationException
from hydra.types import RunMode
from omegaconf import DictConfig

from learned_saliency.errors import (
    MendableError,
    OtherProcessEnded,
    Stopped,
    SurroundingsError,
)
from learned_saliency.pipeline.cli.choices import CONFIG_DIR
from learned_saliency.pipeline.cli.compose import check_command_line
from learned_saliency.pipeline.cli.errors import UserError, first_sentence, printable
from learned_saliency.pipeline.cli.help import Page, format_help
from learned_saliency.pipeline.cli.importing import import_job
from learned_saliency.pipeline.cli.jobs import job_error
from learned_saliency.pipeline.cli.running import run_composed
from learned_saliency.pipeline.cli.signals import await_killing, end_on_signals
from learned_saliency.pipeline.cli.surroundings import surroundings_error
from learned_saliency.pipeline.cli.values import BASIC_LAUNCHER
from learned_saliency.pipeline.cli.words import hydra_words

# What Lightning says that is no news here: its advertisement, that a frozen classifier is in
# evaluation mode on purpose, that a second stage writes into the folder of the first; and what
# torchmetrics says of a process without a share of the images.
_KNOWN = (
    "For seamless cloud logging",
    "module(s) in eval mode",
    "exists and is not empty",
    "does not have many workers",
    "LeafSpec",
    "TPU available",
    "val_dataloader` contains",
    "was called before the ``update`` method",
)
_RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")  # in the order of Lightning's
_NODES = ("NODE_RANK", "GROUP_RANK")
_ARGUMENT = re.compile(r"unexpected keyword argument|required (positional|keyword-only) argument")
_Result = TypeVar("_Result")
_HELP = {"-h", "--help"}
_SHOW = {"-c", "--cfg", "--info", "-i", "--hydra-help", "--version"}  # Hydra's, which run nothing


class Command(NamedTuple):
    """A command of this project: what is known of it before its job is imported.

    Attributes:
        name: Its name, ``train``.
        config_name: Its file in ``configs``, without the ending.
        job: The room of `learned_saliency.pipeline`, or file of a room with several jobs, whose
            ``run`` does the work of a composed configuration.
        page: What its help says beside the configuration.
        check: Looks for the files that a composed configuration names; raises `UserError`.
        announce: Says what is going to be done, as the end of a sentence on stderr.
        words: Writes the words of the command line as Hydra wants them.
        complete: Whether all values must be there, instead of some coming from a checkpoint.
        script: Whether it has a script, ``train.py``, beside ``learned-saliency train``.
    """

    name: str
    config_name: str
    job: str
    page: Page
    check: Callable[[DictConfig], None]
    announce: Callable[[DictConfig], str]
    words: Callable[[Sequence[str]], list[str]] = hydra_words
    complete: bool = True
    script: bool = True

    @property
    def program(self) -> str:
        """Its name in messages: its script, if it has one."""
        return f"{self.name}.py" if self.script else f"learned-saliency {self.name}"

    def run(self, words: Sequence[str], called: str | None = None) -> None:
        """Check the words of a command line, compose the configuration and do the work of it.

        What the user did wrong is told in one line on stderr, with exit code 2. Nothing heavy is
        imported before the words and the files that they name were found right.

        Args:
            words: The command line behind the program's name.
            called: How the command is called, for its help; by default as a script, if it has one.
        """
        shell = f"python {self.program}" if self.script else self.program
        run_command(self, words, called or shell)


def run_command(command: Command, words: Sequence[str], called: str) -> None:
    """Run a command; see `Command.run`."""
    given, overrides, here = list(sys.argv), command.words(words), os.getpid()
    if _HELP & set(words):
        assigned = [word for word in overrides if not word.startswith("-")]
        page = command.page
        run_or_exit(
            command.program,
            lambda: _print(format_help(page, called, command.config_name, assigned)),
        )
        return
    shown = bool(_SHOW & {word.partition("=")[0] for word in words})
    composed = run_or_exit(
        command.program,
        lambda: check_command_line(
            overrides,
            command.config_name,
            command.complete and not shown,
            None if shown else command.check,
        ),
    )
    _leave_out_known_messages()

    def task(config: DictConfig) -> None:
        sys.argv[:] = given  # Lightning makes the command line of further processes of it
        if os.getpid() != here:  # a launcher of Hydra's has started this process
            _leave_out_known_messages()
            end_on_signals()
        if is_first_process():
            announcement = printable(command.announce(config))
            print(f"{command.program}: {announcement}", file=sys.stderr, flush=True)
        job = import_job(f"learned_saliency.pipeline.{command.job}")
        # Lightning adds a handler of its own when it is imported; Hydra's prints its messages, too
        logging.getLogger("lightning").handlers.clear()
        run_or_exit(command.program, lambda: job.run(config))

    def start() -> None:
        end_on_signals()  # before the seconds that the imports take
        flags = any(word.startswith("-") for word in overrides)
        if not flags and composed.hydra.mode in (None, RunMode.RUN):
            run_composed(composed, command.config_name, task)
        else:
            if composed.hydra.runtime.choices["hydra/launcher"] != BASIC_LAUNCHER:
                os.environ["HYDRA_FULL_ERROR"] = "1"  # the error of a job reaches `run_or_exit`
            hydra.main(str(CONFIG_DIR), command.config_name, version_base="1.3")(task)()

    sys.argv[1:] = overrides
    run_or_exit(command.program, start)


def _print(text: str) -> None:
    """Print a long text, of which a reader such as `head` may take the beginning alone."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def is_first_process() -> bool:
    """Tell whether this is the first of several processes, as their launcher counts."""
    ranks = next((os.environ[key] for key in _RANKS if key in os.environ), "0")
    nodes = [os.environ.get(key, "0") for key in _NODES]
    return {ranks, *nodes} == {"0"}


def _leave_out_known_messages() -> None:
    """Filter the warnings and messages of libraries; names in the others are printed safely."""
    written = warnings.formatwarning
    warnings.formatwarning = lambda message, *rest: written(printable(str(message)), *rest)
    for words in _KNOWN:
        warnings.filterwarnings("ignore", message=f".*{re.escape(words)}")
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.fabric.utilities.rank_zero"):
        logging.getLogger(name).addFilter(
            lambda record: not any(words in record.getMessage() for words in _KNOWN)
        )


def run_or_exit(program: str, work: Callable[[], _Result]) -> _Result:
    """Do ``work`` and return its result.

    What ends it and a person can mend is told in one line on stderr. The exit code is 2 for what
    the user did wrong, for a training that diverged and for parts that refuse their options (a
    ``ValueError`` below Hydra's instantiation, or a ``TypeError`` about an argument); 1 for faults
    of the machine (see `surroundings_error`), the signal's where a signal ended the work, and
    that of SIGPIPE where what reads the output has ended.
    """
    try:
        return work()
    except (MendableError, OtherProcessEnded, Stopped) as error:
        _exit(program, error, error.code)
    except BrokenPipeError:  # `| head` has read enough; nothing may be flushed into it at the end
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(128 + signal.SIGPIPE)
    except Exception as error:
        found = surroundings_error(error) or _refusal(error) or job_error(error, program)
        if found is None:
            raise
        _exit(program, found, found.code)


def _refusal(error: Exception) -> MendableError | None:
    """Return the error of a part that refuses its options; None for any other."""
    if not isinstance(error, InstantiationException):
        return None
    cause, key = error.__cause__, str(error).partition("full_key: ")[2].strip()
    if isinstance(cause, TypeError) and _ARGUMENT.search(str(cause)):
        return UserError(f"{key}: {first_sentence(cause)}.")
    if isinstance(cause, MendableError):
        return cause
    if isinstance(cause, ValueError | RuntimeError):
        return UserError(f"{key}: {cause}" if key else str(cause))
    return None


def _exit(program: str, error: BaseException, code: int) -> NoReturn:
    await_killing()  # a signal that comes now would be told as a stack trace
    # the machine's faults may befall one process alone
    if is_first_process() or isinstance(error, SurroundingsError):
        print(f"{program}: {printable(' '.join(str(error).split()))}", file=sys.stderr)
    together = int(os.environ.get("WORLD_SIZE", "1")) > 1
    if isinstance(error, OtherProcessEnded) or (together and isinstance(error, Stopped)):
        # at their end libraries would wait for the other processes
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
