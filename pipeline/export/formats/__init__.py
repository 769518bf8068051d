"""Formats of exported files; a new format is one file and one entry here."""

from learned_saliency.pipeline.export.formats.base import Format, Runner
from learned_saliency.pipeline.export.formats.hf import HuggingFace
from learned_saliency.pipeline.export.formats.html import Html
from learned_saliency.pipeline.export.formats.onnx import Onnx
from learned_saliency.pipeline.export.formats.openvino import OpenVino
from learned_saliency.pipeline.export.formats.pt2 import Pt2
from learned_saliency.pipeline.export.formats.weights import Safetensors

#: The formats by the words of ``format=``.
FORMATS: dict[str, Format] = {
    "hf": HuggingFace(),
    "html": Html(),
    "onnx": Onnx(),
    "openvino": OpenVino(),
    "pt2": Pt2(),
    "safetensors": Safetensors(),
}

__all__ = [
    "FORMATS",
    "Format",
    "Runner",
]
