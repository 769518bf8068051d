"""ONNX models whose network has integers of 8 bits."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from learned_saliency.pipeline.export.graph import INPUTS
from learned_saliency.pipeline.export.precision.parts import WEIGHTED, Parts, find_parts

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto

# Operators without weights that onnxruntime computes in integers between layers with weights.
# Averages, sigmoids and normalizations between them stay in float32.
_INTEGER = frozenset(
    {
        *("Relu", "Clip", "LeakyRelu", "Add", "Mul", "Concat", "MaxPool"),
        *("Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze"),
    }
)


def to_int8(model: ModelProto, batches: Iterable[NDArray[np.float32]]) -> ModelProto:
    """Quantize the network of a model statically; inputs, outputs and the map stay in float32.

    Weights get a scale per output channel and 7 bits: the kernels for x86 without VNNI add pairs of
    products in 16 bits, which 8 x 8 bits overflow. Activations get 8 bits with a zero point, over
    the range that they have on the given images. The last layers with weights give float32.

    Args:
        model: The model in float32; left as it is.
        batches: Images, RGB in [0, 1], float32 of shape (B, 3, S, S), to find the ranges.
    """
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    parts = find_parts(copied.graph, _INTEGER)
    sharing = _sharing(copied.graph, parts)
    with tempfile.TemporaryDirectory() as folder, _quiet():
        path = Path(folder) / "int8.onnx"
        quantize_static(
            copied,
            path,
            _reader(copied, batches),
            quant_format=QuantFormat.QDQ,
            nodes_to_quantize=sorted((parts.network | parts.of_class) - sharing.keys()),
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        made = onnx.load(path)
    _share_weights(made.graph, sharing)
    _drop_rounding(made.graph, parts.network)
    onnx.checker.check_model(made, full_check=True)
    return made


def _sharing(graph: GraphProto, parts: Parts) -> dict[str, str]:
    """Find the layers of the class that have the weights of another layer; name these weights.

    A backward pass reads the weights of the forward pass with input and output channels exchanged,
    and the quantizer knows one axis of channels for each tensor.
    """
    layers = [node for node in graph.node if node.op_type in WEIGHTED]
    taken = {node.input[1] for node in layers if node.name in parts.network}
    found = {}
    for node in layers:
        if node.name in parts.of_class:
            if node.input[1] in taken:
                found[node.name] = node.input[1]
            taken.add(node.input[1])
    return found


def _share_weights(graph: GraphProto, sharing: Mapping[str, str]) -> None:
    """Let layers read the quantized weights of others."""
    from onnxruntime.quantization.quant_utils import TENSOR_NAME_QUANT_SUFFIX

    made = {n.input[0]: n.output[0] for n in graph.node if n.op_type == "DequantizeLinear"}
    for node in graph.node:
        if node.name in sharing:
            node.input[1] = made[sharing[node.name] + TENSOR_NAME_QUANT_SUFFIX]


def _drop_rounding(graph: GraphProto, network: set[str]) -> None:
    """Take the rounding to 8 bits off values that no node of the network reads."""
    rounding = {n.output[0]: n for n in graph.node if n.op_type == "QuantizeLinear"}
    read = {name for node in graph.node if node.name in network for name in node.input}
    outputs = {value.name for value in graph.output}
    names, dropped = {}, set()
    for node in graph.node:
        if node.op_type != "DequantizeLinear" or node.input[0] not in rounding:
            continue
        if node.output[0] not in read:
            exact, rounded = rounding[node.input[0]].input[0], node.output[0]
            names |= {exact: rounded} if rounded in outputs else {rounded: exact}
            dropped |= {rounded, node.input[0]}
    kept = [node for node in graph.node if node.output[0] not in dropped]
    for node in kept:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    del graph.node[:]
    graph.node.extend(kept)
    used = {name for node in kept for name in node.input}
    weights = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(weights)


def _reader(model: ModelProto, batches: Iterable[NDArray[np.float32]]) -> object:
    from onnxruntime.quantization import CalibrationDataReader

    labeled = len(model.graph.input) > 1

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.left = iter(batches)

        def get_next(self) -> dict[str, np.ndarray] | None:
            images = next(self.left, None)
            if images is None:
                return None
            # what depends on the labels is not quantized, so that any class serves
            labels = {INPUTS[1]: np.zeros(len(images), np.int64)} if labeled else {}
            return {INPUTS[0]: images, **labels}

    return Reader()


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the quantizer, which advises on its own options through the root logger."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
