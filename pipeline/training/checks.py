"""Checks of a training across several keys, and of its data set."""

from __future__ import annotations

from collections.abc import Sequence

from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf
from torch import nn

from learned_saliency.datamodules import WSOLDataModule
from learned_saliency.models import MultiScaleClassifier
from learned_saliency.pipeline.cli import (
    UserError,
    check_folder,
    nearest,
    values,
)
from learned_saliency.pipeline.runs import (
    CLASSIFIER,
    FIRST_STAGE,
    Checkpoint,
    foreign_parts,
    given_part,
    has_function,
    method_members,
    stage_config,
    trained_stages,
)
from learned_saliency.pipeline.training.keeping import BATCH, read_position
from learned_saliency.pipeline.training.selection import (
    check_criteria,
    check_monitors,
    ground_truth,
)
from learned_saliency.trainers import NATIVE, SaliencyModule, unkept


def check_parts(config: DictConfig) -> None:
    """Check that a checkpoint of the run could be read back."""
    resolved = OmegaConf.create(OmegaConf.to_container(config, resolve=True))
    for key in ("output_dir", "data.root", "data.metadata", "data.mask_root"):
        if "${" in str(OmegaConf.select(resolved, key)):
            raise UserError(f"{key}: a checkpoint cannot hold a path with '${{'; choose another.")
    for key, target in foreign_parts(resolved):
        raise UserError(
            f"{key}={target}: is neither a part of this project nor an optimizer of torch, so that "
            "no checkpoint of the run could be read back; put it into the project's folders."
        )


def check_pseudo_labels(config: DictConfig) -> None:
    """Check that pseudo-labels come from a method that a checkpoint holds with all its options."""
    name = config.model.get("pseudo_labels")
    members = method_members(config, name) if name in config.attribution else []
    if members:
        raise UserError(
            f"model.pseudo_labels={name}: averages the maps of other methods, which pseudo-labels "
            f"are not drawn from; name one of them: {', '.join(members)}."
        )


def check_precision(trainer: DictConfig) -> None:
    """Check that the precision is one that losses and validation are computed in."""
    if trainer.precision == "64-true":
        raise UserError(
            "trainer.precision=64-true: is for predict.py alone; train by 32-true or bf16-mixed."
        )


def check_target(config: DictConfig) -> None:
    """Check that the post-hoc methods of the test explain classes.

    Raises:
        UserError: If ``target`` names a function.
    """
    if has_function(config):
        raise UserError(
            f"target={config.target}: a training tests maps of its classes; scores of a function "
            "are explained afterwards, by evaluate.py with classifier=RUN."
        )


def check_task(config: DictConfig) -> None:
    """Check that the model and what it is built on are defined for the data set's task."""
    task = config.data.get("task", "multiclass")  # runs of before have no such key
    for stage in trained_stages(config.model):
        model = stage_config(config.model, stage)
        module = get_class(model.module._target_)
        if task not in module.tasks:
            alone = f"is defined for {', '.join(sorted(module.tasks))} alone"
            raise UserError(
                f"data.task={task}: model={model.name} {module.refusals.get(task, alone)}; "
                "model=cam and model=fcam take it."
            )


def check_clipping(config: DictConfig) -> None:
    """Check that the trainer does not clip gradients of a model that steps by itself."""
    limit = config.trainer.get("gradient_clip_val")
    if limit is not None and "gradient_clip" in config.model.module:
        raise UserError(
            f"trainer.gradient_clip_val={limit}: model={config.model.name} clips by itself; "
            "set model.module.gradient_clip."
        )


def check_feature_cache(config: DictConfig) -> None:
    """Check that features can be kept where ``feature_cache`` says, and that images stay alike."""
    folder = config.get("feature_cache")  # runs of before have no such key
    if folder is None:
        return
    check_folder("feature_cache", folder)
    if config.data.get("augment", True):
        raise UserError(
            f"feature_cache={folder}: keeps features of images that stay alike, but training "
            "images are cropped and flipped anew in every epoch; set data.augment=false."
        )


def check_frozen(config: DictConfig, modules: Sequence[SaliencyModule]) -> None:
    """Check that ``feature_cache`` is given only where a stage has features that can be kept.

    Args:
        config: The configuration.
        modules: The modules of all stages.
    """
    reasons = [unkept(module) for module in modules]
    if config.get("feature_cache") is None or not all(reasons):
        return
    if (given := given_part(config.model)) is not None:
        raise UserError(
            f"feature_cache={config.feature_cache}: classifier={given['classifier']} reads more "
            "than its levels after the layer, so that these alone give no logits; leave it out."
        )
    remedy = "leave the key out"
    if not modules[-1].alters_images:
        freeze = (
            "freeze the trunk by backbone.frozen=true, cut a given network at another layer=..."
        )
        remedy = f"{freeze}, or {remedy}"
    raise UserError(
        f"feature_cache={config.feature_cache}: no features of model={config.model.name} can be "
        f"kept: {reasons[-1]}; {remedy}."
    )


def stage_key(stage: str) -> str:
    """Return the key of a stage's configuration."""
    return f"model.{FIRST_STAGE}" if stage else "model"


def check_contract(config: DictConfig, given: Checkpoint, network: nn.Module) -> None:
    """Check that a network is a classifier on which other networks can be built."""
    if isinstance(network, MultiScaleClassifier):
        return
    own = given.run_folder / "checkpoints" / CLASSIFIER / "best.ckpt"
    remedy = f"; its own classifier is classifier={own}" if own.is_file() else ""
    raise UserError(
        f"classifier={given.path}: holds a '{given.model.name}' model, which is no classifier that "
        f"model={config.model.name} can be built on{remedy}."
    )


def check_classes(checkpoint: Checkpoint, data: WSOLDataModule) -> None:
    """Check that a checkpoint has as many classes as the data set."""
    if checkpoint.num_classes != data.num_classes:
        raise UserError(
            f"{checkpoint.path}: was trained on {checkpoint.num_classes} classes, but the data set "
            f"has {data.num_classes}; data.known_classes=FILE with the names of the former "
            "translates labels to them by name."
        )


def check_images(checkpoint: Checkpoint, data: WSOLDataModule) -> None:
    """Check that the training images are those of the run that goes on."""
    kept = checkpoint.content.get(type(data).__qualname__)
    if isinstance(kept, dict) and kept != data.state_dict():
        raise UserError(
            f"{checkpoint.path}: the training images in {data.root} are others than when the run "
            "began; restore the folder, or start a new run."
        )


def check_accumulation(checkpoint: Checkpoint, trainer: DictConfig) -> None:
    """Check that a training goes on within an epoch with as many batches in a step.

    Args:
        checkpoint: The checkpoint to go on from.
        trainer: Arguments of the trainer.
    """
    position, key = read_position(checkpoint), "accumulate_grad_batches"
    before, wanted = checkpoint.config.trainer.get(key, 1), trainer.get(key, 1)
    if position is None or position.within != BATCH or before == wanted:
        return
    raise UserError(
        f"trainer.{key}={wanted}: {checkpoint.path} lies within an epoch whose steps have {before} "
        f"batches each; go on with trainer.{key}={before} up to its end."
    )


def check_splits(config: DictConfig, data: WSOLDataModule, stages: Sequence[str]) -> None:
    """Check that the splits are there, and that ``val`` has what chooses the stages' checkpoints.

    Args:
        config: The configuration.
        data: The data module, set up.
        stages: Stages to train.
    """
    if config.test and not data.has_split("test"):
        raise UserError(
            f"{data.metadata}: has no folder `test`, by which the run is tested at its end; add "
            "it, or leave the test out by test=false."
        )
    _check_pictures(config)
    check_criteria(values(config.zerobox.also))
    asked = {f"{stage_key(s)}.monitor": str(stage_config(config.model, s).monitor) for s in stages}
    check_monitors(asked, ground_truth(data))


def check_labeled(config: DictConfig, data: WSOLDataModule, stages: Sequence[str]) -> None:
    """Check that all training images have a label, where a stage learns from labels.

    Args:
        config: The configuration.
        data: The data module, set up.
        stages: Stages to train that need labels, see `SaliencyModule.needs_labels`.
    """
    images = int(data.supervision("train")["images"])
    unlabeled = images - data.num_labeled("train")
    if not stages or not unlabeled:
        return
    learns = f"model={config.model.name} learns from labels"
    remedy = "choose model=fcam, or model=casm model.thinning=F, with a trained classifier=RUN"
    if list(stages) == [CLASSIFIER]:
        learns = f"the classifier of model={config.model.name} learns from labels"
        remedy = "name a trained one by classifier=RUN or classifier=torchvision:NAME"
    source = data.metadata / "train" / "class_labels.txt"
    raise UserError(
        f"{source}: {unlabeled} of {images} training images have no known label (-1), but "
        f"{learns}; label them, or {remedy}."
    )


def _check_pictures(config: DictConfig) -> None:
    """Check that the methods in the pictures of every epoch exist."""
    known = [NATIVE, *config.attribution]
    for stage in trained_stages(config.model):
        for name in values(stage_config(config.model, stage).pictures):
            if name not in known:
                close, there = nearest(name, known), ", ".join(known)
                raise UserError(
                    f"{stage_key(stage)}.pictures: no method is named '{name}'{close}; there are: "
                    f"{there}."
                )
