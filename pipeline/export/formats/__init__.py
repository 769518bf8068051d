"""Formats of exported files; a new format is one file and one entry here."""

from learned_saliency.pipeline.export.formats.base import Format, Runner
from learned_saliency.pipeline.export.formats.html import Html
from learned_saliency.pipeline.export.formats.onnx import Onnx
from learned_saliency.pipeline.export.formats.pt2 import Pt2
from learned_saliency.pipeline.export.formats.weights import Safetensors

#: The formats by the words of ``format=``.
FORMATS: dict[str, Format] = {
    "onnx": Onnx(),
    "pt2": Pt2(),
    "safetensors": Safetensors(),
    "html": Html(),
}

__all__ = [
    "FORMATS",
    "Format",
    "Runner",
]
