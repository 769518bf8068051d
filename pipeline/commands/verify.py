"""The command ``learned-saliency verify``."""

from __future__ import annotations

from omegaconf import DictConfig

from learned_saliency.pipeline.cli import Command, Page, UserError, check_file, list_places, listed


def check(config: DictConfig) -> None:
    """Check that the files are there that are verified."""
    if not config.bundles:
        raise UserError("name the bundles to verify: learned-saliency verify OUT.zip.")
    for place in config.bundles:
        check_file("bundles", place)


def announce(config: DictConfig) -> str:
    """Say what is verified."""
    return f"recomputing {listed(config.bundles)}"


VERIFY = Command(
    name="verify",
    config_name="verify",
    job="comparison.verify",
    page=Page(
        about="Recompute the metrics of a bundle from its maps, without the network.",
        usage=("OUT.zip", "OUT.zip MORE.zip shown=100"),
        more=(
            "Bundles are what evaluate.py bundle=OUT.zip writes. The exit code is 0 if all agrees, "
            "1 if something is damaged or not as it is recomputed, 2 for what is no bundle."
        ),
    ),
    check=check,
    announce=announce,
    words=lambda arguments: list_places(arguments, "bundles"),
    script=False,
)
