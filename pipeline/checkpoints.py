"""Reads checkpoints without running code from them."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import torch
from lightning.fabric.plugins.io import TorchCheckpointIO
from omegaconf import DictConfig, OmegaConf
from torch import nn

from datamodules import WSOLDataModule
from pipeline.build import build_network, check_targets
from pipeline.errors import UserError, first_sentence

RECORD = "run"  # key of what this project adds to Lightning's checkpoint


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint under a temporary name, then renames it: it is whole or not there."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None
    ) -> None:
        """Save ``checkpoint`` as ``path``."""
        temporary = Path(path).with_suffix(".tmp")
        super().save_checkpoint(checkpoint, temporary, storage_options)
        temporary.replace(path)


class RunRecord(L.Callback):
    """Adds to each checkpoint what is needed to read it back without anything beside it.

    Args:
        config: The composed configuration of the run.
        stage: Key of the stage that is trained; empty for the last one.
        data: The run's data.
    """

    def __init__(self, config: DictConfig, stage: str, data: WSOLDataModule) -> None:
        self.record = {
            "config": OmegaConf.to_container(config, resolve=True),
            "stage": stage,
            "num_classes": data.num_classes,
            "class_names": list(data.class_names),
            "selected_by": data.supervision("val"),
        }

    def on_save_checkpoint(
        self, trainer: L.Trainer, module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add the record."""
        checkpoint[RECORD] = self.record


class Checkpoint(NamedTuple):
    """A checkpoint of this project.

    Attributes:
        path: Where it was read.
        content: Lightning's dictionary.
        config: The run's composed configuration.
        stage: Key of the stage that it belongs to: ``classifier``, or empty for the last one.
        model: The stage's part of the configuration.
        num_classes: Number of classes of the run's data set.
        class_names: Their names.
    """

    path: Path
    content: dict[str, Any]
    config: DictConfig
    stage: str
    model: DictConfig
    num_classes: int
    class_names: list[str]

    @property
    def run_folder(self) -> Path:
        """The folder of the run, above ``checkpoints/`` and the stage's folder in it."""
        return self.path.resolve().parents[2 if self.stage else 1]


def read_checkpoint(path: str | Path, of_run: str = "last.ckpt") -> Checkpoint:
    """Read a checkpoint; nothing but tensors and plain values is ever unpickled.

    Args:
        path: A checkpoint, or the folder of a run.
        of_run: Which one of a run is read.

    Raises:
        UserError: If the file is missing, truncated, holds code, is no checkpoint of this project,
            or names a foreign ``_target_``.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        path = path / "checkpoints" / of_run
    if not path.is_file():
        raise UserError(f"{path}: there is no such checkpoint.")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = first_sentence(error)
        raise UserError(f"{path}: not loaded, it holds more than weights: {reason}.") from None
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        reason = first_sentence(error)
        raise UserError(f"{path}: truncated or no checkpoint ({reason}).") from None
    record = content.get(RECORD) if isinstance(content, dict) else None
    if not isinstance(record, dict) or "state_dict" not in content:
        raise UserError(f"{path}: no checkpoint of this project (it has no record of its run).")
    config = OmegaConf.create(record["config"])
    check_targets(config, path)
    stage = record["stage"]
    model = config.model[stage] if stage else config.model
    return Checkpoint(
        path, content, config, stage, model, record["num_classes"], record["class_names"]
    )


def load_network(checkpoint: Checkpoint) -> nn.Module:
    """Build the network of a checkpoint and give it its weights.

    Raises:
        UserError: If the weights do not fit the configuration that came with them.
    """
    network = untrained_network(checkpoint)
    load_weights(network, checkpoint, prefix="network.")
    return network


def untrained_network(checkpoint: Checkpoint) -> nn.Module:
    """Build the network of a checkpoint without weights, pretrained ones included."""
    model = OmegaConf.create(_without_pretraining(OmegaConf.to_container(checkpoint.model)))
    return build_network(model, checkpoint.num_classes)


def _without_pretraining(node: Any) -> Any:
    if isinstance(node, list):
        return [_without_pretraining(value) for value in node]
    if not isinstance(node, dict):
        return node
    weights = {"pretrained": False, "pretrained_head": None}
    return {k: weights[k] if k in weights else _without_pretraining(v) for k, v in node.items()}


def load_weights(target: nn.Module, checkpoint: Checkpoint, prefix: str = "") -> None:
    """Load the part of a checkpoint's weights below ``prefix`` into ``target``.

    Raises:
        UserError: If names or shapes do not fit.
    """
    state = checkpoint.content["state_dict"]
    part = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    try:
        target.load_state_dict(part)
    except RuntimeError as error:
        first = " ".join(str(error).split())[:300]
        raise UserError(f"{checkpoint.path}: its weights are of another model ({first}).") from None
