"""Programs of torch.export, which run wherever torch is."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from learned_saliency.pipeline.export.formats.base import Format, Runner
from learned_saliency.pipeline.export.source import ExportSource


class Pt2(Format):
    """A program of torch.export; see `Format`."""

    suffix = ".pt2"

    def write(self, source: ExportSource, config: DictConfig, path: Path) -> dict[str, Any]:
        """Write the program."""
        with warnings.catch_warnings():
            # torch takes channels-last weights for views of others, which matters only on GPUs
            warnings.filterwarnings("ignore", message="No complete tensor found")
            torch.export.save(source.program(), path)
        return {}

    def load(self, path: Path, config: DictConfig) -> Runner:
        """Load the program."""
        return torch.export.load(path).module()
