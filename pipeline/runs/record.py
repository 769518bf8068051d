"""The record of a run in a checkpoint or an export, read with limits: the file may be anyone's.

A file can ask for memory in a few bytes: by a number of classes, the side of an image, a list that
holds itself a billion times, a tensor that repeats one number. All of that is refused here, before
anything is built from it.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from learned_saliency import datamodules
from learned_saliency.pipeline.cli import UserError, check_values, printable
from learned_saliency.pipeline.runs.build import CLASSIFIER, FIRST_STAGE
from learned_saliency.pipeline.runs.recorded_keys import (
    MAX_CLASSES,
    MAX_LEARNED,
    MAX_PIXELS,
    MAX_RENDERED,
    MAX_WIDTH,
    NEEDED,
    OPTIONAL,
    count_up_to,
    is_number,
)

_MAX_DEPTH = 24  # groups within groups
_MAX_VALUES = 200_000
_MAX_TEXT = 10_000  # characters
_MAX_NAME = 500
_MAX_TENSORS = 100_000
_MAX_SHARED = 16  # times the size of the file that all its tensors may take

LEARNED = "learned_from"  # key of the boxes and masks of `val` that a bound has learned from


class RecordError(ValueError):
    """Error of a record; the message ends a sentence that begins with the file's name."""


def recorded_config(record: Mapping[str, Any]) -> DictConfig:
    """Read the configuration of a record.

    Raises:
        RecordError: If a value that is needed is missing or of another type, or a number is beyond
            its limit.
    """
    _check_plain(record)
    if "selected_by" not in record:
        raise RecordError("not of this version: the record of its run has no selected_by")
    config = record.get("config")
    if not isinstance(config, dict):
        raise RecordError("the record of its run is damaged (it has no configuration)")
    for key, kind in (NEEDED | OPTIONAL).items():
        found, value = _select(config, key)
        if not found and key in NEEDED:
            raise RecordError(f"not of this version: its configuration has no {key}")
        if found and not kind.test(value):
            raise RecordError(f"its configuration has {key}={_shown(value)}: expected {kind.told}")
    channels = config["data"].get("channels", 3)
    for key in ("mean", "std"):
        if len(value := config["data"][key]) != channels:
            raise RecordError(
                f"its configuration has data.{key}={_shown(value)}: expected a number for each of "
                f"{channels} channels"
            )
    _check_amounts(config)
    return OmegaConf.create(config)


def check_recorded_values(config: DictConfig) -> None:
    """Check type and range of every value, as of a configuration that a person gives.

    Raises:
        RecordError: If a value is not allowed; the message names the key.
    """
    try:
        check_values(config)
    except UserError as error:
        raise RecordError(f"its configuration has {str(error).rstrip('.')}") from None


def recorded_stage(config: DictConfig, record: Mapping[str, Any]) -> tuple[DictConfig, str]:
    """Read the stage of a record: the part of the configuration that describes it, and its key.

    Raises:
        RecordError: If the configuration has no such stage.
    """
    stage = record.get("stage")
    if stage not in ("", CLASSIFIER):
        raise RecordError(f"the record of its run is damaged (its stage is {_shown(stage)})")
    if not stage:
        return config.model, ""
    first = config.model.get(FIRST_STAGE)
    if not isinstance(first, DictConfig) or not {"name", "network", "module"} <= first.keys():
        raise RecordError("the record of its run is damaged (its model has no first stage)")
    return first, CLASSIFIER


def recorded_classes(record: Mapping[str, Any]) -> list[str]:
    """Read the names of the classes of a record; control characters in them are replaced.

    Raises:
        RecordError: If they are none, too many or too long, or not as many as the record says.
    """
    names, number = record.get("class_names"), record.get("num_classes")
    kind = count_up_to(MAX_CLASSES)
    if not kind.test(number):
        raise RecordError(
            f"the record of its run has num_classes={_shown(number)}: expected {kind.told}"
        )
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise RecordError("the record of its run is damaged (its class names are no list of texts)")
    if len(names) != number:
        raise RecordError(f"the record of its run has {number} classes, but {len(names)} names")
    if any(len(name) > _MAX_NAME for name in names):
        raise RecordError(f"the record of its run has a class name of over {_MAX_NAME} characters")
    return [printable(name) for name in names]


def recorded_learning(record: Mapping[str, Any]) -> dict[str, Any] | None:
    """Read the boxes and masks of `val` that a supervised bound has learned from.

    Returns:
        What `WSOLDataModule.learned_from` was; None for a training that has seen none.

    Raises:
        RecordError: If it is damaged.
    """
    learned = record.get(LEARNED)
    if learned is None:
        return None
    numbers = ("images", "boxes", "masks")
    if (
        not isinstance(learned, dict)
        or learned.get("split") != "val"
        or not is_number(learned.get("share"))
        or not all(count_up_to(MAX_LEARNED, 0).test(learned.get(name)) for name in numbers)
    ):
        told = f"its {LEARNED} is {_shown(learned)}"
        raise RecordError(f"the record of its run is damaged ({told})")
    return learned


def check_state(state: Any, size: int) -> None:
    """Check that tensors by name take no more memory than a file can hold.

    Args:
        state: The state dict of the file.
        size: Size of the file in bytes.

    Raises:
        RecordError: If it is no state dict, or takes more.
    """
    if not isinstance(state, dict) or not all(
        isinstance(k, str) and isinstance(v, Tensor) for k, v in state.items()
    ):
        raise RecordError("holds no weights by name")
    if len(state) > _MAX_TENSORS:
        raise RecordError(f"holds {len(state):,} tensors: at most {_MAX_TENSORS:,}")
    total = 0
    for name, tensor in state.items():
        if tensor.layout is not torch.strided or tensor.device.type != "cpu" or tensor.is_quantized:
            raise RecordError(f"'{_shown(name)}' is no plain tensor")
        needed = tensor.numel() * tensor.element_size()
        total += needed
        if needed > tensor.untyped_storage().nbytes() or total > _MAX_SHARED * size:
            raise RecordError(
                f"'{_shown(name)}' of shape {tuple(tensor.shape)} asks for more memory than the "
                "file's own size"
            )


def _check_plain(record: Mapping[str, Any]) -> None:
    """Check that a record consists of plain values, not too many, too deep or too long."""
    seen = 0
    pending: list[tuple[Any, int]] = [(record, 0)]
    while pending:
        node, depth = pending.pop()
        seen += 1
        if seen > _MAX_VALUES or depth > _MAX_DEPTH:
            raise RecordError(
                "the record of its run is damaged (more than "
                f"{_MAX_VALUES:,} values or {_MAX_DEPTH} groups within each other)"
            )
        pending.extend((child, depth + 1) for child in _children(node))


def _children(node: Any) -> Iterator[Any]:
    if isinstance(node, dict):
        if not all(isinstance(key, str) for key in node):
            raise RecordError("the record of its run is damaged (a key is no text)")
        yield from node.values()
    elif isinstance(node, list):
        yield from node
    elif isinstance(node, str) and len(node) > _MAX_TEXT:
        raise RecordError(f"the record of its run has a text of over {_MAX_TEXT:,} characters")
    elif isinstance(node, int) and abs(node) >= 2**63:
        raise RecordError("the record of its run has an integer of over 63 bits")
    elif not isinstance(node, str | int | float | bool | None):
        kind = type(node).__name__
        raise RecordError(f"the record of its run is damaged (it holds a {kind})")


def check_data_parts(node: dict[str, Any], key: str = "data") -> None:
    """Check that the data set is made of this version's data sets, readers and their options.

    Raises:
        RecordError: If it is not; the message names the key.
    """
    part = node.get("_target_")
    if part is not None:
        name = str(part).removeprefix(f"{datamodules.__name__}.")
        made = getattr(datamodules, name, None) if name in datamodules.__all__ else None
        if not isinstance(made, type):
            raise RecordError(f"its configuration has {key}._target_={_shown(part)}: no data set")
        known = {"_target_", "_partial_"}
        for base in made.__mro__:  # a class hands on what it does not name itself
            known |= {
                p.name
                for p in inspect.signature(base.__init__).parameters.values()
                if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)
            } - {"self"}
        if unknown := sorted(node.keys() - known):
            raise RecordError(
                f"not of this version: its configuration has {key}.{unknown[0]}, which {name} does "
                "not know"
            )
    for name, child in node.items():
        if isinstance(child, dict):
            check_data_parts(child, f"{key}.{name}")


def _check_amounts(config: dict[str, Any]) -> None:
    """Check the sizes of batches, of a data set that would be rendered, and of networks."""
    data = config["data"]
    for key, name in (("batch_size", "resize_size"), ("eval_batch_size", "crop_size")):
        count, size = data.get(key) or data["batch_size"], datamodules.Size.of(data[name])
        if count * math.prod(size) * len(data["mean"]) > 3 * MAX_PIXELS:
            raise RecordError(
                f"its configuration has data.{key}={count} at data.{name}={size}: a batch has at "
                f"most {MAX_PIXELS:,} pixels of three channels"
            )
    reader = data.get("reader") or {}
    images = sum(reader.get(f"{split}_images", 0) for split in ("train", "val", "test"))
    if images * reader.get("image_size", 0) ** 2 > MAX_RENDERED:
        raise RecordError(
            f"its configuration asks to render {images:,} images of {reader['image_size']} pixels' "
            f"side: at most {MAX_RENDERED:,} pixels"
        )
    for key, value in _leaves(config["model"], "model"):
        if value == "???":
            raise RecordError(f"its configuration has no value of {key}")
        if "network." in key and isinstance(value, int) and abs(value) > MAX_WIDTH:
            raise RecordError(f"its configuration has {key}={value}: at most {MAX_WIDTH:,}")


def _leaves(node: Any, key: str) -> Iterator[tuple[str, Any]]:
    children = node.items() if isinstance(node, dict) else enumerate(node)
    for name, value in children:
        if isinstance(value, dict | list):
            yield from _leaves(value, f"{key}.{name}")
        else:
            yield f"{key}.{name}", value


def _select(config: dict[str, Any], key: str) -> tuple[bool, Any]:
    node: Any = config
    for name in key.split("."):
        if not isinstance(node, dict) or name not in node:
            return False, None
        node = node[name]
    return True, node


def _shown(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
