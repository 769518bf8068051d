"""Common end of the processes of a command."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from learned_saliency.errors import MendableError, OtherProcessEnded
from learned_saliency.pipeline.cli import first_sentence
from learned_saliency.trainers import LIFELINE


@contextmanager
def as_one() -> Iterator[None]:
    """Do the work of a command in all of its processes, which end together within seconds.

    A process that fails, is stopped or is killed ends the others. The first process tells the
    reason in one sentence, and all end with the exit code of the one that ended first.

    Raises:
        OtherProcessEnded: If another process has ended before its work was done.
    """
    if _started_by_the_first():
        threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    try:
        yield
    except OtherProcessEnded:
        raise
    except BaseException as error:
        cause = LIFELINE.behind(error)
        if cause is not None:
            raise cause from None
        LIFELINE.tell(*_reason(error))
        raise
    LIFELINE.leave()


def _reason(error: BaseException) -> tuple[str, int]:
    """Return the message and the exit code of an error."""
    code = getattr(error, "code", 2 if isinstance(error, MendableError) else 1)
    if isinstance(error, Exception) and not isinstance(error, MendableError):
        return f"{type(error).__name__}: {first_sentence(error)}", code
    return str(error), code if isinstance(code, int) else 1


def _started_by_the_first() -> bool:
    """Tell whether the first process has started this one, instead of torchrun or SLURM."""
    others = ("RANK", "TORCHELASTIC_RUN_ID", "SLURM_PROCID")
    return os.environ.get("LOCAL_RANK", "0") != "0" and not any(key in os.environ for key in others)


def _end_with(parent: int) -> None:
    """End this process when the one that has started it is gone, also before they are connected."""
    while os.getppid() == parent:
        time.sleep(0.5)
    sys.stderr.flush()
    time.sleep(2.0)  # time for an orderly end
    os._exit(1)
