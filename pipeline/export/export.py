"""Export of a trained model to a file that needs nothing of this repository, and its trial."""

from __future__ import annotations

import json
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import DictConfig

from learned_saliency.pipeline.cli import UserError, check_values
from learned_saliency.pipeline.export.formats import (
    ONNX_PACKAGES,
    Runner,
    check_onnx,
    run_onnx,
    run_pt2,
    write_onnx,
    write_pt2,
    write_safetensors,
)
from learned_saliency.pipeline.export.graph import (
    INPUTS,
    OUTPUTS,
    ExportedModel,
    trace,
)
from learned_saliency.pipeline.export.verify import BATCH_SIZES, differences, find_images
from learned_saliency.pipeline.runs import (
    Checkpoint,
    beside,
    checkpoint_facts,
    load_module,
    read_checkpoint,
)
from learned_saliency.storage import replacing, sha256, write_text
from learned_saliency.trainers import SaliencyModule

CONFIG_NAME = "export"
_GRAPHS = {"onnx": (write_onnx, run_onnx), "pt2": (write_pt2, run_pt2)}


class ExportResult(NamedTuple):
    """Result of an export.

    Attributes:
        file: Path of the model.
        facts: Path of the JSON beside it.
        differences: Largest difference from the checkpoint by output; None where the file was not
            verified.
    """

    file: Path
    facts: Path
    differences: dict[str, float] | None


def export(config: DictConfig) -> ExportResult:
    """Write the model of a checkpoint in a format, with a JSON that describes it.

    Both files appear when they are complete and, with ``verify``, when the model was found to give
    the same results as the checkpoint.

    Raises:
        UserError: If the configuration or the checkpoint is wrong, the files cannot be written, or
            the model gives other results.
    """
    check_values(config)
    if config.format == "onnx":
        check_onnx()
    checkpoint = read_checkpoint(config.checkpoint, "best.ckpt", config.classifier)
    module = load_module(checkpoint).eval()
    if config.format in _GRAPHS and module.export_obstacle is not None:
        raise UserError(f"format={config.format}: {module.export_obstacle}.")
    maps = _maps(config, checkpoint, module)
    path = _path(config, checkpoint, maps)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".export-") as folder:
            return _export(config, checkpoint, module, maps, Path(folder), path)
    except OSError as error:
        raise UserError(f"out={path.parent}: cannot be written ({error.strerror}).") from None


def _export(
    config: DictConfig,
    checkpoint: Checkpoint,
    module: SaliencyModule,
    maps: str | None,
    folder: Path,
    path: Path,
) -> ExportResult:
    made = folder / path.name
    images = find_images(checkpoint, config.verify_images) if config.verify else None
    facts = checkpoint_facts(checkpoint) | {"stage": checkpoint.stage, "format": config.format}
    if config.format == "safetensors":
        write_safetensors(module, made)
    else:
        model = ExportedModel(module, maps)
        size = checkpoint.config.data.crop_size
        _GRAPHS[config.format][0](trace(model, size), made)
        facts |= _interface(checkpoint, model)
    facts |= {"file": path.name, "sha256": sha256(made)}
    facts["versions"] |= _versions()
    found = None
    beside(made).write_text(json.dumps(facts))
    made.chmod(beside(made).stat().st_mode & 0o777)  # safetensors hides its files from others
    if images is not None:
        found = differences(_runner(config, made), module, maps, images.pixels)
        _check(found, config)
        facts["verified"] = {
            "images": len(images.pixels),
            "source": images.source,
            "batch_sizes": list(BATCH_SIZES),
            "largest_difference": found,
        }
    write_text(beside(path), json.dumps(facts, indent=2) + "\n")
    with replacing(path) as temporary:
        made.replace(temporary)
    return ExportResult(path, beside(path), found)


def _maps(config: DictConfig, checkpoint: Checkpoint, module: SaliencyModule) -> str | None:
    if config.format == "safetensors" or not module.native.per_class:
        if config.maps is not None:
            what = "weights alone" if module.native.per_class else "one map for all classes"
            raise UserError(
                f"maps={config.maps}: leave it out, {checkpoint.model.name} has {what}."
            )
        return None
    return config.maps or "label"


def _path(config: DictConfig, checkpoint: Checkpoint, maps: str | None) -> Path:
    suffix = f".{config.format}"
    name = checkpoint.model.name + (f"-{maps}" if maps in ("predicted", "all") else "") + suffix
    if config.out is None:
        return checkpoint.run_folder / "export" / name
    out = Path(config.out).expanduser()
    return out if out.suffix == suffix else out / name


def _interface(checkpoint: Checkpoint, model: ExportedModel) -> dict[str, Any]:
    """Describe the inputs and outputs of the graph."""
    data = checkpoint.config.data
    size, classes = data.crop_size, checkpoint.num_classes
    aspect = "shorter edge to the size, then the middle square"
    if not data.center_crop:
        aspect = "to the square, without regard to the aspect ratio"
    images = {
        "name": INPUTS[0],
        "type": "float32",
        "shape": ["batch", 3, size, size],
        "range": [0, 1],
        "colors": "RGB",
        "resize": f"{aspect}, bilinear with antialiasing",
        "normalization": "inside the graph",
    }
    labels = {
        "name": INPUTS[1],
        "type": "int64",
        "shape": ["batch"],
        "range": [0, classes - 1],
        "meaning": "class to explain",
    }
    map_shape = ["batch", *([classes] if model.maps == "all" else []), size, size]
    shapes = (["batch", classes], ["batch", classes], map_shape)
    outputs = [
        {"name": name, "type": "float32", "shape": shape}
        for name, shape in zip(OUTPUTS, shapes, strict=True)
    ]
    inputs = [images, labels] if model.has_labels else [images]
    declared = model.module.native
    native = {"per_class": declared.per_class, "probabilities": declared.probabilities}
    return {"maps": model.maps, "native": native, "inputs": inputs, "outputs": outputs}


def _versions() -> dict[str, str]:
    found = {}
    for name in ONNX_PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _runner(config: DictConfig, path: Path) -> Runner:
    if config.format in _GRAPHS:
        return _GRAPHS[config.format][1](path)
    model = load_module(read_checkpoint(path, named=config.classifier)).eval()
    return ExportedModel(model, "predicted" if model.native.per_class else None)


def _check(found: dict[str, float], config: DictConfig) -> None:
    for name, value in found.items():
        if not value <= config.tolerance:  # also true for NaN
            raise UserError(
                f"the {config.format} file is not kept: its {name} differ from the checkpoint's by "
                f"up to {value:.1e}, more than tolerance={config.tolerance:.0e}."
            )
