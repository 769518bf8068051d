"""Programs of torch.export, which run wherever torch is."""

from __future__ import annotations

import io
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
        content = io.BytesIO()  # at a full disk torch's own writer aborts the process
        with warnings.catch_warnings():
            # torch takes channels-last weights for views of others, which matters only on GPUs
            warnings.filterwarnings("ignore", message="No complete tensor found")
            torch.export.save(source.program(), content)
        path.write_bytes(content.getbuffer())
        return {}

    def load(self, path: Path, config: DictConfig) -> Runner:
        """Load the program."""
        return torch.export.load(path).module()
