"""The command ``learned-saliency compare``."""

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
    """Check that the folders are there that are compared, and that the output can be written."""
    if not config.runs:
        raise UserError("name the runs or evaluations to compare: learned-saliency compare A B.")
    for place in config.runs:
        if not Path(place).expanduser().exists():
            raise UserError(f"{place}: there is no such run or evaluation.")
    check_folder("output_dir", config.output_dir)


def announce(config: DictConfig) -> str:
    """Say what is compared, and where it is written."""
    return f"comparing {listed(config.runs)}, into {config.output_dir}"


COMPARE = Command(
    name="compare",
    config_name="compare",
    job="comparison.compare",
    page=Page(
        about="Compare runs, evaluations and sweeps: metrics, paired differences, images.",
        usage=(
            "RUN_A RUN_B",
            "SWEEP metrics=[max_box_acc_v2,pxap]",
            "EVALUATION methods=[gradcam,liftcam]",
        ),
        more=(
            "Each metric has an interval over images, its difference to the first run one that "
            "pairs the images; of a sweep there are intervals over seeds, too. Writes compare.html "
            "and tables as .csv, .json, .md and .tex; docs/compare.md tells the intervals apart."
        ),
    ),
    check=check,
    announce=announce,
    words=lambda arguments: list_places(arguments, "runs"),
    script=False,
)
