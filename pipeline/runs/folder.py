"""Folder of a run: ``config.yaml``, checkpoints, results, curves, pictures."""

from __future__ import annotations

from pathlib import Path

from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig, OmegaConf

from learned_saliency.pipeline.cli import UserError
from learned_saliency.storage import write_text


def create_folder(config: DictConfig) -> Path:
    """Make the folder of a new run and write its configuration there.

    A folder that exists is left alone: a number is added to the name. Only the first process
    writes.

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
    except OSError as error:
        raise _unwritable(config, error) from None
    return folder


def _unwritable(config: DictConfig, error: OSError) -> UserError:
    reason = error.strerror or error
    return UserError(f"output_dir={config.output_dir}: cannot be written ({reason}).")
