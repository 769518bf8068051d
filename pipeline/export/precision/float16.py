"""ONNX models whose network has half precision."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from learned_saliency.pipeline.export.precision.parts import find_parts

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto

# Sums over many pixels or channels leave the range of float16, which ends at 65504, or lose small
# terms; powers, logarithms and softmax likewise. These select, move, bend or add a few values.
_HALF = frozenset(
    {
        *("Relu", "LeakyRelu", "PRelu", "Clip", "HardSwish", "HardSigmoid", "Sigmoid", "Gelu"),
        *("Add", "Mul", "Concat", "Split", "Slice", "Pad", "Expand", "MaxPool", "Resize"),
        *("Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze"),
    }
)
_FIRST_ONLY = frozenset({"Resize"})  # operators whose further inputs are float32 in any case
_SUFFIX = "_half"


def to_float16(model: ModelProto) -> ModelProto:
    """Convert the network of a model to float16; inputs, outputs and the map stay in float32.

    The converters of onnxruntime and onnxconverter-common do not serve here. The former rounds the
    results of operators that are to stay in float32 nevertheless, and writes nodes before those
    that they read from; the latter gives a wrong type where such an operator reads an output of the
    graph.

    Args:
        model: The model in float32; left as it is.
    """
    import onnx

    made = onnx.shape_inference.infer_shapes(model)
    graph = made.graph
    parts = find_parts(graph, _HALF)
    weights = _halve_weights(graph, parts.network | parts.of_class)
    inside = {name for node in graph.node if node.name in parts.network for name in node.output}
    floats = _floats(graph) | set(weights)
    nodes, halved = _widened(weights, graph, parts.network), set(weights)
    for node in graph.node:
        if node.name not in parts.network:
            nodes.append(node)
            continue
        for place, name in enumerate(node.input[: 1 if node.op_type in _FIRST_ONLY else None]):
            if name not in floats:
                continue
            if name not in inside | halved:
                nodes.append(_cast(name, name + _SUFFIX, onnx.TensorProto.FLOAT16))
                halved.add(name)
            node.input[place] = name + _SUFFIX
        outputs = list(node.output)
        node.output[:] = [name + _SUFFIX for name in outputs]
        nodes.append(node)
        nodes += [_cast(name + _SUFFIX, name, onnx.TensorProto.FLOAT) for name in outputs]
    _replace_nodes(graph, nodes)
    onnx.checker.check_model(made, full_check=True)
    return made


def _floats(graph: GraphProto) -> set[str]:
    """Find the values of type float32."""
    from onnx import TensorProto

    values = (*graph.input, *graph.output, *graph.value_info)
    found = {v.name for v in values if v.type.tensor_type.elem_type == TensorProto.FLOAT}
    return found | {t.name for t in graph.initializer if t.data_type == TensorProto.FLOAT}


def _halve_weights(graph: GraphProto, layers: set[str]) -> Mapping[str, None]:
    """Store the weights that some nodes read in float16, under names of their own; name them."""
    from onnx import TensorProto, numpy_helper

    read = {name for node in graph.node if node.name in layers for name in node.input}
    weights = {}
    for tensor in graph.initializer:
        if tensor.name in read and tensor.data_type == TensorProto.FLOAT and len(tensor.dims) > 1:
            values = numpy_helper.to_array(tensor).astype(np.float16)
            weights[tensor.name] = None
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name + _SUFFIX))
    return weights


def _widened(weights: Mapping[str, None], graph: GraphProto, network: set[str]) -> list[NodeProto]:
    """Give weights in float32 to the nodes outside of the network that read them, too."""
    from onnx import TensorProto

    read = {name for node in graph.node if node.name not in network for name in node.input}
    return [_cast(name + _SUFFIX, name, TensorProto.FLOAT) for name in weights if name in read]


def _cast(name: str, made: str, to: int) -> NodeProto:
    from onnx import helper

    return helper.make_node("Cast", [name], [made], name=f"cast_{made}", to=to)


def _replace_nodes(graph: GraphProto, nodes: list[NodeProto]) -> None:
    """Put nodes in the place of the old ones, without those of which nothing is read."""
    read = {value.name for value in graph.output}
    kept = []
    for node in reversed(nodes):
        if read & set(node.output):
            kept.append(node)
            read |= set(node.input)
    del graph.node[:]
    graph.node.extend(reversed(kept))
    made = {name for node in kept for name in node.output}
    values = [value for value in graph.value_info if value.name in made]
    del graph.value_info[:]
    graph.value_info.extend(values)
