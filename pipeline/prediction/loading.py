"""Models that are ready for images, from a checkpoint or of a foreign classifier."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from omegaconf import DictConfig, OmegaConf

from learned_saliency.attribution import PostHocMethod
from learned_saliency.pipeline.cli import UserError, compose_checked, first_sentence
from learned_saliency.pipeline.prediction.dense_crf import DenseCRF
from learned_saliency.pipeline.prediction.predictor import Refinement, SaliencyPredictor
from learned_saliency.pipeline.runs import (
    build_classifier,
    build_methods,
    load_module,
    read_checkpoint,
)
from learned_saliency.trainers import NATIVE, PostHocModule, SaliencyModule

CONFIG_NAME = "predict"


def load(
    checkpoint: str | os.PathLike[str],
    *,
    methods: Sequence[str] | Mapping[str, PostHocMethod] = (NATIVE,),
    refine: str | Refinement | None = None,
    box_threshold: float | None = None,
    device: str = "auto",
    batch_size: int = 16,
) -> SaliencyPredictor:
    """Load a trained model; nothing in the file is executed.

    Args:
        checkpoint: A run's folder (its best checkpoint) or a checkpoint file.
        methods: Names of the maps to give, ``native`` and those of ``configs/methods``; or post-hoc
            methods by names of your own, beside the native map.
        refine: ``"crf"``, or a function of image (H, W, 3) and map (H, W) that gives a map.
        box_threshold: Of boxes, fraction of a map's maximum in [0, 1); None for the checkpoint's.
        device: ``"auto"`` (CUDA where there is one), ``"cpu"``, ``"cuda:1"``.
        batch_size: Images in a pass.

    Raises:
        UserError: If the checkpoint is damaged or of something else, or an option does not exist.
    """
    config = compose_checked([], CONFIG_NAME, complete=False)
    config.checkpoint = os.fspath(checkpoint).replace("${", "\\${")  # no interpolation
    config.box_threshold, config.device, config.batch_size = box_threshold, device, batch_size
    own = dict(methods) if isinstance(methods, Mapping) else {}
    config.methods = [NATIVE] if own else list(methods)
    config.refine = refine if isinstance(refine, str) else None
    model = build_model(config, own)
    if refine is not None and not isinstance(refine, str):
        model.refine = refine
    return model


def build_model(
    config: DictConfig, methods: Mapping[str, PostHocMethod] | None = None
) -> SaliencyPredictor:
    """The model that ``configs/predict.yaml`` describes.

    Args:
        config: The composed configuration.
        methods: Further post-hoc methods by name.

    Raises:
        UserError: If a value, the checkpoint or the weights do not fit.
    """
    if (config.checkpoint is None) == (config.classifier is None):
        raise UserError(
            "give either checkpoint=RUN_OR_FILE or classifier=torchvision:NAME layer=...; "
            "`python predict.py --help` shows more."
        )
    _check(config)
    device = _device(config.device)
    refine = _refinement(config)
    build = _trained if config.checkpoint is not None else _foreign
    parts = build(config, dict(methods or {}))
    if config.box_threshold is not None:
        parts.module.box_threshold.fill_(config.box_threshold)
    return SaliencyPredictor(
        parts.module,
        **parts.given,
        methods=[*parts.methods, *(methods or {})],
        refine=refine,
        device=device,
        batch_size=config.batch_size,
    )


class _Parts(NamedTuple):
    """What a model is made of: its ``given`` are arguments of `SaliencyPredictor`."""

    module: SaliencyModule
    methods: list[str]
    given: dict[str, Any]


def _trained(config: DictConfig, own: dict[str, PostHocMethod]) -> _Parts:
    checkpoint = read_checkpoint(config.checkpoint, "best.ckpt")
    data = checkpoint.config.data
    names = _names(config, [NATIVE])
    built = _methods(config, names, data)
    module = load_module(checkpoint, methods=built | own, mean=data.mean, std=data.std)
    given = {
        "size": data.crop_size,
        "mean": data.mean,
        "std": data.std,
        "center_crop": bool(data.get("center_crop", False)),
        "class_names": checkpoint.class_names,
    }
    return _Parts(module, names, given)


def _foreign(config: DictConfig, own: dict[str, PostHocMethod]) -> _Parts:
    names = _names(config, ["gradcam"])
    if NATIVE in names:
        raise UserError(
            f"methods: '{NATIVE}' is the map of a trained model; {config.classifier} has none."
        )
    class_names = None
    if config.class_names is not None:
        class_names = _lines(Path(config.class_names).expanduser())
    built = _methods(config, names, {"class_names": class_names})
    given = {**config.input, "class_names": class_names}
    module = PostHocModule(
        classifier=build_classifier(config),
        methods=built | own,
        mean=given["mean"],
        std=given["std"],
    )
    return _Parts(module, names, given)


def _names(config: DictConfig, default: list[str]) -> list[str]:
    names = config.methods
    names = default if names is None else [names] if isinstance(names, str) else list(names)
    if not names:
        raise UserError("methods: name at least one method.")
    return list(dict.fromkeys(map(str, names)))


def _methods(config: DictConfig, names: list[str], data: Any) -> dict[str, PostHocMethod]:
    """The post-hoc methods among ``names``; their options may refer to ``data``."""
    known = {"methods": names, "data": data}
    return build_methods(OmegaConf.create(OmegaConf.to_container(config) | known))


def _check(config: DictConfig) -> None:
    threshold = config.box_threshold
    if threshold is not None and not 0 <= threshold < 1:
        raise UserError(f"box_threshold={threshold}: it must be in [0, 1).")
    if not isinstance(config.batch_size, int) or config.batch_size < 1:
        raise UserError(f"batch_size={config.batch_size}: it must be a number of images above 0.")


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"device={name}: {first_sentence(error)}.") from None
    return device


def _refinement(config: DictConfig) -> DenseCRF | None:
    if config.refine is None:
        return None
    if config.refine != "crf":
        raise UserError(f"refine={config.refine} is no refinement: it is crf or null.")
    return DenseCRF(**config.crf)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"class_names={path}: {first_sentence(error)}.") from None
