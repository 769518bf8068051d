"""Source of an export: a trained model and how its input is prepared."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import DictConfig
from torch.export import ExportedProgram

from learned_saliency.pipeline.cli import UserError
from learned_saliency.pipeline.export.graph import INPUTS, OUTPUTS, ExportedModel, trace
from learned_saliency.pipeline.runs import (
    Checkpoint,
    checkpoint_facts,
    load_module,
    read_checkpoint,
)
from learned_saliency.trainers import SaliencyModule


class ExportSource(NamedTuple):
    """A model that is to be written in some format.

    Attributes:
        module: The module, in evaluation mode; its maps are what the file is compared with.
        maps: Classes that get maps, see `ExportedModel`.
        name: Name of the file without its ending.
        folder: Folder of the file where the user names none.
        data: How images are prepared (``crop_size``, ``center_crop``, ``exif_orientation`` ...) and
            the data set on whose images the file is tried, as ``data`` of a run's configuration.
        class_names: Names of the classes.
        facts: Facts for the JSON beside the file.
    """

    module: SaliencyModule
    maps: str | None
    name: str
    folder: Path
    data: DictConfig
    class_names: list[str]
    facts: dict[str, Any]

    @property
    def size(self) -> int:
        """Side of the input, pixels."""
        return self.data.crop_size

    def program(self) -> ExportedProgram:
        """Trace the computation of the file, see `trace`."""
        return trace(ExportedModel(self.module, self.maps), self.size)

    def interface(self) -> dict[str, Any]:
        """Describe the inputs and outputs of the graph, for the JSON."""
        model = ExportedModel(self.module, self.maps)
        size, classes = self.size, len(self.class_names)
        aspect = "shorter edge to the size, then the middle square"
        if not self.data.center_crop:
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
        map_shape = ["batch", *([classes] if self.maps == "all" else []), size, size]
        shapes = (["batch", classes], ["batch", classes], map_shape)
        outputs = [
            {"name": name, "type": "float32", "shape": shape}
            for name, shape in zip(OUTPUTS, shapes, strict=True)
        ]
        inputs = [images, labels] if model.has_labels else [images]
        declared = self.module.native
        native = {"per_class": declared.per_class, "probabilities": declared.probabilities}
        return {"maps": self.maps, "native": native, "inputs": inputs, "outputs": outputs}


def read_source(config: DictConfig, has_graph: bool) -> ExportSource:
    """Load the model that ``configs/export.yaml`` names.

    Args:
        config: The composed configuration.
        has_graph: Whether the computation is exported, not only weights.

    Raises:
        UserError: If the checkpoint does not load, its computation cannot be exported, or ``maps``
            does not suit it.
    """
    checkpoint = read_checkpoint(config.checkpoint, "best.ckpt", config.classifier)
    module = load_module(checkpoint).eval()
    if has_graph and module.export_obstacle is not None:
        raise UserError(f"format={config.format}: {module.export_obstacle}.")
    maps = _maps(config, checkpoint, module, has_graph)
    return ExportSource(
        module=module,
        maps=maps,
        name=checkpoint.model.name + (f"-{maps}" if maps in ("predicted", "all") else ""),
        folder=checkpoint.run_folder / "export",
        data=checkpoint.config.data,
        class_names=checkpoint.class_names,
        facts=checkpoint_facts(checkpoint) | {"stage": checkpoint.stage},
    )


def _maps(
    config: DictConfig, checkpoint: Checkpoint, module: SaliencyModule, has_graph: bool
) -> str | None:
    if has_graph and module.native.per_class:
        return config.maps or "label"
    if config.maps is not None:
        what = "weights alone" if module.native.per_class else "one map for all classes"
        raise UserError(f"maps={config.maps}: leave it out, {checkpoint.model.name} has {what}.")
    return None
