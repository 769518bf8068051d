"""The command ``learned-saliency guard``."""

from __future__ import annotations

import os
from collections.abc import Sequence

from omegaconf import DictConfig, OmegaConf

from learned_saliency.pipeline.cli import (
    Command,
    Page,
    UserError,
    check_complete,
    check_folder,
    hydra_words,
)

_KEYS = ("old", "new")


def guard_words(arguments: Sequence[str]) -> list[str]:
    """Write the words of the command line as Hydra wants them; bare ones are OLD and NEW."""
    keys, words = list(_KEYS), []
    for word in arguments:
        bare = not word.startswith(("-", "~", "+")) and ("=" not in word or os.path.exists(word))
        words.append(f"{keys.pop(0)}={word}" if bare and keys else word)
    return hydra_words(words)


def check(config: DictConfig) -> None:
    """Check that both evaluations are there, and that the report can be written."""
    if any(OmegaConf.is_missing(config, key) for key in _KEYS):
        raise UserError("name both: learned-saliency guard OLD NEW.")
    check_complete(config)
    for key in _KEYS:
        if not os.path.exists(os.path.expanduser(config[key])):
            raise UserError(f"{key}={config[key]}: there is no such run or evaluation.")
    check_folder("output_dir", config.output_dir)
    if config.junit is not None:
        if os.path.isdir(os.path.expanduser(config.junit)):
            raise UserError(f"junit={config.junit}: is a folder; name a file in it.")
        check_folder("junit", os.path.dirname(config.junit) or ".")


def announce(config: DictConfig) -> str:
    """Say what is going to be judged."""
    return f"judging {config.new} by {config.old}, into {config.output_dir}"


GUARD = Command(
    name="guard",
    config_name="guard",
    job="comparison.guard",
    page=Page(
        about="Fail if evidence moved off the objects from one network to another.",
        usage=(
            "OLD NEW",
            "OLD NEW tolerance=0.1 junit=guard.xml",
            "OLD NEW method=gradcam metric=energy_pointing_game per_class=false",
        ),
        more=(
            "OLD and NEW are runs or evaluations of two networks on the same images with boxes or "
            "masks. The exit code is 1 if the share of the maps' mass on the objects fell by more "
            "than is allowed, over all images or in a class, with 95 % confidence; 0 if it did "
            "not; 2 if the evaluations cannot be compared. The last line is one that GitHub "
            "Actions and Azure Pipelines show."
        ),
    ),
    check=check,
    announce=announce,
    words=guard_words,
    complete=False,
    script=False,
)
