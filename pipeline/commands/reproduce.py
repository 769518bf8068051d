"""The command ``learned-saliency reproduce``."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from learned_saliency.pipeline.cli import (
    Command,
    Page,
    UserError,
    check_folder,
    list_places,
    listed,
)


def check(config: DictConfig) -> None:
    """Check that the runs are there, and that the output can be written."""
    for place in config.runs:
        if not Path(place).expanduser().exists():
            raise UserError(f"{place}: there is no such run, evaluation or folder of them.")
    if config.runs:
        check_folder("output_dir", config.output_dir)


def announce(config: DictConfig) -> str:
    """Say what is compared, and where it is written."""
    if not config.runs:
        return "listing the rows of the papers with the commands that train them"
    return f"comparing {listed(config.runs)} with the papers, into {config.output_dir}"


REPRODUCE = Command(
    name="reproduce",
    config_name="reproduce",
    job="comparison.reproduce",
    page=Page(
        about="Show the papers' figures beside those of runs; without runs, list the rows.",
        usage=(
            "RUN [RUN ...]",
            "outputs",
            "outputs all=true",
            "",
        ),
        more=(
            "A run has a row of the papers if its recorded configuration is that of the row's "
            "recipe; one that differs is shown as such, with the keys. Writes reproduce.html, .csv "
            "and .json; docs/reproduce.md tells what counts as a row."
        ),
    ),
    check=check,
    announce=announce,
    words=lambda arguments: list_places(arguments, "runs"),
    script=False,
)
