"""OpenVINO's intermediate representation, for CPUs, GPUs and NPUs of Intel."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor

from learned_saliency.pipeline.export.formats.base import Format, Runner, import_package
from learned_saliency.pipeline.export.formats.onnx import write_onnx
from learned_saliency.pipeline.export.graph import OUTPUTS
from learned_saliency.pipeline.export.source import ExportSource

_EXTRA = "openvino"


class OpenVino(Format):
    """OpenVINO's XML with weights in a file beside it, made from the ONNX model; see `Format`."""

    suffix = ".xml"
    has_box = True
    packages = ("openvino", "onnx", "onnxscript")
    extra = _EXTRA

    def write(self, source: ExportSource, config: DictConfig, path: Path) -> dict[str, Any]:
        """Write both files; weights stay in float32."""
        openvino = import_package("openvino", config.format, _EXTRA)
        with tempfile.TemporaryDirectory() as folder:
            onnx = Path(folder) / "model.onnx"
            write_onnx(source.program(), onnx)
            model = openvino.convert_model(onnx)
        openvino.save_model(model, path, compress_to_fp16=False)
        return {"weights": path.with_suffix(".bin").name}

    def load(self, path: Path, config: DictConfig) -> Runner:
        """Load the files for the CPU, with torch's number of threads."""
        openvino = import_package("openvino", config.format, _EXTRA)
        options = {"INFERENCE_NUM_THREADS": torch.get_num_threads()}
        # what is compared are the files, not the fewer bits that a CPU may choose on its own
        options["INFERENCE_PRECISION_HINT"] = "f32"
        model = openvino.compile_model(path, "CPU", options)

        def run(*inputs: Tensor) -> dict[str, Tensor]:
            found = model([tensor.numpy() for tensor in inputs])
            return {name: torch.from_numpy(found[name].copy()) for name in OUTPUTS}

        return run
