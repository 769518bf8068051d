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
    check_new_file,
    check_subject,
    has_network,
    hydra_words,
    listed,
    values,
)


def evaluation_words(arguments: Sequence[str]) -> list[str]:
    """Write the words of evaluate.py's command line as Hydra wants them.

    ``data.root`` does not exist where the data set is the checkpoint's, and ``maps`` is a group of
    which any name may be given: a single folder gets the name ``maps``. Beside finished maps no
    methods are tested unless some are named.
    """
    keys = {word.partition("=")[0].lstrip("+") for word in arguments if "=" in word}
    words = [_named(word) for word in arguments]
    if any(key.partition(".")[0] == "maps" for key in keys):
        words += ["methods=[]"] if "methods" not in keys else []
    data_chosen = "data" in keys
    return [
        f"+{word}" if word.startswith("data.") and not data_chosen else word
        for word in hydra_words(words)
    ]


def _named(word: str) -> str:
    """Name the maps of a word ``maps=FOLDER``; other words stay as they are."""
    key, equals, value = word.partition("=")
    if not equals or key.partition(".")[0] != "maps" or value in ("", "null"):
        return word
    if key == "maps" and not value.startswith("{"):
        key = "maps.maps"
    return f"++{key}={value}"


def check(config: DictConfig) -> None:
    """Check that the network and the data set are there that a configuration names."""
    if has_network(config) or not config.maps:
        check_subject(config, "evaluate.py")
    check_folder("output_dir", config.output_dir)
    if config.bundle is not None:
        check_new_file("bundle", config.bundle, ".zip")
    data = config.get("data") or {}
    check_class_names(data)
    if "_target_" in data:  # else the data set is the checkpoint's
        check_complete(config)
        check_data(config.data)


def announce(config: DictConfig) -> str:
    """Say which maps of which network are going to be tested, and where it is written."""
    names = values(config.methods)
    names += [f"maps of {name} in {place}" for name, place in config.maps.items()]
    what = listed(config.studies) if config.studies_only else listed(names or ["native"])
    network = config.checkpoint or config.classifier
    of = "" if network is None else f" of {network}"
    return f"testing {what}{of} on split {config.split}, into {config.output_dir}"


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
            "maps=FOLDER data=folder data.root=photos",
        ),
    ),
    check=check,
    announce=announce,
    words=evaluation_words,
    complete=False,
)
