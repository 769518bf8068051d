"""Plain weights, under the names that they have in a checkpoint."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from safetensors import SafetensorError
from safetensors.torch import save_file

from learned_saliency.pipeline.export.formats.base import Format, Runner
from learned_saliency.pipeline.export.graph import ExportedModel
from learned_saliency.pipeline.export.source import ExportSource
from learned_saliency.pipeline.runs import load_module, read_checkpoint


class Safetensors(Format):
    """A safetensors file of weights, which `read_checkpoint` reads; see `Format`."""

    suffix = ".safetensors"
    has_graph = False

    def write(self, source: ExportSource, config: DictConfig, path: Path) -> dict[str, Any]:
        """Write the weights."""
        state = {name: tensor.contiguous() for name, tensor in source.module.state_dict().items()}
        # the weights and the JSON say the same, whatever threshold was asked for
        state["box_threshold"] = torch.tensor(source.facts["box_threshold"])
        try:
            save_file(state, path)
        except SafetensorError as error:  # which is what it makes of a full disk
            if number := re.search(r"os error (\d+)", str(error)):
                code = int(number[1])
                raise OSError(code, os.strerror(code), str(path)) from None
            raise
        return {}

    def load(self, path: Path, config: DictConfig) -> Runner:
        """Read the file as a checkpoint is read, and build its module."""
        module = load_module(read_checkpoint(path, named=config.classifier)).eval()
        return ExportedModel(module, "predicted" if module.native.per_class else None)
