"""Jobs of SLURM, which are put back into the queue and go on in the folder of their run."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import subprocess
import sys
import warnings
from pathlib import Path
from types import FrameType

from learned_saliency.errors import Stopped
from learned_saliency.pipeline.cli import was_warned
from learned_saliency.storage import write_text


def is_job() -> bool:
    """Tell whether this process belongs to a batch job of SLURM."""
    name = os.environ.get("SLURM_JOB_NAME")
    return "SLURM_JOB_ID" in os.environ and name not in (None, "bash", "interactive")


def listen() -> None:
    """Make SIGUSR1, SLURM's warning before the end of a job, end the command at once.

    Outside of a job it does nothing: there is nothing to save yet.

    Raises:
        Stopped: If the warning came already.
    """
    signal.signal(signal.SIGUSR1, _warned)
    if was_warned():
        _warned(signal.SIGUSR1, None)


def _warned(number: int, frame: FrameType | None) -> None:
    if is_job():
        raise Stopped(number)


def note_run(folder: Path) -> None:
    """Note the run of this job, so that the same command finds it when the job comes back."""
    if is_job():
        write_text(_note(), f"{folder}\n")


def requeued_run() -> Path | None:
    """Find the run of this job from before it was put back into the queue."""
    if not is_job() or os.environ.get("SLURM_RESTART_COUNT", "0") == "0":
        return None
    if not _note().is_file():
        return None
    folder = Path(_note().read_text().strip())
    return folder if folder.is_dir() else None


def requeue() -> None:
    """Put the job back into the queue; a failure is a warning."""
    job = os.environ["SLURM_JOB_ID"]
    try:
        done = subprocess.run(["scontrol", "requeue", job], check=False, capture_output=True)
        reason = done.stderr.decode(errors="replace").strip() if done.returncode else ""
    except OSError as error:
        reason = str(error)
    if reason:
        warnings.warn(f"SLURM did not put job {job} back into the queue: {reason}", stacklevel=2)


def _note() -> Path:
    """Return the path of the note for this job, command and working folder."""
    cache = Path(os.environ.get("LEARNED_SALIENCY_CACHE", "~/.cache/learned-saliency"))
    job = re.sub(r"\W", "_", os.environ["SLURM_JOB_ID"])
    command = "\0".join([os.getcwd(), *sys.argv[1:]])
    digest = hashlib.sha256(command.encode(errors="surrogateescape")).hexdigest()[:16]
    return cache.expanduser() / "slurm" / f"{job}-{digest}"
