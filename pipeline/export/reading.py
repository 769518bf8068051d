"""Readers of what ``configs/export.yaml`` names: a trained model, or a classifier with a method."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from learned_saliency.attribution import Classifier, PostHocMethod
from learned_saliency.datamodules import Size, read_name_list
from learned_saliency.pipeline.cli import UserError, nearest
from learned_saliency.pipeline.export.explained import ExplainedClassifier
from learned_saliency.pipeline.export.source import ExportSource
from learned_saliency.pipeline.runs import (
    Checkpoint,
    build_classifier,
    build_methods,
    checkpoint_facts,
    foreign_input,
    foreign_names,
    has_function,
    load_module,
    package_versions,
    read_subject,
    target_record,
    target_word,
)
from learned_saliency.trainers import NATIVE, SaliencyModule

_OF_FILES = ("channels", "array_axes")
_DEFAULT = "gradcam"  # method of a classifier, as in predict.py


def read_source(config: DictConfig, has_graph: bool) -> ExportSource:
    """Load the model that ``configs/export.yaml`` names.

    Args:
        config: The composed configuration.
        has_graph: Whether the computation is exported, not only weights.

    Raises:
        UserError: If the checkpoint or the network does not load, its computation cannot be
            exported, or ``maps`` does not suit it.
    """
    subject = read_subject(config, "export.py")
    if subject.native and config.method in (None, NATIVE):
        if config.target is not None:
            raise UserError(
                f"target={config.target}: is what a post-hoc method explains, name one: method=..."
            )
        return _of_model(config, subject.checkpoint, has_graph)
    if not has_graph:
        given = f"classifier={config.classifier}" if config.method is None else "method"
        raise UserError(
            f"format={config.format}: holds the weights of a trained map; {given} needs a format "
            "with a graph."
        )
    _check_method(config)
    if subject.checkpoint is None:
        return _of_foreign(config)
    return _of_classifier(config, subject.checkpoint)


def _of_model(config: DictConfig, checkpoint: Checkpoint, has_graph: bool) -> ExportSource:
    """Read a trained model with its own map."""
    module = load_module(checkpoint).eval()
    if has_graph and module.export_obstacle is not None:
        raise UserError(f"format={config.format}: {module.export_obstacle}.")
    maps = _maps(config, checkpoint, module, has_graph)
    facts = checkpoint_facts(checkpoint) | {"stage": checkpoint.stage}
    return _source(config, checkpoint, module, maps, checkpoint.model.name, facts)


def _of_classifier(config: DictConfig, checkpoint: Checkpoint) -> ExportSource:
    """Read the classifier of a trained model, with a post-hoc method."""
    data = checkpoint.config.data
    classifier = load_module(checkpoint).classifier
    module = _explained(config, classifier, data, data)
    module.try_on(_noise(Size.of(data.crop_size), len(module.mean)))
    facts = checkpoint_facts(checkpoint) | {
        "stage": checkpoint.stage,
        "model": checkpoint.model.name,
    }
    name = f"{checkpoint.model.name}-{_map_name(config)}"
    facts |= _method_facts(config, module.methods)
    return _source(config, checkpoint, module, config.maps or "label", name, facts)


def _source(
    config: DictConfig,
    checkpoint: Checkpoint,
    module: SaliencyModule,
    maps: str | None,
    name: str,
    facts: dict[str, Any],
) -> ExportSource:
    """Collect what a checkpoint brings."""
    if config.box_threshold is not None:
        facts["box_threshold"] = float(config.box_threshold)
    return ExportSource(
        module=module,
        maps=maps,
        name=_file_name(name, maps),
        folder=checkpoint.run_folder / "export",
        data=checkpoint.config.data,
        class_names=checkpoint.class_names,
        facts=facts,
    )


def _of_foreign(config: DictConfig) -> ExportSource:
    """Read a network from outside this project, with a post-hoc method."""
    given = foreign_input(config)
    names = None
    if config.class_names is not None:
        names = read_name_list(Path(config.class_names).expanduser())
    module = _explained(config, build_classifier(config), given, {"class_names": names})
    size, maps = Size.of(given["size"]), config.maps or "label"
    names = foreign_names(config, names, module.try_on(_noise(size, len(module.mean))))
    threshold = module.box_threshold if config.box_threshold is None else config.box_threshold
    facts = {
        **_method_facts(config, module.methods),
        "backbone": config.classifier,
        "data": None,
        "metrics": {},
        **{key: config[key] for key in ("classifier", "weights", "layer")},
        "layer_layout": module.classifier.layout.name,
        "class_names": names,
        "input_size": list(size),
        "mean": given["mean"],
        "std": given["std"],
        "box_threshold": float(threshold),
        "versions": package_versions(),
    }
    data = {key: given[key] for key in ("center_crop", "max_value", *_OF_FILES)}
    return ExportSource(
        module=module,
        maps=maps,
        name=_file_name(f"{config.classifier.rpartition(':')[2]}-{_map_name(config)}", maps),
        folder=Path("export"),
        data=OmegaConf.create({**data, "crop_size": size.plain, "exif_orientation": True}),
        class_names=names,
        facts=facts,
    )


def _explained(
    config: DictConfig, classifier: Classifier, colors: Mapping[str, Any], data: Any
) -> ExplainedClassifier:
    """Put a classifier and the method together; the method's options may refer to ``data``."""
    known = {"methods": [_name(config)], "data": data}
    methods = build_methods(OmegaConf.create(OmegaConf.to_container(config) | known))
    mean, std = tuple(colors["mean"]), tuple(colors["std"])
    module = ExplainedClassifier(classifier=classifier, methods=methods, mean=mean, std=std)
    if module.export_obstacle is not None:
        raise UserError(f"{module.export_obstacle}; there are: {', '.join(_exportable(config))}.")
    return module.eval()


def _exportable(config: DictConfig) -> list[str]:
    """List the methods that graphs can hold."""
    kinds = {name: get_class(options._target_) for name, options in config.attribution.items()}
    return [name for name, kind in kinds.items() if kind.export_obstacle is None]


def _name(config: DictConfig) -> str:
    return config.method or _DEFAULT


def _check_method(config: DictConfig) -> None:
    """Check ``method`` and ``maps`` before anything is loaded."""
    name = _name(config)
    if name not in config.attribution:
        known = _exportable(config)
        raise UserError(
            f"method: no method is named '{name}'{nearest(name, known)}; of a graph there are: "
            f"{', '.join(known)}."
        )
    if has_function(config):
        raise UserError(
            f"target={config.target}: an exported file gives classes with probabilities, which "
            "scores of a function have not; give logit, probability, log_probability or margin."
        )
    if config.maps == "all":
        raise UserError(
            "maps=all: a map of a post-hoc method takes a derivative for each class; maps=label "
            "makes the class an input."
        )


def _method_facts(config: DictConfig, methods: Mapping[str, PostHocMethod]) -> dict[str, Any]:
    """Name the method, what it explains and its options, for the JSON."""
    options = OmegaConf.to_container(config.attribution[_name(config)], resolve=True)
    own = {k: v for k, v in options.items() if k[0] != "_"}
    return {"method": _name(config), **target_record(config, methods), "options": own}


def _map_name(config: DictConfig) -> str:
    """Name the method, and what it explains where that is no logit, for the name of the file."""
    target = target_word(config)
    return _name(config) + ("" if target == "logit" else f"-{target}")


def _file_name(name: str, maps: str | None) -> str:
    return name + (f"-{maps}" if maps in ("predicted", "all") else "")


def _noise(size: Size, channels: int) -> Tensor:
    """Draw an image uint8 (1, C, H, W) of which every pixel is random."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, (1, channels, *size), generator=generator, dtype=torch.uint8)


def _maps(
    config: DictConfig, checkpoint: Checkpoint, module: SaliencyModule, has_graph: bool
) -> str | None:
    if has_graph and module.native.per_class:
        return config.maps or "label"
    if config.maps is not None:
        what = "weights alone" if module.native.per_class else "one map for all classes"
        raise UserError(f"maps={config.maps}: leave it out, {checkpoint.model.name} has {what}.")
    return None
