"""Writers of checkpoints and of the record by which they are read."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import lightning as L
import torch
from lightning.fabric.plugins.io import TorchCheckpointIO
from omegaconf import DictConfig, OmegaConf

from learned_saliency.datamodules import WSOLDataModule
from learned_saliency.pipeline.cli import chosen_experiment
from learned_saliency.pipeline.runs.checkpoints import RECORD
from learned_saliency.pipeline.runs.record import LEARNED
from learned_saliency.pipeline.runs.references import with_references
from learned_saliency.storage import replacing
from learned_saliency.trainers import SaliencyModule


class DurableCheckpointIO(TorchCheckpointIO):
    """Writer of checkpoints beside their destination, on the disk before they take its name.

    Lightning's own writer makes a copy in memory and one in the temporary directory.

    Args:
        written: Called after each checkpoint, when it is on the disk.
    """

    def __init__(self, written: Callable[[], None] = lambda: None) -> None:
        super().__init__()
        self._written = written

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None
    ) -> None:
        """Save ``checkpoint`` as ``path``.

        Raises:
            OSError: If it cannot be written; what was there before is left.
        """
        write_content(Path(path), checkpoint)
        self._written()


def write_content(path: Path, content: dict[str, Any]) -> None:
    """Write the content of a checkpoint, once through memory; see `DurableCheckpointIO`."""
    with replacing(path, durable=True) as temporary, temporary.open("wb") as file:
        watched = _Watched(file)
        try:
            torch.save(content, watched)
        except RuntimeError as error:  # torch's writer hides what the disk has said
            raise watched.error or error from None


class _Watched:
    """File that remembers what kept it from being written."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.error: OSError | None = None

    def write(self, content: bytes) -> int:
        if self.error is not None:
            return 0
        try:
            return self._file.write(content)
        except OSError as error:
            self.error = OSError(error.errno or errno.EIO, error.strerror, self._file.name)
            raise

    def flush(self) -> None:
        if self.error is None:
            self._file.flush()


def run_record(config: DictConfig) -> dict[str, Any]:
    """Return what a run is made of, as plain values.

    The run's folder is the one that holds the record, wherever it is moved: ``output_dir`` has its
    name alone.

    Args:
        config: The composed configuration.

    Returns:
        ``config``, resolved, and ``composed``, whose values still refer to each other; see
        `with_references`; ``experiment``, the one that the command line has chosen, or None.
    """
    parts = {"config": OmegaConf.to_container(config, resolve=True)}
    parts["composed"] = with_references(config)
    for part in parts.values():
        part["output_dir"] = Path(config.output_dir).name
        part["resume"] = None
    return {**parts, "experiment": chosen_experiment()}


class RunRecord(L.Callback):
    """Callback that adds a record to each checkpoint, by which the file can be read on its own.

    Args:
        record: What `run_record` gives.
        stage: Key of the stage that is trained; empty for the last stage.
        data: The data module of this stage; what it learns from boxes or masks is recorded, too.
        selected_by: Numbers of images, boxes and masks that the choice of the checkpoint sees.
    """

    def __init__(
        self,
        record: dict[str, Any],
        stage: str,
        data: WSOLDataModule,
        selected_by: dict[str, str | int],
    ) -> None:
        self.record = {
            **record,
            "stage": stage,
            "num_classes": data.num_classes,
            "class_names": list(data.class_names),
            "selected_by": selected_by,
            **({} if data.learned_from is None else {LEARNED: data.learned_from}),
        }

    def on_save_checkpoint(
        self, trainer: L.Trainer, module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add the record."""
        checkpoint[RECORD] = self.record


def write_checkpoint(
    config: DictConfig, module: SaliencyModule, class_names: list[str], folder: Path
) -> Path:
    """Write a module as the best checkpoint of the run in ``folder``, without training state."""
    record = {
        "config": OmegaConf.to_container(config, resolve=True),
        "stage": "",
        "num_classes": len(class_names),
        "class_names": class_names,
        "selected_by": None,
    }
    path = folder / "checkpoints" / "best.ckpt"
    write_content(path, {"state_dict": module.state_dict(), RECORD: record})
    return path
