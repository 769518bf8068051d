"""Plain weights, under the names that they have in a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from learned_saliency.pipeline.export.formats.base import Format, Runner
from learned_saliency.pipeline.export.graph import ExportedModel
from learned_saliency.pipeline.export.source import ExportSource
from learned_saliency.pipeline.runs import load_module, read_checkpoint
from learned_saliency.storage import write_weights


class Safetensors(Format):
    """A safetensors file of weights, which `read_checkpoint` reads; see `Format`."""

    suffix = ".safetensors"
    has_graph = False

    def write(self, source: ExportSource, config: DictConfig, path: Path) -> dict[str, Any]:
        """Write the weights."""
        state = dict(source.module.state_dict())
        # the weights and the JSON say the same, whatever threshold was asked for
        state["box_threshold"] = torch.tensor(source.facts["box_threshold"])
        write_weights(path, state)
        return {}

    def load(self, path: Path, config: DictConfig) -> Runner:
        """Read the file as a checkpoint is read, and build its module."""
        module = load_module(read_checkpoint(path, named=config.classifier)).eval()
        return ExportedModel(module, "predicted" if module.native.per_class else None)
