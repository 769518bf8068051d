"""Trial of all parts of a training, untrained and on one image, before the first batch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf
from torch import nn

from learned_saliency.datamodules import COLORS, Size
from learned_saliency.models import Trunk
from learned_saliency.pipeline.cli import (
    UserError,
    first_sentence,
    origin_of,
)
from learned_saliency.pipeline.runs import (
    build_module,
    build_network,
    channels_of,
    given_part,
    stage_config,
    trained_stages,
    without_pretraining,
)
from learned_saliency.pipeline.training.checks import stage_key
from learned_saliency.pipeline.training.method_trial import try_methods
from learned_saliency.trainers import SaliencyModule


def try_to_build(
    config: DictConfig,
    num_classes: int,
    evaluation: dict[str, Any],
    given: nn.Module | None = None,
) -> dict[str, SaliencyModule]:
    """Build every stage once, untrained and on no device, with its optimizers.

    A misfit shows now, also in a stage that is trained hours later.

    Args:
        config: The configuration.
        num_classes: Number of classes of the data set.
        evaluation: See `Plan`.
        given: Network from outside that stays as it is, on which the model is built.

    Returns:
        The modules by stage, to be asked what they declare.
    """
    plain = without_pretraining(config.model)
    modules = {}
    for stage in trained_stages(plain):
        model = stage_config(plain, stage)
        key = stage_key(stage)
        with naming_part(key, f".network{_origins(config, f'{key}.network')}"):
            network = build_network(model, num_classes, given)
        with naming_part(key, ".module"):
            module = build_module(model, network, **({} if stage else evaluation))
        with naming_part(key, ".module (optimizer, scheduler)"):
            found = module.configure_optimizers()
            for part in found if isinstance(found, list) else [found]:
                part["optimizer"].step()
                if "lr_scheduler" in part:
                    part["lr_scheduler"].step()
        _try_on_one_image(module, config)
        if given is None:  # on which the methods were tried when it was built
            _check_positions(module, config)
            try_methods(config, stage, module)
        modules[stage] = module
    return modules


def _try_on_one_image(module: SaliencyModule, config: DictConfig) -> None:
    """Explain one image of the configured size.

    Raises:
        UserError: If the network does not take it, or leaves no map of several cells.
    """
    size, given = Size.of(config.data.crop_size), given_part(config.model)
    name = f"backbone={config.backbone.name}"
    if given is not None:
        name = f"classifier={given['classifier']} at layer={given['levels']['layer']}"
    channels = channels_of(config.data)
    image = torch.zeros(1, channels, *size)
    try:
        with torch.no_grad():
            found = module.eval().explain(image, torch.zeros(1, dtype=torch.int64))
    except Exception as error:  # a network of timm may raise anything
        raise UserError(
            f"data.crop_size={size}: {name} does not take images of this size"
            f"{'' if channels == COLORS else f' and {channels} channels'}: "
            f"{first_sentence(error)}; choose another size, or another network."
        ) from None
    if found.features.shape[-2:].numel() < 2:
        raise UserError(
            f"data.crop_size={size}: the map of {name} has one cell at this size, so that it shows "
            "nothing; give larger images."
        )


def _check_positions(module: SaliencyModule, config: DictConfig) -> None:
    """Check that a network of patches has positions for images of whole patches.

    Raises:
        UserError: If it has not: timm leaves the rest of such images out without a word.
    """
    backbone, size = module.classifier.backbone, config.backbone.get("img_size")
    if size is None or not isinstance(backbone, Trunk) or backbone.patch is None:
        return
    patch, size = backbone.patch, Size.of(size)
    if size.height % patch or size.width % patch:
        raise UserError(
            f"backbone.img_size={size}: {size.height} x {size.width} pixels do not divide into "
            f"patches of {patch} x {patch} pixels; leave it out, or give multiples of {patch}."
        )


def _origins(config: DictConfig, key: str) -> str:
    """List in brackets the keys of the recipe that a part's options are taken from."""
    origins = [origin_of(config, f"{key}.{name}") for name in OmegaConf.select(config, key)]
    given = ", ".join(origin for origin in origins if not origin.startswith(("model.", "backbone")))
    return f" ({given})" if given else ""


@contextmanager
def naming_part(key: str, part: str) -> Iterator[None]:
    """Name the part of a stage's configuration that an error is about.

    Raises:
        UserError: If the part refuses its options, or lacks weights.
    """
    try:
        yield
    except InstantiationException as error:
        below = str(error).partition("full_key: ")[2].strip()
        full = f"model.{below}" if below else f"{key}{part}"
        raise UserError(f"{full}: {first_sentence(error.__cause__ or error)}.") from None
    except (ValueError, TypeError, RuntimeError, ArithmeticError) as error:
        raise UserError(f"{key}{part}: {first_sentence(error)}.") from None
