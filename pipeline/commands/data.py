"""The command ``learned-saliency data``."""

from __future__ import annotations

from collections.abc import Sequence

from omegaconf import DictConfig

from learned_saliency.pipeline.cli import (
    Command,
    Page,
    check_class_names,
    check_data,
    check_folder,
    hydra_words,
)


def data_words(arguments: Sequence[str]) -> list[str]:
    """Write the words of the command line as Hydra wants them; the first may name the data set."""
    first, *rest = arguments or [""]
    if first and "=" not in first and not first.startswith(("-", "~")):
        arguments = [f"data={first}", *rest]
    return hydra_words(arguments)


def check_described(data: DictConfig) -> None:
    """Check that a data set can be looked for; a reader knows where it is obtained."""
    (check_data if data.reader is None else check_class_names)(data)


def check(config: DictConfig) -> None:
    """Check that the data set can be looked for, and the folder of the report be written."""
    check_folder("output_dir", config.output_dir)
    check_described(config.data)


def announce(config: DictConfig) -> str:
    """Say which data set is going to be checked, and where the report is written."""
    return f"checking {config.data.name} in {config.data.root}, into {config.output_dir}"


DATA = Command(
    name="data",
    config_name="doctor",
    job="data",
    page=Page(
        about="Check a data set: what is missing, broken, doubled or impossible in it.",
        usage=(
            "cub data.root=CUB_200_2011",
            "wsol data.root=IMAGES data.metadata=METADATA full_decode=true",
        ),
        more=(
            "Says what is missing and where it is obtained, writes the metadata, prints the counts "
            "of each split beside the published ones, and names every fault by file and line. The "
            "exit code is 2 where a fault would stop a training or falsify its figures."
        ),
    ),
    check=check,
    announce=announce,
    words=data_words,
    script=False,
)
