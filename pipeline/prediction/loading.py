"""Loading of models that are ready for images, from a checkpoint or a foreign classifier."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn

from learned_saliency.attribution import PostHocMethod
from learned_saliency.datamodules import Decoding, center_crop_of, read_name_list
from learned_saliency.pipeline.cli import (
    UserError,
    check_values,
    compose_checked,
    first_sentence,
)
from learned_saliency.pipeline.prediction.dense_crf import DenseCRF
from learned_saliency.pipeline.prediction.images import AS_SEEN
from learned_saliency.pipeline.prediction.predictor import Refinement, SaliencyPredictor
from learned_saliency.pipeline.runs import (
    Checkpoint,
    Explaining,
    Subject,
    build_explained,
    build_methods,
    find_coverage,
    foreign_input,
    has_function,
    library_class_names,
    method_names,
    read_subject,
    with_class_files,
    with_precision,
)
from learned_saliency.trainers import NATIVE

CONFIG_NAME = "predict"
_REFINED = "coverage: was calibrated on maps that are not refined; leave refine=... out."


def load(
    checkpoint: str | os.PathLike[str],
    *,
    classifier: str | nn.Module | None = None,
    methods: Sequence[str] | Mapping[str, PostHocMethod] = (NATIVE,),
    target: str | None = None,
    refine: str | Refinement | None = None,
    box_threshold: float | None = None,
    coverage: float | None = None,
    coverage_of: str = "object",
    device: str = "auto",
    batch_size: int = 16,
    precision: str | None = None,
    channels_last: bool = True,
    fold_batchnorm: bool = False,
    class_threshold: float = 0.5,
) -> SaliencyPredictor:
    """Load a trained model; nothing in the file is executed.

    Args:
        checkpoint: A run's folder (its best checkpoint), a checkpoint, an export, `hf://USER/NAME`.
        classifier: Own code that it was trained on: ``MODULE:FUNCTION``, or a network, copied.
        methods: Names of the maps to give: ``native``, names in ``configs/attribution/all.yaml``;
            or post-hoc methods by names of your own, beside the native map.
        target: Score that the methods named so explain, a word of `attribution.TARGETS`, or None.
        refine: ``"crf"``, or a function of image (H, W, 3) and map (H, W) that gives a map.
        box_threshold: Part of a map's maximum in [0, 1), for boxes; None for the checkpoint's.
        coverage: Share in (0, 1) for regions, of ``coverage_of``; see ``configs/predict.yaml``.
        coverage_of: ``"object"`` or ``"pixels"``.
        device: ``"auto"`` (CUDA if there is a GPU), ``"cpu"``, ``"cuda:1"``.
        batch_size: Images per pass.
        precision: ``"bf16"``, on GPUs ``"fp16"``; the predictor's ``effect`` has what it changes.
        channels_last: Layout of activations in memory, see ``configs/predict.yaml``.
        fold_batchnorm: See `attribution.fold_batchnorm`.
        class_threshold: Of a multi-label model, see ``configs/predict.yaml``.

    Raises:
        UserError: If the checkpoint is damaged or foreign, or an option or promise impossible.
    """
    config = compose_checked([], CONFIG_NAME, complete=False)
    config.checkpoint = os.fspath(checkpoint).replace("${", "\\${")  # no interpolation
    config.box_threshold, config.batch_size, config.target = box_threshold, batch_size, target
    config.coverage, config.coverage_of = coverage, coverage_of
    config.precision, config.channels_last = precision, channels_last
    config.fold_batchnorm, config.class_threshold = fold_batchnorm, class_threshold
    own = _named_maps(config, methods, refine)
    model = build_model(with_precision(config), own, _device(device, precision), classifier)
    if callable(refine):
        model.refine = refine
    return model


def _named_maps(
    config: DictConfig,
    methods: Sequence[str] | Mapping[str, PostHocMethod],
    refine: str | Refinement | None,
) -> dict[str, PostHocMethod]:
    """Name methods and refinement in a configuration; return the methods that it cannot name."""
    own = dict(methods) if isinstance(methods, Mapping) else {}
    if own and config.target is not None:
        raise UserError(
            f"target={config.target}: give it to the methods themselves, GradCAM(target=...)."
        )
    if config.coverage is not None and refine is not None:
        raise UserError(_REFINED)
    config.methods = [NATIVE] if own else list(methods)
    config.refine = refine if isinstance(refine, str) else None
    return own


def build_model(
    config: DictConfig,
    methods: Mapping[str, PostHocMethod] | None = None,
    device: torch.device | None = None,
    named: str | nn.Module | None = None,
) -> SaliencyPredictor:
    """Build the model that ``configs/predict.yaml`` describes.

    Args:
        config: The composed configuration.
        methods: Further post-hoc methods by name.
        device: Device of the network; None for the CPU.
        named: See `Checkpoint.named`; by default what ``classifier`` says beside ``checkpoint``.

    Raises:
        UserError: If a value, the checkpoint or the weights do not fit.
    """
    own = dict(methods or {})
    check_values(config)
    config = with_class_files(config)
    subject = read_subject(config, "predict.py", named)
    refine = _refinement(config)
    names = _names(config, [NATIVE] if subject.native else ["gradcam"])
    _check_coverage(config, subject, names)
    given, known = _foreign(config) if subject.checkpoint is None else _own(subject.checkpoint)
    if subject.checkpoint is not None and has_function(config):
        given["class_names"] = None  # its scores are none of these
    if config.exif_orientation is not None:
        given["decoding"] = given["decoding"]._replace(exif_orientation=config.exif_orientation)
    options = {key: given[key] for key in ("mean", "std")}
    options["shown_channels"] = given.pop("shown_channels")
    options["methods"] = _methods(config, names, known, given["class_names"]) | own
    module = build_explained(config, subject, names, **options)
    if config.coverage is not None:
        given["coverage"] = find_coverage(module.coverage.sums, config.coverage, config.coverage_of)
    predictor = SaliencyPredictor(
        module,
        **given,
        methods=[*names, *own],
        refine=refine,
        device=device or "cpu",
        batch_size=config.batch_size,
        explaining=Explaining.of(config),
        class_threshold=config.class_threshold,
    )
    if subject.checkpoint is None and given["class_names"] is None and module.has_classes:
        library_names = library_class_names(config.classifier) or []
        if len(library_names) == predictor.num_classes:
            predictor.class_names = library_names
    return predictor


def _check_coverage(config: DictConfig, subject: Subject, names: Sequence[str]) -> None:
    """Check that the maps asked for are those that a coverage was calibrated on."""
    if config.coverage is None:
        return
    if not subject.native:
        raise UserError(
            f"coverage={config.coverage}: none can be promised for classifier=...; a region is "
            "calibrated while a model of this project is trained."
        )
    if NATIVE not in names:
        raise UserError(
            f"coverage={config.coverage}: is promised for the model's own map; add native to "
            "methods."
        )
    if config.refine is not None:
        raise UserError(_REFINED)
    if center_crop_of(subject.checkpoint.config.data):
        raise UserError(
            f"coverage={config.coverage}: none, as the model sees the middle alone "
            "(data.center_crop=true or data.evaluation_resize) and cannot cover what lies beyond."
        )


_Given = dict[str, Any]  # arguments of `SaliencyPredictor`
_Known = Mapping[str, Any]  # ``data``, which the options of a method may refer to


def _own(checkpoint: Checkpoint) -> tuple[_Given, _Known]:
    """Collect the input and the classes of a checkpoint of this project."""
    data = checkpoint.config.data
    given = {
        "size": data.crop_size,
        "mean": data.mean,
        "std": data.std,
        "center_crop": center_crop_of(data),
        "class_names": checkpoint.class_names,
        "decoding": Decoding.of(data),
        "shown_channels": data.get("shown_channels"),
    }
    return given, data


def _foreign(config: DictConfig) -> tuple[_Given, _Known]:
    """Collect the input and the classes of a network from outside this project."""
    names = None
    if config.class_names is not None:
        names = read_name_list(Path(config.class_names).expanduser())
    given = foreign_input(config)
    of_files = ("max_value", "channels", "array_axes")
    decoding = AS_SEEN._replace(**{key: given.pop(key) for key in of_files})
    found = {**given, "class_names": names, "decoding": decoding}
    return found, {"class_names": names}


def _names(config: DictConfig, default: list[str]) -> list[str]:
    names = default if config.methods is None else method_names(config)
    if not names:
        raise UserError("methods: name at least one method.")
    return names


def _methods(
    config: DictConfig, names: list[str], data: Any, class_names: Sequence[str] | None
) -> dict[str, PostHocMethod]:
    """Build the post-hoc methods among ``names``; their options may refer to ``data``."""
    known = {"methods": names, "data": data}
    return build_methods(OmegaConf.create(OmegaConf.to_container(config) | known), class_names)


def _device(name: str, precision: str | None) -> torch.device:
    if name == "auto":
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    else:
        try:
            device = torch.device(name)
            torch.zeros(1, device=device)
        except (RuntimeError, AssertionError) as error:
            raise UserError(f"device={name}: {first_sentence(error)}.") from None
    if precision == "fp16" and device.type == "cpu":
        raise UserError("precision=fp16: is for GPUs alone; on a CPU choose bf16.")
    return device


def _refinement(config: DictConfig) -> DenseCRF | None:
    return None if config.refine is None else DenseCRF(**config.crf)
