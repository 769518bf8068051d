"""Trial of the post-hoc methods of a training on its own classifier, before the first batch."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig
from torch import Tensor, nn

from learned_saliency.attribution import PostHocMethod, SharedFeatures
from learned_saliency.datamodules import Size
from learned_saliency.pipeline.cli import UserError, first_sentence, printable, values
from learned_saliency.pipeline.runs import build_method, channels_of, method_names, stage_config
from learned_saliency.pipeline.training.checks import stage_key
from learned_saliency.trainers import NATIVE, SaliencyModule

_SEEDS = "model.pseudo_labels"
_ENOUGH = 32  # further images through the network, after which a method is known to work
_DEAR = 10  # as many are worth a line


def try_methods(config: DictConfig, stage: str, module: SaliencyModule) -> None:
    """Run the methods of a stage on noise: those of the test, of pictures and of pseudo-labels.

    A method that runs the network many times is stopped early, so that the trial takes seconds.
    What pseudo-labels by such a method cost is told in one line on stderr.

    Args:
        config: The configuration.
        stage: The stage, see `stage_config`.
        module: Its module, whose classifier is one of this project.

    Raises:
        UserError: If a method does not work with this classifier.
    """
    wanted, size = _wanted(config, stage), Size.of(config.data.crop_size)
    if not wanted:
        return
    shape = 1, channels_of(config.data), *size
    images = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    shared = SharedFeatures(module.classifier, images)
    for name, key in wanted.items():
        method = module.methods.get(name) or build_method(config, name)
        try:
            runs = _further_images(method, shared, images)
        except (ValueError, TypeError, RuntimeError) as error:
            raise UserError(
                f"{key}={name}: does not fit the classifier of model={config.model.name} with "
                f"backbone={config.backbone.name}: {first_sentence(error)}; choose {key}=gradcam."
            ) from None
        if key == _SEEDS and runs >= _DEAR:
            _tell_cost(name, runs)


def _wanted(config: DictConfig, stage: str) -> dict[str, str]:
    """Find the methods of a stage, each with the key that names it."""
    pictures = values(stage_config(config.model, stage).pictures)
    wanted = dict.fromkeys(pictures, f"{stage_key(stage)}.pictures")
    if not stage:
        wanted |= dict.fromkeys(method_names(config), "methods")
        if (seeds := config.model.get("pseudo_labels")) is not None:
            wanted[seeds] = _SEEDS
    known = config.attribution  # other checks refuse what is not there
    return {name: key for name, key in wanted.items() if name != NATIVE and name in known}


class _EnoughError(Exception):
    """End of a trial that has seen enough."""


def _further_images(method: PostHocMethod, shared: SharedFeatures, images: Tensor) -> int:
    """Count the images that a method sends through the backbone beside the one it explains."""
    network = shared.classifier
    with _counted(getattr(network, "backbone", network)) as seen:
        try:
            method(shared, images, torch.zeros(1, dtype=torch.int64))
        except _EnoughError:
            return sum(seen)
    return sum(seen)


@contextmanager
def _counted(network: nn.Module) -> Iterator[list[int]]:
    """Count the images of each pass of a network; stop when they are enough."""
    seen: list[int] = []

    def count(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if sum(seen) > _ENOUGH:
            raise _EnoughError
        seen.append(len(inputs[0]))

    handle = network.register_forward_pre_hook(count)
    try:
        yield seen
    finally:
        handle.remove()


def _tell_cost(name: str, runs: int) -> None:
    if rank_zero_only.rank == 0:
        number = f"more than {_ENOUGH}" if runs > _ENOUGH else str(runs)
        line = (
            f"pseudo-labels: {name} runs the classifier on {number} further images for each "
            "training image, in every epoch"
        )
        print(printable(line), file=sys.stderr)
