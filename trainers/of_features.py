"""Parts of a pass that are kept as long as its features are."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary


class OfFeatures:
    """Results of passes beside their features, for maps of further classes.

    It is kept as long as the features are in use, and neither copied nor written to files.
    """

    def __init__(self) -> None:
        self._kept = WeakTensorKeyDictionary()

    def keep(self, features: Tensor, found: Any) -> None:
        """Keep what a pass gave; nothing in a graph that is compiled or exported."""
        if not torch.compiler.is_compiling():
            self._kept[features] = found

    def get(self, features: Tensor) -> Any | None:
        """Return what the pass of these very features gave; None for features from elsewhere."""
        return self._kept.get(features)

    def __len__(self) -> int:
        """Count the passes whose features are in use."""
        return len(self._kept)

    def __getstate__(self) -> dict[str, Any]:
        """Leave everything out."""
        return {}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Begin with nothing."""
        self._kept = WeakTensorKeyDictionary()

    def __deepcopy__(self, memo: dict[int, Any]) -> OfFeatures:
        """Begin with nothing."""
        return OfFeatures()
