"""The configuration of a run that goes on."""

from __future__ import annotations

from collections.abc import Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from learned_saliency.pipeline.cli import UserError, config_groups
from learned_saliency.pipeline.runs import read_checkpoint

FREE_GROUPS = ("trainer", "logger")  # how a run is computed and watched may change, not what it is


def resumed_config(config: DictConfig, overrides: Sequence[str]) -> DictConfig:
    """The configuration that was saved with ``resume``'s checkpoint, with the given words applied.

    Args:
        config: What the command line composes to.
        overrides: The words of the command line.

    Returns:
        ``config`` itself where nothing is resumed.

    Raises:
        UserError: If a word would make it another run: another model, backbone, data set; or the
            checkpoint is an exported or converted one.
    """
    if not config.resume:
        return config
    checkpoint = read_checkpoint(config.resume)
    if "optimizer_states" not in checkpoint.content:
        raise UserError(f"resume={config.resume}: holds weights alone, no training to go on with.")
    saved = checkpoint.config
    for override in OverridesParser.create().parse_overrides(list(overrides)):
        name = override.key_or_group
        group = name in config_groups()
        if group and name not in FREE_GROUPS:
            if OmegaConf.to_container(saved[name], resolve=True) != OmegaConf.to_container(
                config[name], resolve=True
            ):
                raise UserError(
                    f"{override.input_line}: a resumed run keeps its own {name}; drop the word."
                )
            continue
        value = OmegaConf.select(config, name)
        OmegaConf.update(saved, name, value, merge=not group, force_add=True)
    saved.resume = config.resume
    return saved
