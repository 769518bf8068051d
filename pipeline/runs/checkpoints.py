"""Readers of checkpoints, which run no code from them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import nn

from learned_saliency import storage
from learned_saliency.errors import MendableError
from learned_saliency.pipeline.cli import (
    HUB_FACTS,
    HUB_WEIGHTS,
    UserError,
    find_checkpoint,
    first_sentence,
)
from learned_saliency.pipeline.runs.build import build_module, build_network
from learned_saliency.pipeline.runs.given import given_part, rebuild_given
from learned_saliency.pipeline.runs.named_parts import check_named_parts
from learned_saliency.pipeline.runs.record import (
    LEARNED,
    RecordError,
    check_data_parts,
    check_recorded_values,
    check_state,
    recorded_classes,
    recorded_config,
    recorded_learning,
    recorded_stage,
)
from learned_saliency.pipeline.runs.weights import check_finite, read_weights
from learned_saliency.trainers import SaliencyModule

RECORD = "run"  # key of this project's record in Lightning's checkpoint
_IN_FACTS = ("config", "stage", "selected_by")  # parts of the record in an export's JSON
_FOREIGN = "foreign weights go with classifier= and weights="


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
        named: What the user names a network of their own code by, on which it was trained:
            ``MODULE:FUNCTION``, or the network itself.
        learned_from: Supervision of the share of ``val`` that a supervised bound has learned from,
            see `WSOLDataModule.learned_from`; None for a training that saw neither boxes nor masks.
    """

    path: Path
    content: dict[str, Any]
    config: DictConfig
    stage: str
    model: DictConfig
    num_classes: int
    class_names: list[str]
    named: str | nn.Module | None = None
    learned_from: dict[str, Any] | None = None

    @property
    def run_folder(self) -> Path:
        """Folder of the run, above ``checkpoints/`` and the stage's folder in it."""
        above = self.path.resolve().parents
        return above[min(2 if self.stage else 1, len(above) - 1)]


def read_checkpoint(
    path: str | Path, of_run: str = "last.ckpt", named: str | nn.Module | None = None
) -> Checkpoint:
    """Read a checkpoint; nothing but tensors and plain values is ever unpickled.

    Args:
        path: A checkpoint, an exported ``.safetensors`` with its JSON, the folder of a run, or a
            folder that was exported for the Hugging Face Hub.
        of_run: Name of the checkpoint that is read from a run's folder.
        named: See `Checkpoint`.

    Raises:
        UserError: If the file is missing, truncated, damaged, holds code, is no checkpoint of this
            project or version, its configuration names a foreign ``_target_`` or refers to anything
            outside itself, or a size is beyond its limit (see `record`).
    """
    path = find_checkpoint(path, of_run)
    read = _read_exported if path.suffix == ".safetensors" else read_weights
    content = read(path, f"{path}")
    record = content.get(RECORD) if isinstance(content, dict) else None
    if not isinstance(record, dict) or "state_dict" not in content:
        raise UserError(
            f"{path}: no checkpoint of this project (it has no record of its run); {_FOREIGN}."
        )
    try:
        check_state(content["state_dict"], path.stat().st_size)
        if not isinstance(content.get("epoch"), int | None):
            raise RecordError("the number of its epoch is damaged")
        config = recorded_config(record)
        check_named_parts(config, path)
        check_data_parts(record["config"]["data"])
        check_recorded_values(config)
        model, stage = recorded_stage(config, record)
        names, learned = recorded_classes(record), recorded_learning(record)
    except RecordError as error:
        raise UserError(f"{path}: {error}.") from None
    except OmegaConfBaseException as error:
        reason = first_sentence(error)
        raise UserError(f"{path}: the record of its run is damaged ({reason}).") from None
    return Checkpoint(path, content, config, stage, model, len(names), names, named, learned)


def beside(path: Path) -> Path:
    """Return the path of the JSON that belongs to an exported file."""
    return path.with_name(f"{path.name}.json")


def _facts_of(path: Path) -> Path:
    """Find the JSON of an exported file: beside it, or in a folder for the Hub."""
    own, of_folder = beside(path), path.with_name(HUB_FACTS)
    return of_folder if path.name == HUB_WEIGHTS and not own.exists() else own


def _read_exported(path: Path, label: str) -> dict[str, Any]:
    """Read the weights of an export and the record in its JSON, in the form of a checkpoint.

    A safetensors file has no checksum of its own; the JSON holds one.
    """
    described = _facts_of(path)
    try:
        facts = storage.read_json(described)
        names, checksum = facts["class_names"], facts["sha256"]
        record = {"num_classes": len(names)} | {k: facts[k] for k in (*_IN_FACTS, "class_names")}
        record |= {LEARNED: facts[LEARNED]} if LEARNED in facts else {}
    except FileNotFoundError:
        raise UserError(
            f"{path}: is no export of this project (there is no {described.name} beside it); "
            f"{_FOREIGN}."
        ) from None
    except OSError as error:
        raise UserError(f"{described}: cannot be read ({error.strerror}).") from None
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{described}: is not the JSON of an export.") from None
    weights = read_weights(path, label)
    if storage.sha256(path) != checksum:
        raise UserError(
            f"{path}: damaged, or not the file that {described.name} describes: their SHA-256 "
            "differ."
        )
    return {"state_dict": weights, "epoch": facts.get("epoch"), RECORD: record}


def load_network(checkpoint: Checkpoint) -> nn.Module:
    """Build the network of a checkpoint and load its weights.

    Raises:
        UserError: If the weights do not fit the configuration that came with them.
    """
    _check_shapes(checkpoint)
    network = untrained_network(checkpoint)
    load_weights(network, checkpoint, prefix="network.")
    return network


def load_module(checkpoint: Checkpoint, **options: Any) -> SaliencyModule:
    """Build the module of a checkpoint and load its weights; ``options`` replace its own.

    Raises:
        UserError: If the weights do not fit the configuration that came with them, or the
            configuration does not fit this project.
    """
    _check_shapes(checkpoint)
    network = untrained_network(checkpoint)
    with _explained(checkpoint):
        module = build_module(checkpoint.model, network, **options)
    load_weights(module, checkpoint)
    return module


def _check_shapes(checkpoint: Checkpoint) -> None:
    """Compare the network that the configuration describes with the weights that came with it.

    The network is laid out without memory for its weights, so that a configuration cannot ask for
    more than the file holds.

    Raises:
        UserError: If a name or a shape differs.
    """
    state = checkpoint.content["state_dict"]
    given = {k: v.shape for k, v in state.items() if k.startswith("network.")}
    network = _laid_out(checkpoint)
    wanted = {f"network.{k}": v.shape for k, v in network.state_dict().items()}
    wrong = [k for k in sorted(given.keys() | wanted.keys()) if given.get(k) != wanted.get(k)]
    if wrong:
        ours, theirs = (tuple(s[wrong[0]]) if wrong[0] in s else "no" for s in (wanted, given))
        raise UserError(
            f"{checkpoint.path}: its weights are of another model than its configuration says "
            f"({len(wrong)} differ, the first is '{wrong[0]}': {ours} by the configuration, "
            f"{theirs} in the file)."
        )


def _laid_out(checkpoint: Checkpoint) -> nn.Module:
    """Build the network of a checkpoint without memory for its weights, where that is possible."""
    given = given_part(checkpoint.model) is not None
    if checkpoint.named is not None:  # code that the user trusts, which may do anything
        return untrained_network(checkpoint)
    try:
        with torch.device("meta"):
            return untrained_network(checkpoint)
    except UserError:
        if not given:
            raise
    return untrained_network(checkpoint)  # the size of a library's network is fixed by its name


def untrained_network(checkpoint: Checkpoint) -> nn.Module:
    """Build the network of a checkpoint without weights, pretrained ones included.

    Raises:
        UserError: If its configuration is of another version, or it was trained on a network of a
            user's own code that is not ``named``.
    """
    try:
        model, number = checkpoint.model, checkpoint.num_classes
        classifier = rebuild_given(model, number, checkpoint.named)
    except UserError as error:
        raise UserError(f"{checkpoint.path}: {str(error).rstrip('.')}.") from None
    with _explained(checkpoint):
        return build_network(without_pretraining(model), number, classifier)


@contextmanager
def _explained(checkpoint: Checkpoint) -> Iterator[None]:
    """Blame the checkpoint when a part refuses the keys that the checkpoint has for it."""
    try:
        yield
    except Exception as error:  # whatever a part makes of wrong values
        cause = error.__cause__ if isinstance(error, InstantiationException) else error
        reason = first_sentence(cause or error)
        if isinstance(cause, MendableError):  # such as a package that is not installed
            raise UserError(f"{checkpoint.path}: {reason}.") from None
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
        UserError: If names or shapes do not fit, or a weight is NaN or infinite.
    """
    state = checkpoint.content["state_dict"]
    check_finite(state, f"{checkpoint.path}")
    part = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    try:
        target.load_state_dict(part)
    except RuntimeError as error:
        first = " ".join(str(error).split())[:300]
        raise UserError(f"{checkpoint.path}: its weights are of another model ({first}).") from None
