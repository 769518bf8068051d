"""Folder of an evaluation, and what it keeps of the work until that is finished."""

from __future__ import annotations

import hashlib
import json
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig, OmegaConf

from learned_saliency.pipeline.runs import create_folder
from learned_saliency.storage import write_text

_WORK = "work.json"  # says what the unfinished evaluation is about
_FREE = ("output_dir", "logger", "reuse")  # do not change a figure, as the trainer's but for these
_OF_TRAINER = ("precision", "deterministic")
_OF_DATA = ("num_workers", "pin_memory", "cache", "cache_folder", "verify_images")


def open_folder(config: DictConfig, subject: Path | None, images: dict[str, Any]) -> Path:
    """Make the folder of an evaluation, or find the one of an evaluation that was ended.

    An unfinished evaluation of the same configuration, network and images in ``output_dir`` goes
    on there. Only the first process looks and writes.

    Args:
        config: Configuration of the evaluation.
        subject: File of the network's weights.
        images: Description of the evaluated images.

    Raises:
        UserError: If nothing can be written there.
    """
    wanted = Path(config.output_dir).expanduser().resolve()
    if rank_zero_only.rank != 0:
        return wanted
    work = _work(config, subject, images)
    record = unfinished(wanted) / _WORK
    if record.is_file() and record.read_text(encoding="utf-8") == work:
        print(f"evaluate.py: going on with what is done in {wanted}", file=sys.stderr)
        return wanted
    folder = create_folder(config)
    if record.is_file():
        print(
            f"evaluate.py: {wanted} holds an unfinished evaluation of something else; this one goes"
            f" into {folder}",
            file=sys.stderr,
        )
    write_text(unfinished(folder) / _WORK, work)
    return folder


def unfinished(folder: Path) -> Path:
    """Return the folder that is there until an evaluation is finished."""
    return folder / "unfinished"


def drop_if_nothing_is_done(folder: Path) -> None:
    """Remove what is kept of an evaluation that failed before its first batch was done."""
    if not list(unfinished(folder).rglob("*.state")):
        remove(folder)


def remove(folder: Path) -> None:
    """Remove what is kept of an evaluation."""
    shutil.rmtree(unfinished(folder), ignore_errors=True)


def advice(folder: Path) -> str:
    """Tell the command that goes on with an unfinished evaluation; nothing where there is none."""
    if not unfinished(folder).is_dir():
        return ""
    program, *words = sys.argv
    words = [word for word in words if not word.startswith("output_dir=")]
    call = ["python", program] if program.endswith(".py") else [Path(program).name]
    return f"go on with: {shlex.join([*call, *words, f'output_dir={folder}'])}"


def _work(config: DictConfig, subject: Path | None, images: dict[str, Any]) -> str:
    """Describe the work: equal descriptions have equal results."""
    values = OmegaConf.to_container(config, resolve=True)
    for key in _FREE:
        values.pop(key, None)
    for key in _OF_DATA:
        values["data"].pop(key, None)
    trainer = values["trainer"]
    values["trainer"] = {
        key: trainer[key] for key in trainer if key in _OF_TRAINER or key.startswith("limit_")
    }
    digest = None
    if subject is not None and subject.is_file():
        with subject.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    work = {"config": values, "weights": digest, "images": images}
    return json.dumps(work, indent=2, default=str) + "\n"
