"""Checks of an evaluation before its work: that parts fit each other, and each method works."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from omegaconf import DictConfig, OmegaConf

from learned_saliency.datamodules import WSOLDataModule
from learned_saliency.metrics import EXCLUSIVE, FLOORS, VALUES
from learned_saliency.pipeline.cli import UserError, has_network
from learned_saliency.pipeline.evaluation.studies import Study
from learned_saliency.pipeline.runs import (
    Explaining,
    Subject,
    check_measurements,
    has_function,
    method_names,
    try_methods,
)
from learned_saliency.trainers import NATIVE, TASKS, SaliencyModule

_OF_NETWORK = ("evaluate.faithfulness", "evaluate.explained", "evaluate.mask_color")


def check_asked(config: DictConfig, given: Collection[str]) -> None:
    """Check that something is asked for, and nothing that the rest cannot give.

    Args:
        config: The evaluation's configuration.
        given: Keys that a person gave a value.

    Raises:
        UserError: If not.
    """
    if config.studies_only and not config.studies:
        raise UserError("studies_only=true leaves nothing to do: name some, studies=[removal].")
    if has_function(config) and config.studies:
        raise UserError(
            f"studies=[{','.join(config.studies)}]: look at classes, but target={config.target} "
            "gives scores of its own; leave one of them out."
        )
    if has_network(config) or not config.maps:
        return
    remedy = "maps alone are scored here: give checkpoint=... or classifier=..., or leave it out"
    if names := method_names(config):
        raise UserError(f"methods={names[0]}: explains a network, but {remedy}.")
    for key in _OF_NETWORK:
        if key in given and OmegaConf.select(config, key) != []:
            raise UserError(f"{key}: watches a network's answers, but {remedy}.")
    if config.target is not None:
        raise UserError(f"target={config.target}: is a network's, but {remedy}.")
    if config.fold_batchnorm:
        raise UserError(f"fold_batchnorm=true: is a network's, but {remedy}.")


def check_unlearned(config: DictConfig, module: SaliencyModule, subject: Subject) -> None:
    """Check that no model is evaluated on boxes or masks that it was trained on.

    Args:
        config: The evaluation's configuration, whose ``data`` is complete.
        module: The module that explains.
        subject: The network.

    Raises:
        UserError: If ``split`` is the ``val`` of the data set that a supervised bound learned from.
    """
    learned = module.learned_share
    if learned is None or config.split != "val":
        return
    name = subject.checkpoint.config.data.name
    if config.data.name == name:
        raise UserError(
            f"split=val: {subject.checkpoint.path} has learned from boxes or masks of "
            f"{100 * learned.share:g} % of the val of data={name}, so that it cannot be tested "
            "there; leave it to split=test, or give another data set another data.name=..."
        )


def check_truth(module: SaliencyModule, data: WSOLDataModule) -> None:
    """Check that images are labeled with what the network tells of them, classes or values.

    Raises:
        UserError: If one of both has classes and the other values.
    """
    errors, valued = module.test_scores.errors, TASKS[data.task].need == VALUES
    if errors is not None and not valued:
        raise UserError(
            f"data.task={data.task}: the network tells values of an image, and data={data.name} "
            "has none; test it on images with values, data=wsol data.task=regression, or explain "
            "these by predict.py."
        )
    if errors is None and valued and module.has_scores and module.has_classes:
        raise UserError(
            f"data.task={data.task}: the images have values, and the network tells classes; name "
            "a network of values, or another data set."
        )


def check_studies(
    studies: Sequence[Study], module: SaliencyModule, data: WSOLDataModule, split: str
) -> None:
    """Check that module and data suit the studies.

    Raises:
        UserError: If they do not.
    """
    for study in studies:
        if study.needs_labels and not data.num_labeled(split):
            raise UserError(
                f"studies=[{study.name}]: compares with true classes, but no image of {split} has "
                "one that the network knows; leave the study out."
            )
        if study.needs_exclusive and TASKS[data.task].need != EXCLUSIVE:
            raise UserError(
                f"studies=[{study.name}]: takes it that an image has one class, which those of "
                f"data.task={data.task} need not; leave the study out."
            )
        if study.needs_truth and not (data.has_boxes(split) or data.has_masks(split)):
            raise UserError(
                f"studies=[{study.name}]: compares with boxes or masks, and {split} has neither; "
                "leave the study out."
            )
        if study.needs_network and not module.methods and module.native is None:
            raise UserError(
                f"studies=[{study.name}]: explains images itself, which finished maps cannot; name "
                "a network and methods, methods=[gradcam], or leave the study out."
            )
        study.check_module(module)
        study.check_data(data)


def check_names(maps: Collection[str], methods: Collection[str], studies: Sequence[Study]) -> None:
    """Check that finished maps have no name that another row of the table has.

    Args:
        maps: Names of the finished maps.
        methods: Names of the post-hoc methods.
        studies: The chosen studies, some of which have rows of their own.

    Raises:
        UserError: If they have.
    """
    taken = {NATIVE: "a checkpoint's own map"} | dict.fromkeys(methods, "a method")
    taken |= dict.fromkeys(FLOORS, "a floor of the table")
    for study in studies:
        taken |= dict.fromkeys(study.rows, f"a row of studies=[{study.name}]")
    for name in maps:
        if name in taken:
            raise UserError(f"maps.{name}: is the name of {taken[name]}; name the maps otherwise.")


def check_figures(
    module: SaliencyModule, data: WSOLDataModule, split: str, names: Sequence[str]
) -> None:
    """Check that split and methods have what the faithfulness metrics need.

    Raises:
        UserError: If a metric needs classes, boxes or masks that there are not, or explains altered
            images where there are finished maps alone.
    """
    if names and not module.has_classes:
        raise UserError(
            f"evaluate.faithfulness: {names[0]} watches the probability of a class, and there are "
            "no classes; give evaluate.faithfulness=[]."
        )
    supervision = data.supervision(split)
    available = {need for need in ("boxes", "masks") if supervision[need]}
    finished = not module.methods and module.native is None
    check_measurements(names, available | (set() if finished else {"method"}))


def try_on_one_image(
    module: SaliencyModule, data: WSOLDataModule, split: str, known: Collection[str] = ()
) -> None:
    """Run every method that is not known yet on the first image of a split; see `try_methods`.

    Raises:
        UserError: If the data set has more classes than the classifier, or a method does not fit.
    """
    if not module.has_scores:
        return
    batch = data.dataloader(split).dataset.__getitems__([0])
    tried = [name for name in module.methods if name not in known]
    classes = try_methods(module, batch["image"], tried, what="data")
    if not module.has_classes and module.explained == "predicted":
        return  # labels are of other things than the scores
    if data.num_classes > classes and not module.has_classes:
        raise UserError(
            f"target: gives {classes} scores, but {data.metadata} has labels of {data.num_classes} "
            "classes; evaluate.explained=predicted explains the largest score, whatever the label."
        )
    if data.num_classes > classes:
        raise UserError(
            f"{data.metadata}: has labels of {data.num_classes} classes, but the classifier knows "
            f"{classes}."
        )


def try_explaining(
    options: Explaining, module: SaliencyModule, data: WSOLDataModule, split: str
) -> None:
    """Check on the first two images of a split that BatchNorm can be folded, if it shall be.

    Raises:
        UserError: If it cannot.
    """
    if options.fold_batchnorm and module.has_scores:
        dataset = data.dataloader(split).dataset
        places = list(range(min(2, len(dataset))))
        options.check(module, dataset.__getitems__(places)["image"])
