"""The command ``train.py``."""

from __future__ import annotations

from omegaconf import DictConfig

from learned_saliency.pipeline.cli import (
    LIBRARY_WEIGHTS,
    Command,
    Page,
    UserError,
    check_data,
    check_file,
    check_folder,
    find_checkpoint,
    find_resume_point,
    is_network,
)


def check(config: DictConfig) -> None:
    """Check that the checkpoints and the data set are there that a configuration names."""
    if config.resume is not None:
        find_resume_point(config.resume)
        return  # the data set is that of the run
    check_folder("output_dir", config.output_dir)
    steps = config.recipe.get("epoch_steps")
    if steps is not None and config.model.get("epoch_steps") is None:
        raise UserError(
            f"recipe.epoch_steps={steps}: the epochs of model={config.model.name} are those of a "
            f"classifier; give recipe.classifier_epoch_steps={steps}."
        )
    classifier = config.classifier
    if classifier is not None:
        if not is_network(str(classifier)):
            find_checkpoint(classifier, "best.ckpt")
        elif config.weights not in (None, LIBRARY_WEIGHTS):
            check_file("weights", config.weights)
    check_data(config.data)


def announce(config: DictConfig) -> str:
    """Say what is going to be trained, on what, how long, and where it is written."""
    if config.resume is not None:
        return f"going on with the training of {config.resume}"
    model = config.model
    first = model.get("first_stage")
    if config.trainer.get("fast_dev_run"):
        return f"trying a training of {model.name} on {config.data.name}, into {config.output_dir}"
    epochs = f"{model.epochs} {'epoch' if model.epochs == 1 else 'epochs'}"
    if config.classifier is not None:
        epochs += f" on the classifier of {config.classifier}"
    elif first is not None and first.epochs:
        epochs += f" after {first.epochs} of its classifier"
    given = config.classifier is not None and is_network(str(config.classifier))
    backbone = "" if given else f" with backbone {config.backbone.name}"
    return (
        f"training {model.name}{backbone} on {config.data.name}, {epochs}, into {config.output_dir}"
    )


TRAIN = Command(
    name="train",
    config_name="config",
    job="training",
    page=Page(
        about="Train a saliency model, test it, and write its run: checkpoints, curves, results.",
        usage=(
            "model=fcam backbone=resnet50 data=cub data.root=CUB_200_2011",
            "data=wsol data.root=IMAGES data.metadata=METADATA",
            "experiment=fcam_cub_resnet50 data.root=CUB_200_2011",
            "classifier=timm:NAME weights=FILE layer=LAYER data=folder data.root=photos",
            "resume=RUN",
        ),
    ),
    check=check,
    announce=announce,
)
