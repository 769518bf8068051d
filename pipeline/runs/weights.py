"""Readers of files of weights that a user names; an error names the file."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from learned_saliency import storage
from learned_saliency.pipeline.cli import UserError


def read_weights(path: Path, label: str, allowed: Sequence[type] = ()) -> Any:
    """Read a file of weights, see `storage.read_weights`; ``label`` names it in a message.

    Raises:
        UserError: If the file is missing, truncated, of another kind, or holds code.
    """
    try:
        return storage.read_weights(path, allowed)
    except storage.WeightsError as error:
        raise UserError(f"{label}: {error}.") from None


def find_state_dict(content: Any, label: str) -> dict[str, Tensor]:
    """Find the state dict in a file's content, see `storage.find_state_dict`; warn what is left.

    Raises:
        UserError: If the content has no tensors by name.
    """
    try:
        return _told(storage.find_state_dict(content), label)
    except storage.WeightsError as error:
        raise UserError(f"{label}: {error}.") from None


def check_finite(state: Mapping[str, Tensor], label: str) -> None:
    """Check that no weight is NaN or infinite, as after a training that diverged.

    Raises:
        UserError: If one is; the message names it.
    """
    if wrong := storage.find_infinite(state):
        more = f" and {len(wrong) - 1} more tensors" if len(wrong) > 1 else ""
        raise UserError(f"{label}: its weights '{wrong[0]}'{more} hold NaN or infinite numbers.")


def fit_state_dict(content: Any, wanted: Mapping[str, Tensor], label: str) -> dict[str, Tensor]:
    """Find the weights of a network, see `storage.fit_state_dict`; warn what is left out.

    Raises:
        UserError: If the content has no tensors by name, or those of another network.
    """
    try:
        return _told(storage.fit_state_dict(content, wanted), label)
    except storage.WeightsError as error:
        raise UserError(f"{label}: {error}.") from None


def _told(found: storage.FoundWeights, label: str) -> dict[str, Tensor]:
    if found.report:
        warnings.warn(f"{label}: {found.report}.", stacklevel=4)
    return found.state
