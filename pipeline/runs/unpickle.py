"""Reads files of torch.save without running code from them."""

from __future__ import annotations

import pickle
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from learned_saliency.pipeline.cli import UserError


def read_pickle(path: Path, label: str, allowed: Sequence[type] = ()) -> Any:
    """Read a file of torch.save; nothing but tensors and plain values is ever unpickled.

    Args:
        path: The file.
        label: What the file is called in a message.
        allowed: Further classes that its content may have.

    Raises:
        UserError: If the file is missing, truncated, of another kind, or holds code.
    """
    if not path.is_file():
        raise UserError(f"{label}: there is no such file.")
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(list(allowed)):
            warnings.filterwarnings("ignore", message="Detected pickle protocol")
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # there is no end to what a damaged file makes of the reader
        refused = re.search(r"GLOBAL (\S+)", str(error))
        if isinstance(error, pickle.UnpicklingError) and refused:
            raise UserError(
                f"{label}: not loaded, it holds more than weights ({refused[1]})."
            ) from None
        raise UserError(f"{label}: truncated, or no file of weights.") from None
