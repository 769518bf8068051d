"""ONNX models, weights included, as one file."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor
from torch.export import ExportedProgram

from learned_saliency.pipeline.cli import UserError
from learned_saliency.pipeline.export.formats.base import Format, Runner, import_package
from learned_saliency.pipeline.export.formats.exact import exact_functions
from learned_saliency.pipeline.export.graph import INPUTS, OUTPUTS
from learned_saliency.pipeline.export.source import ExportSource


class Onnx(Format):
    """An ONNX model, which onnxruntime runs; see `Format`."""

    suffix = ".onnx"
    precisions = ("float32", "float16", "int8")
    has_box = True
    packages = ("onnx", "onnxscript", "onnxruntime")
    extra = "onnx"

    def write(self, source: ExportSource, config: DictConfig, path: Path) -> dict[str, Any]:
        """Write the model; checked by onnx."""
        write_onnx(source.program(), path)
        return {}

    def load(self, path: Path, config: DictConfig) -> Runner:
        """Load the model into onnxruntime."""
        return run_onnx(path)


def write_onnx(program: ExportedProgram, path: Path) -> None:
    """Write an ONNX model, weights included, as one file; checked by onnx.

    Raises:
        UserError: If the network does something that ONNX cannot express.
    """
    onnx = import_package("onnx", "onnx", Onnx.extra)
    labels = len(program.graph_signature.user_inputs) > 1
    for name in ("onnxscript", "onnx_ir"):
        logging.getLogger(name).setLevel(logging.ERROR)  # these loggers report every step
    try:
        made = torch.onnx.export(
            program,
            dynamo=True,
            verbose=False,
            input_names=list(INPUTS if labels else INPUTS[:1]),
            output_names=list(OUTPUTS),
            custom_translation_table=exact_functions(),
        )
    except torch.onnx.OnnxExporterError as error:
        reasons = " ".join(str(error.__cause__ or error).split())
        raise UserError(
            "format=onnx: the network computes something that the ONNX exporter cannot translate; "
            f"format=pt2 may serve. The reason given: {reasons[:200]}"
        ) from None
    model = made.model_proto
    graph = model.graph
    symbol = graph.input[0].type.tensor_type.shape.dim[0].dim_param
    for value in (*graph.input, *graph.output, *graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param == symbol:
                dim.dim_param = "batch"
    for node in graph.node:
        del node.metadata_props[:]  # the exporter's notes: paths of source files among them
    onnx.checker.check_model(model, full_check=True)
    onnx.save_model(model, path)


def run_onnx(path: Path) -> Runner:
    """Load an ONNX model into onnxruntime, on the CPU and with torch's number of threads."""
    runtime = import_package("onnxruntime", "onnx", Onnx.extra)
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]

    def run(*inputs: Tensor) -> dict[str, Tensor]:
        feed = {name: tensor.numpy() for name, tensor in zip(names, inputs, strict=True)}
        values = session.run(list(OUTPUTS), feed)
        return {name: torch.from_numpy(v) for name, v in zip(OUTPUTS, values, strict=True)}

    return run
