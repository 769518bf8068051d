"""Source of an export: a network with a map, and how its input is prepared."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import DictConfig
from torch import Tensor
from torch.export import ExportedProgram

from learned_saliency.datamodules import COLORS, Size, center_crop_of
from learned_saliency.pipeline.cli import UserError, first_sentence
from learned_saliency.pipeline.export.explained import ExplainedClassifier, RecordedClassifier
from learned_saliency.pipeline.export.graph import INPUTS, OUTPUTS, ExportedModel, trace
from learned_saliency.trainers import SaliencyModule


class ExportSource(NamedTuple):
    """A model that is to be written in some format.

    Attributes:
        module: The module, in evaluation mode; its maps are what the file is compared with.
        maps: Classes that get maps, see `ExportedModel`.
        name: Name of the file without its ending.
        folder: Folder of the file where the user names none.
        data: How images are prepared (``crop_size``, ``center_crop``, ``exif_orientation`` ...) and
            the data set on whose images the file is tried, as ``data`` of a run's configuration; a
            classifier from outside has no data set.
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
    def size(self) -> Size:
        """Height and width of the input."""
        return Size.of(self.data.crop_size)

    @property
    def channels(self) -> int:
        """Number C of channels of the input."""
        return len(self.module.mean)

    def try_method(self, pixels: Tensor) -> None:
        """Run a post-hoc method on images, with the checks of values that a graph cannot hold.

        Args:
            pixels: Images that the file will be tried on, levels 0..255 (N, C, H, W).

        Raises:
            UserError: If the method does not fit the network.
        """
        if isinstance(self.module, ExplainedClassifier):
            self.module.try_on(pixels)

    def program(self) -> ExportedProgram:
        """Trace the computation of the file, see `trace`.

        Raises:
            UserError: If a network from outside, or its head's derivative, cannot be recorded.
        """
        if not isinstance(self.module, ExplainedClassifier):
            return trace(ExportedModel(self.module, self.maps), self.size, self.channels)
        try:
            recorded = RecordedClassifier(self.module, self.size, self.maps == "label")
            return trace(ExportedModel(recorded, self.maps), self.size, self.channels)
        except Exception as error:  # the network's own code, or torch's for it
            raise UserError(
                "classifier: the network, or the derivative of its part after the layer, cannot be "
                "recorded as a graph: mostly its way or a size depends on values or on the number "
                "of images (if, len() or int() of tensors). The reason given: "
                f"{first_sentence(error)[:300]}"
            ) from None

    def interface(self) -> dict[str, Any]:
        """Describe the inputs and outputs of the graph, for the JSON."""
        model = ExportedModel(self.module, self.maps)
        size, classes = self.size, len(self.class_names)
        middle = center_crop_of(self.data)
        square = size.height == size.width
        if not middle:
            what = "square" if square else "size"
            aspect = f"to the {what}, without regard to the aspect ratio"
        elif square or middle is not True:
            edge = "the size" if middle is True else f"{middle} pixels"
            aspect = f"shorter edge to {edge}, then the middle{' square' * square}"
        else:
            aspect = "so that the size is just covered, aspect ratio kept, then the middle"
        images = {
            "name": INPUTS[0],
            "type": "float32",
            "shape": ["batch", self.channels, *size],
            "range": [0, 1],
            **self._values(),
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
        map_shape = ["batch", *([classes] if self.maps == "all" else []), *size]
        shapes = (["batch", classes], ["batch", classes], map_shape)
        outputs = [
            {"name": name, "type": "float32", "shape": shape}
            for name, shape in zip(OUTPUTS, shapes, strict=True)
        ]
        inputs = [images, labels] if model.has_labels else [images]
        declared = self.module.native
        native = {"per_class": declared.per_class, "probabilities": declared.probabilities}
        return {
            "activation": self.module.activation.value,
            "maps": self.maps,
            "native": native,
            "inputs": inputs,
            "outputs": outputs,
        }

    def _values(self) -> dict[str, str]:
        """Describe the values of the input, for the JSON."""
        if self.channels == COLORS:
            return {"colors": "RGB"}
        white = self.data.get("max_value")
        largest = "the largest value of 8 or 16 bits, or 1 of floats" if white is None else white
        return {"channels": f"as in the files, at full depth; a value divided by {largest}"}
