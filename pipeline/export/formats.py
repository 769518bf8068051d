"""Formats of exported files: writers, and runners of the written files."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.export import ExportedProgram

from learned_saliency.pipeline.cli import UserError
from learned_saliency.pipeline.export.graph import INPUTS, OUTPUTS
from learned_saliency.trainers import SaliencyModule

ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
Runner = Callable[..., dict[str, Tensor]]  # runner(images, labels) or runner(images)


def write_pt2(program: ExportedProgram, path: Path) -> None:
    """Write a program of torch.export, which runs wherever torch is."""
    with warnings.catch_warnings():
        # torch takes channels-last weights for views of others, which matters only on GPUs
        warnings.filterwarnings("ignore", message="No complete tensor found")
        torch.export.save(program, path)


def run_pt2(path: Path) -> Runner:
    """Load a program of torch.export."""
    return torch.export.load(path).module()


def check_onnx() -> None:
    """Check that the packages of the extra ``onnx`` are there.

    Raises:
        UserError: If a package is missing.
    """
    for name in ONNX_PACKAGES:
        _import(name)


def write_onnx(program: ExportedProgram, path: Path) -> None:
    """Write an ONNX model, weights included, as one file; checked by onnx.

    Raises:
        UserError: If the network does something that ONNX cannot express.
    """
    onnx = _import("onnx")
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
    runtime = _import("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]

    def run(*inputs: Tensor) -> dict[str, Tensor]:
        feed = {name: tensor.numpy() for name, tensor in zip(names, inputs, strict=True)}
        values = session.run(list(OUTPUTS), feed)
        return {name: torch.from_numpy(v) for name, v in zip(OUTPUTS, values, strict=True)}

    return run


def write_safetensors(module: SaliencyModule, path: Path) -> None:
    """Write plain weights under the names that they have in a checkpoint."""
    state = {name: tensor.contiguous() for name, tensor in module.state_dict().items()}
    save_file(state, path)


def _import(name: str) -> ModuleType:
    try:
        return __import__(name)
    except ImportError:
        raise UserError(
            f"format=onnx needs the package {name}: pip install -e '.[onnx]'."
        ) from None
