"""Files of weights, safetensors or torch.save, which are read without running code from them."""

from __future__ import annotations

import os
import pickle
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from learned_saliency.storage.archives import find_fault
from learned_saliency.storage.records import STAND_INS


class WeightsError(ValueError):
    """Error of a file of weights that cannot be used; the message does not name the file."""


_PROGRAMS = (".onnx", ".pt2")


def read_weights(path: Path, allowed: Sequence[type] = ()) -> Any:
    """Read a file of weights; nothing but tensors and plain values is ever unpickled.

    Args:
        path: A ``.safetensors`` file, or one written by torch.save.
        allowed: Further classes that a file written by torch.save may hold.

    Returns:
        The content of the file; for safetensors, tensors by name. In the place of known records
        of a training, such as a command line's arguments, there are stand-ins without content.

    Raises:
        WeightsError: If the file is missing, truncated, damaged, of another kind, or holds code.
    """
    if fault := find_fault(path):
        raise WeightsError(fault)
    if path.suffix in _PROGRAMS:
        raise WeightsError(
            "is a program, which runs without this project; give what it was exported from"
        )
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except (SafetensorError, OSError) as error:
            reason = " ".join(str(error).split()).partition(". ")[0].rstrip(".")
            raise WeightsError(f"truncated, or no file of weights ({reason})") from None
    known = [*STAND_INS, *allowed]
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(known):
            warnings.filterwarnings("ignore", message="Detected pickle protocol")
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file may raise anything in the reader
        raise WeightsError(_reason(error)) from None


def write_weights(path: Path, state: Mapping[str, Tensor]) -> None:
    """Write tensors by name as a safetensors file, readable by whom the umask allows.

    Args:
        path: The file.
        state: The tensors, which have no memory in common.

    Raises:
        OSError: If it cannot be written; what is there of it then stays.
    """
    try:
        path.touch()
        mode = path.stat().st_mode & 0o777
        save_file({name: tensor.contiguous() for name, tensor in state.items()}, path)
        path.chmod(mode)  # the library hides its files from others
    except SafetensorError as error:  # which is what it makes of a full disk
        if number := re.search(r"os error (\d+)", str(error)):
            code = int(number[1])
            raise OSError(code, os.strerror(code), str(path)) from None
        raise


def _comparable(tensor: Tensor) -> Tensor:
    return tensor if tensor.element_size() > 1 else tensor.float()  # has 8 bits


def find_infinite(state: Mapping[str, Tensor]) -> list[str]:
    """List the names of tensors that hold NaN or infinite numbers."""
    return [
        name
        for name, tensor in state.items()
        if tensor.is_floating_point() and not bool(torch.isfinite(_comparable(tensor)).all())
    ]


def _reason(error: Exception) -> str:
    """Say why a file is not loaded, by what torch says of it."""
    text = str(error)
    if isinstance(error, pickle.UnpicklingError) and (refused := re.search(r"GLOBAL (\S+)", text)):
        return (
            f"not loaded, it holds more than weights ({refused[1]}), whose code is not run; save "
            "the state dict alone, `torch.save(model.state_dict(), ...)`"
        )
    return "truncated, or no file of weights"
