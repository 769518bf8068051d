"""Checkpoints for tests of what is done with them: random weights, nothing trained."""

from pathlib import Path

import torch
from torch import nn

from learned_saliency.pipeline.cli.compose import compose_checked
from learned_saliency.pipeline.conversion.convert import write_checkpoint
from learned_saliency.pipeline.runs.build import build_module, build_network
from tests.support.words import SMALL_RUN


def untrained_run(creatures: Path, folder: Path, *words: str) -> Path:
    """A run's folder whose checkpoint has random weights and BatchNorm statistics."""
    place = [f"data.root={creatures}", f"data.metadata={creatures}/metadata"]
    config = compose_checked([*SMALL_RUN, *place, f"output_dir={folder}", *words])
    torch.manual_seed(0)
    network = build_network(config.model, 16)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_(0, 0.1)
            layer.running_var.uniform_(0.5, 2)
        elif layer in (
            getattr(network, "class_branch", None),
            getattr(network, "location_branch", None),
        ):
            layer.weight.data *= 20  # nearly flat maps would show rounding once they are normalized
    write_checkpoint(
        config, build_module(config.model, network), [f"c{i}" for i in range(16)], folder
    )
    return folder
