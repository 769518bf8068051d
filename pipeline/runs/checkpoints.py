"""Writers of checkpoints, and readers that run no code from them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import torch
from hydra.errors import InstantiationException
from lightning.fabric.plugins.io import TorchCheckpointIO
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import Tensor, nn

from learned_saliency.datamodules import WSOLDataModule
from learned_saliency.pipeline.cli import UserError, find_checkpoint, first_sentence
from learned_saliency.pipeline.runs.build import build_module, build_network, stage_config
from learned_saliency.pipeline.runs.named_parts import check_named_parts
from learned_saliency.pipeline.runs.weights import read_weights
from learned_saliency.storage import replacing
from learned_saliency.trainers import SaliencyModule

RECORD = "run"  # key of this project's record in Lightning's checkpoint
_IN_FACTS = ("config", "stage", "selected_by")  # parts of the record in an export's JSON
_FOREIGN = "foreign weights go with classifier= and weights="


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writer of checkpoints under a temporary name, then renamed: a file is whole or not there."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None
    ) -> None:
        """Save ``checkpoint`` as ``path``."""
        with replacing(Path(path)) as temporary:
            super().save_checkpoint(checkpoint, temporary, storage_options)


class RunRecord(L.Callback):
    """Callback that adds a record to each checkpoint, by which the file can be read on its own.

    Args:
        config: The composed configuration of the run.
        composed: The configuration as plain values that still refer to each other; see
            `with_references`.
        stage: Key of the stage that is trained; empty for the last stage.
        data: The run's data module.
    """

    def __init__(
        self, config: DictConfig, composed: dict[str, Any], stage: str, data: WSOLDataModule
    ) -> None:
        self.record = {
            "config": OmegaConf.to_container(config, resolve=True),
            "composed": composed,
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
        path: Path from which the checkpoint was read.
        content: Lightning's dictionary.
        config: The run's composed configuration.
        stage: Key of the checkpoint's stage: ``classifier``, or empty for the last stage.
        model: The stage's part of the configuration.
        num_classes: Number of classes of the run's data set.
        class_names: Names of these classes.
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
        """Folder of the run, above ``checkpoints/`` and the stage's folder in it."""
        return self.path.resolve().parents[2 if self.stage else 1]


def read_checkpoint(path: str | Path, of_run: str = "last.ckpt") -> Checkpoint:
    """Read a checkpoint; nothing but tensors and plain values is ever unpickled.

    Args:
        path: A checkpoint, an exported ``.safetensors`` with its JSON, or the folder of a run.
        of_run: Name of the checkpoint that is read from a run's folder.

    Raises:
        UserError: If the file is missing, truncated, holds code, is no checkpoint of this project,
            or its configuration names a foreign ``_target_`` or refers to anything outside itself.
    """
    path = find_checkpoint(path, of_run)
    read = _read_exported if path.suffix == ".safetensors" else read_weights
    content = read(path, f"{path}")
    record = content.get(RECORD) if isinstance(content, dict) else None
    if not isinstance(record, dict) or not _is_state(content.get("state_dict")):
        raise UserError(
            f"{path}: no checkpoint of this project (it has no record of its run); {_FOREIGN}."
        )
    try:
        config = OmegaConf.create(record["config"])
        stage, num_classes = str(record["stage"]), int(record["num_classes"])
        check_named_parts(config, path)
        model = stage_config(config.model, stage)
        names = [str(name) for name in record["class_names"]]
        if not isinstance(model, DictConfig) or not isinstance(model.name, str):
            raise TypeError("a model is a group of keys with a name")
    except (OmegaConfBaseException, AttributeError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        reason = first_sentence(error)
        raise UserError(f"{path}: the record of its run is damaged ({reason}).") from None
    return Checkpoint(path, content, config, stage, model, num_classes, names)


def _is_state(state: Any) -> bool:
    return isinstance(state, dict) and all(isinstance(value, Tensor) for value in state.values())


def beside(path: Path) -> Path:
    """Return the path of the JSON that belongs to an exported file."""
    return path.with_name(f"{path.name}.json")


def _read_exported(path: Path, label: str) -> dict[str, Any]:
    """Read the weights of an export and the record in its JSON, in the form of a checkpoint."""
    try:
        facts = json.loads(beside(path).read_text())
        names = facts["class_names"]
        record = {"num_classes": len(names)} | {k: facts[k] for k in (*_IN_FACTS, "class_names")}
    except OSError:
        raise UserError(
            f"{path}: is no export of this project (there is no {beside(path).name} beside it); "
            f"{_FOREIGN}."
        ) from None
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{beside(path)}: is not the JSON of an export.") from None
    return {"state_dict": read_weights(path, label), "epoch": facts.get("epoch"), RECORD: record}


def load_network(checkpoint: Checkpoint) -> nn.Module:
    """Build the network of a checkpoint and load its weights.

    Raises:
        UserError: If the weights do not fit the configuration that came with them.
    """
    network = untrained_network(checkpoint)
    load_weights(network, checkpoint, prefix="network.")
    return network


def load_module(checkpoint: Checkpoint, **options: Any) -> SaliencyModule:
    """Build the module of a checkpoint and load its weights; ``options`` replace its own.

    Raises:
        UserError: If the weights do not fit the configuration that came with them, or the
            configuration does not fit this project.
    """
    network = untrained_network(checkpoint)
    with _explained(checkpoint):
        module = build_module(checkpoint.model, network, **options)
    load_weights(module, checkpoint)
    return module


def untrained_network(checkpoint: Checkpoint) -> nn.Module:
    """Build the network of a checkpoint without weights, pretrained ones included."""
    with _explained(checkpoint):
        return build_network(without_pretraining(checkpoint.model), checkpoint.num_classes)


@contextmanager
def _explained(checkpoint: Checkpoint) -> Iterator[None]:
    """Blame the checkpoint when a part refuses the keys that the checkpoint has for it."""
    try:
        yield
    except (InstantiationException, TypeError) as error:
        cause = error.__cause__ if isinstance(error, InstantiationException) else error
        if not isinstance(cause, TypeError):
            raise
        reason = first_sentence(cause)
        raise UserError(
            f"{checkpoint.path}: its configuration is not of this version ({reason})."
        ) from None


def without_pretraining(model: DictConfig) -> DictConfig:
    """Return a model's configuration in which networks start without weights from elsewhere."""
    return OmegaConf.create(_unweighted(OmegaConf.to_container(model, resolve=True)))


def _unweighted(node: Any) -> Any:
    if isinstance(node, list):
        return [_unweighted(value) for value in node]
    if not isinstance(node, dict):
        return node
    weights = {"pretrained": False, "pretrained_head": None, "checkpoint_path": None}
    return {k: weights[k] if k in weights else _unweighted(v) for k, v in node.items()}


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
    with replacing(path) as temporary:
        torch.save({"state_dict": module.state_dict(), RECORD: record}, temporary)
    return path
