"""The command ``evaluate.py``."""

from __future__ import annotations

from collections.abc import Sequence

from omegaconf import DictConfig

from learned_saliency.pipeline.cli import (
    Command,
    Page,
    check_class_names,
    check_complete,
    check_data,
    check_folder,
    check_subject,
    hydra_words,
    listed,
)


def evaluation_words(arguments: Sequence[str]) -> list[str]:
    """Write the words of evaluate.py's command line as Hydra wants them.

    ``data.root`` does not exist where the data set is the checkpoint's.
    """
    data_chosen = any(word.startswith("data=") for word in arguments)
    words = []
    for word in hydra_words(arguments):
        if word.startswith("data.") and not data_chosen:
            word = f"+{word}"
        words.append(word)
    return words


def check(config: DictConfig) -> None:
    """Check that the network and the data set are there that a configuration names."""
    check_subject(config, "evaluate.py")
    check_folder("output_dir", config.output_dir)
    data = config.get("data") or {}
    check_class_names(data)
    if "_target_" in data:  # else the data set is the checkpoint's
        check_complete(config)
        check_data(config.data)


def announce(config: DictConfig) -> str:
    """Say which maps of which network are going to be tested, and where it is written."""
    network = config.checkpoint or config.classifier
    what = listed(config.studies) if config.studies_only else listed(config.methods)
    return f"testing {what} of {network} on split {config.split}, into {config.output_dir}"


EVALUATE = Command(
    name="evaluate",
    config_name="evaluate",
    job="evaluation",
    page=Page(
        about="Test the maps of a trained model or of any classifier, all methods in one table.",
        usage=(
            "checkpoint=RUN 'methods=[native,opticam,liftcam,gradcam]'",
            "checkpoint=RUN data=wsol data.root=IMAGES data.metadata=METADATA",
            "checkpoint=RUN 'studies=[cues,removal]'",
            "classifier=timm:resnet50 weights=FILE layer=layer4 data=wsol ...",
        ),
    ),
    check=check,
    announce=announce,
    words=evaluation_words,
    complete=False,
)
