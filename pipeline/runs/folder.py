"""Folder of a run: ``config.yaml``, checkpoints, results, curves, pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig, OmegaConf

from learned_saliency.pipeline.cli import RECORD_FILE, UserError
from learned_saliency.pipeline.runs.record import recorded_config
from learned_saliency.storage import read_json, write_text


def create_folder(config: DictConfig, record: dict[str, Any] | None = None) -> Path:
    """Make the folder of a new run and write its configuration there.

    A folder that exists is left alone: a number is added to the name. Only the first process
    writes.

    Args:
        config: The composed configuration.
        record: What `run_record` gives of a training, by which it can go on before it has a
            checkpoint.

    Raises:
        UserError: If nothing can be written there.
    """
    wanted = Path(config.output_dir).expanduser().resolve()
    if rank_zero_only.rank != 0:
        return wanted
    folder, number = wanted, 2
    while True:
        try:
            folder.mkdir(parents=True)
            break
        except FileExistsError:
            folder = wanted.with_name(f"{wanted.name}-{number}")
            number += 1
        except OSError as error:
            raise _unwritable(config, error) from None
    try:
        write_text(folder / "config.yaml", OmegaConf.to_yaml(config, resolve=True))
        if record is not None:
            write_record(folder, record)
    except OSError as error:
        raise _unwritable(config, error) from None
    return folder


def write_record(folder: Path, record: dict[str, Any], tested: bool = False) -> None:
    """Write what a run goes on by, whatever its checkpoints say.

    Args:
        folder: The run's folder.
        record: What `run_record` gives.
        tested: Whether the run has the test that the record asks for.
    """
    content = json.dumps({**record, "tested": tested}) + "\n"
    write_text(folder / RECORD_FILE, content, durable=True)


def _unwritable(config: DictConfig, error: OSError) -> UserError:
    reason = error.strerror or error
    return UserError(f"output_dir={config.output_dir}: cannot be written ({reason}).")


def read_record(folder: Path) -> dict[str, Any]:
    """Read what a run goes on by; see `write_record`.

    Raises:
        UserError: If the file is damaged.
    """
    path = folder / RECORD_FILE
    try:
        record = read_json(path)
        recorded_config(record | {"selected_by": None})  # which is not known before a checkpoint
        if isinstance(record["composed"], dict):
            return record
    except (OSError, ValueError, TypeError, KeyError):
        pass
    raise UserError(f"{path}: is damaged, so that the run cannot go on; start it anew.")
