"""The command ``learned-saliency search``."""

from __future__ import annotations

from omegaconf import DictConfig

from learned_saliency.pipeline.cli import Command, Page, UserError, check_trials, read_trials
from learned_saliency.pipeline.commands.train import check as check_training


def check(config: DictConfig) -> None:
    """Check the values to try, and the files that a training names."""
    if config.resume is not None:
        raise UserError(
            f"resume={config.resume}: a search goes on by the same words with output_dir=SEARCH."
        )
    if config.test:
        raise UserError(
            "test=true: a search never looks at the test split; test the chosen run when it has "
            "ended."
        )
    trainer = config.trainer
    if trainer.devices not in (1, [0], "1") or trainer.get("num_nodes", 1) != 1:
        raise UserError(
            f"trainer.devices={trainer.devices}: each run of a search has one process; give "
            "trainer.devices=1."
        )
    check_trials(config)
    check_training(config)


def announce(config: DictConfig) -> str:
    """Say which values of which key are going to be tried, by what, and where it is written."""
    key, values = read_trials(config)
    count = "1 value" if len(values) == 1 else f"{len(values)} values"
    return (
        f"trying {count} of {key} for {config.model.name} on {config.data.name}, into "
        f"{config.output_dir}"
    )


SEARCH = Command(
    name="search",
    config_name="search",
    job="search",
    page=Page(
        about="Train runs with different values of one key, and choose the value on `val`.",
        usage=(
            "search=lr model=cam data=cub data.root=CUB_200_2011",
            "search=background_share data=folder data.root=photos",
            "search=lambda model=casm data.root=SET",
            "search.key=recipe.erosion search.values=[0,5,11]",
            "search=lr hydra/launcher=submitit_slurm hydra.launcher.timeout_min=600",
        ),
        more=(
            "Ends in a table, search.csv and search.json, and the words that train with the "
            "chosen value. A run that diverges is a row of the table. The same words with "
            "output_dir=SEARCH go on where a search was interrupted."
        ),
    ),
    check=check,
    announce=announce,
    script=False,
)
