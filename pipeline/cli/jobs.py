"""Ends of the jobs that a launcher of Hydra's has started, as the command that waits tells them."""

from __future__ import annotations

import re

from learned_saliency.errors import MendableError, SurroundingsError

_LAUNCHERS = "submitit."  # package whose errors hold the log of a job
_LOG = re.compile(r"path (\S+)_result\.pkl")


def job_error(error: BaseException, program: str) -> MendableError | None:
    """Find out whether the end of a job is behind an error.

    Args:
        error: An error that ended a command.
        program: The command's name, as its messages begin.

    Returns:
        What the job said at its end, and where its output is; None for any other error.
    """
    if not type(error).__module__.startswith(_LAUNCHERS):
        return None
    text = str(error)
    said = re.findall(rf"^{re.escape(program)}: (.*)$", text, re.MULTILINE)
    lines = said[1:] or text.strip().splitlines()  # the first says what is going to be done
    place = _LOG.search(text)
    log = f" ({place[1]}_log.err)" if place else ""
    return SurroundingsError(f"a job ended before its work was done{log}: {lines[-1].strip()}")
