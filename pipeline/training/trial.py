"""Trial of all parts of a training, untrained and on one image, before the first batch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf

from learned_saliency.pipeline.cli import (
    UserError,
    first_sentence,
    origin_of,
)
from learned_saliency.pipeline.runs import (
    CLASSIFIER,
    FIRST_STAGE,
    build_module,
    build_network,
    stage_config,
    without_pretraining,
)
from learned_saliency.pipeline.training.checks import stage_key
from learned_saliency.trainers import SaliencyModule


def try_to_build(
    config: DictConfig, num_classes: int, evaluation: dict[str, Any]
) -> dict[str, SaliencyModule]:
    """Build every stage once, untrained and on no device, with its optimizers.

    A misfit shows now, also in a stage that is trained hours later.

    Returns:
        The modules by stage, to be asked what they declare.
    """
    plain = without_pretraining(config.model)
    modules = {}
    for stage in [CLASSIFIER, ""] if FIRST_STAGE in plain else [""]:
        model = stage_config(plain, stage)
        key = stage_key(stage)
        with _naming(key, f".network{_origins(config, f'{key}.network')}"):
            network = build_network(model, num_classes)
        with _naming(key, ".module"):
            module = build_module(model, network, **({} if stage else evaluation))
        with _naming(key, ".module (optimizer, scheduler)"):
            found = module.configure_optimizers()
            for part in found if isinstance(found, list) else [found]:
                part["optimizer"].step()
                if "lr_scheduler" in part:
                    part["lr_scheduler"].step()
        _try_on_one_image(module, config)
        modules[stage] = module
    return modules


def _try_on_one_image(module: SaliencyModule, config: DictConfig) -> None:
    """Explain one image of the configured size.

    Raises:
        UserError: If the network does not take it, or leaves no map of several cells.
    """
    size = config.data.crop_size
    image = torch.zeros(1, 3, size, size)
    try:
        with torch.no_grad():
            found = module.eval().explain(image, torch.zeros(1, dtype=torch.int64))
    except Exception as error:  # a network of timm may raise anything
        raise UserError(
            f"data.crop_size={size}: backbone={config.backbone.name} does not take images of this "
            f"size: {first_sentence(error)}; choose another size, or another backbone."
        ) from None
    if found.features.shape[-2:].numel() < 2:
        raise UserError(
            f"data.crop_size={size}: the map of backbone={config.backbone.name} has one cell at "
            "this size, so that it shows nothing; give larger images."
        )


def _origins(config: DictConfig, key: str) -> str:
    """List in brackets the keys of the recipe that a part's options are taken from."""
    origins = [origin_of(config, f"{key}.{name}") for name in OmegaConf.select(config, key)]
    given = ", ".join(origin for origin in origins if not origin.startswith(("model.", "backbone")))
    return f" ({given})" if given else ""


@contextmanager
def _naming(key: str, part: str) -> Iterator[None]:
    """Name the part of a stage's configuration that an error is about."""
    try:
        yield
    except InstantiationException as error:
        below = str(error).partition("full_key: ")[2].strip()
        full = f"model.{below}" if below else f"{key}{part}"
        raise UserError(f"{full}: {first_sentence(error.__cause__ or error)}.") from None
    except (ValueError, TypeError, RuntimeError, ArithmeticError) as error:
        raise UserError(f"{key}{part}: {first_sentence(error)}.") from None
