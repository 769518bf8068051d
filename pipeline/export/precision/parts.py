"""Parts of an ONNX graph that bear fewer bits, and those that do not."""

from __future__ import annotations

from collections.abc import Iterable, Set
from typing import TYPE_CHECKING, NamedTuple

from learned_saliency.pipeline.export.graph import INPUTS

if TYPE_CHECKING:
    from onnx import GraphProto, NodeProto

#: Types of layers with weights; these are their second input.
WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
_JOINING = frozenset({"Add", "Concat", "Mul"})  # all their inputs are data, of others the first


class Parts(NamedTuple):
    """Names of those nodes of a graph that get fewer bits.

    Attributes:
        network: Layers with weights that are stored in the file, and the operators that feed them
            without a gap: both are computed in fewer bits. What comes behind the last such layers
            (pooling of class scores, weighted sums of features, softmax, min-max normalization) is
            the arithmetic of the map and not among them.
        of_class: Layers with weights that depend on the class that is explained, as in a backward
            pass: their weights are stored in fewer bits, and they are computed in float32.
    """

    network: set[str]
    of_class: set[str]


def find_parts(graph: GraphProto, operators: Set[str]) -> Parts:
    """Tell the network of a graph from the arithmetic of its map, see `Parts`.

    Args:
        graph: The graph; its nodes have names and are in an order of computation.
        operators: Types of operators without weights that can be computed in fewer bits.
    """
    stored = {tensor.name for tensor in graph.initializer}
    predicted = {name for n in graph.node if n.op_type == "ArgMax" for name in n.output}
    depending = _descendants(graph.node, {INPUTS[1], *predicted})
    layers = [
        node
        for node in graph.node
        if node.op_type in WEIGHTED and node.input[1] in stored and node.input[0] not in stored
    ]
    of_class = {node.name for node in layers if node.output[0] in depending}
    network = {node.name for node in layers} - of_class
    read = {node.input[0] for node in layers if node.name in network}
    for node in reversed(graph.node):
        if node.op_type in operators and read & set(node.output):
            network.add(node.name)
            read |= set(node.input if node.op_type in _JOINING else node.input[:1])
    return Parts(network, of_class)


def _descendants(nodes: Iterable[NodeProto], names: Set[str]) -> set[str]:
    """Find all values that are computed from some values, themselves not included."""
    found: set[str] = set()
    for node in nodes:
        if (names | found) & set(node.input):
            found |= set(node.output)
    return found
