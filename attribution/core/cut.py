"""Cuts of a network at a layer, to run it up to there and from there on; its code stays as is."""

import builtins
import math
import operator
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor, fx, nn

# Attributes of a tensor that do not depend on its values.
_METADATA = {"shape", "device", "dtype", "ndim"}
_ARITHMETIC = {m.__name__ for m in (operator, builtins, math)} | {"_operator"}

_INPLACE_OPERATORS = {
    operator.setitem,
    operator.iadd,
    operator.isub,
    operator.imul,
    operator.itruediv,
    operator.ipow,
}

Context = tuple[Any, ...]


class LayerError(ValueError):
    """A layer at which a network cannot be cut."""


class _Tracer(fx.Tracer):
    """Trace a module into a graph in which the layer, and others by their names, are one node."""

    def __init__(self, layer: str, others: Sequence[str]) -> None:
        super().__init__()
        self._layer = layer
        self._nodes = {layer, *others}

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        if self._layer.startswith(f"{module_qualified_name}."):
            return False
        return module_qualified_name in self._nodes or super().is_leaf_module(
            m, module_qualified_name
        )

    def call_module(self, m: nn.Module, forward: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
        """Follow a module; one that cannot be followed and does not hold the layer is one node."""
        known, stack = len(self.graph.nodes), self.module_stack.copy()
        try:
            return super().call_module(m, forward, args, kwargs)
        except Exception:
            name = self.path_of_module(m)
            if self._layer.startswith(f"{name}."):
                raise
            self.module_stack = stack  # where tracing failed torch leaves what was inside
            for node in list(self.graph.nodes)[: known - 1 : -1]:
                self.graph.erase_node(node)
            return self.create_proxy("call_module", name, args, kwargs)


class GraphCut:
    """A network cut in two at a layer, by symbolic tracing (torch.fx).

    A module without the layer that cannot be traced (timm's convolutions that pad by the size of
    what they get) runs as it is.

    The tail runs from the layer's output alone. Whatever else the tail reads of the image (a skip
    connection around the layer) is handed over as context. Weights, buffers and hooks are those of
    the live module at each run; the evaluation path is what is traced.

    Args:
        root: A module of two inputs, images and a list of the tensors of its further inputs, in
            evaluation mode.
        layer: Qualified name of a submodule of ``root`` that returns a tensor and runs once, or
            once on what depends on the images.
        others: Qualified names of further submodules that run as modules, so that their hooks are
            called.

    Attributes:
        pure: Whether the tail needs no context.

    Raises:
        LayerError: If the layer runs never or more than once, or does not reach the output.
        Exception: Whatever tracing raises for a network that cannot be traced.
    """

    def __init__(self, root: nn.Module, layer: str, others: Sequence[str] = ()) -> None:
        graph = _Tracer(layer, others).trace(root)
        self._constants = _taken_constants(root, graph)
        calls = [node for node in graph.nodes if node.op == "call_module" and node.target == layer]
        of_images = _users(_placeholders(graph)[:1])
        calls = [node for node in calls if node in of_images] or calls
        check_calls(layer, len(calls))
        cut = calls[0]
        (sink,) = graph.find_nodes(op="output")
        source = _users(_placeholders(graph))
        after = _users([cut]) - {cut}
        if sink not in after:
            raise LayerError(f"the network's output does not depend on layer {_user_name(layer)!r}")
        tail, context = _frontier(after, cut, source)
        before = [node for node in graph.nodes if node not in after]
        self._body = _subgraph(before, [], [cut, *context])
        inner = [node for node in graph.nodes if node in tail and node is not sink]
        self._tail = _subgraph(inner, [cut, *context], sink.args[0])
        self._writes = _writes_inputs(root, self._tail)
        self.pure = not context

    def body(
        self, root: nn.Module, images: Tensor, tensors: Sequence[Tensor]
    ) -> tuple[Tensor, Context, None]:
        """Run ``root`` on images (B, 3, H, W) up to the layer; return output, context, None."""
        output, *context = self._run(root, self._body, images, tensors)
        return output, tuple(context), None

    def tail(self, root: nn.Module, output: Tensor, context: Context) -> Any:
        """Run the rest of ``root`` from the layer's output; return what the network returns."""
        if self._writes:
            output, *context = (
                x.clone() if isinstance(x, Tensor) else x for x in (output, *context)
            )
        return self._run(root, self._tail, output, *context)

    def _run(self, root: nn.Module, graph: fx.Graph, *inputs: Any) -> Any:
        return _Interpreter(root, graph, self._constants).run(*inputs)


class _Interpreter(fx.Interpreter):
    """Run a graph of a module with tensors that tracing found outside of it."""

    def __init__(self, root: nn.Module, graph: fx.Graph, constants: Mapping[str, Tensor]) -> None:
        super().__init__(root, graph=graph)
        self._constants = constants

    def fetch_attr(self, target: str) -> Any:
        return self._constants[target] if target in self._constants else super().fetch_attr(target)

    def run_node(self, n: fx.Node) -> Any:
        try:
            return super().run_node(n)
        except ValueError:  # a sentence for users, to which torch would add the graph
            self.extra_traceback = False
            raise


class HookCut:
    """A cut of a network that cannot be traced: a hook replaces the layer's output.

    The tail costs a run of the whole network on images and further inputs, which are the context.

    Args:
        layer: Qualified name of a submodule that runs once and returns a tensor.

    Attributes:
        pure: False: the tail needs the images.
    """

    pure = False

    def __init__(self, layer: str) -> None:
        self._layer = layer

    def body(
        self, root: nn.Module, images: Tensor, tensors: Sequence[Tensor]
    ) -> tuple[Tensor, Context, Any]:
        """Run the network on images (B, 3, H, W) and the tensors of its further inputs.

        Returns:
            The layer's output, the context, and what the network returns.
        """
        outputs: list[Tensor] = []

        def keep(module: nn.Module, inputs: Any, output: Tensor) -> None:
            # A later in-place operation must not reach the copy that is kept.
            outputs.append(output.clone() if isinstance(output, Tensor) else output)

        handle = root.get_submodule(self._layer).register_forward_hook(keep)
        try:
            returned = root.returned(images, tensors)
        finally:
            handle.remove()
        check_calls(self._layer, len(outputs))
        return outputs[0], (images, tensors), returned

    def tail(self, root: nn.Module, output: Tensor, context: Context) -> Any:
        """Run the network with the layer's output replaced; return what it returns."""
        handle = root.get_submodule(self._layer).register_forward_hook(
            lambda module, inputs, replaced: output.clone()
        )
        try:
            return root.returned(*context)
        finally:
            handle.remove()


def check_calls(layer: str, calls: int) -> None:
    """Raise LayerError unless a layer ran once."""
    if calls != 1:
        raise LayerError(
            f"layer {_user_name(layer)!r} runs {calls} times in one forward pass, so it has no one "
            "output to explain: name a layer that runs once, such as the block around it"
        )


def _user_name(layer: str) -> str:
    return layer.removeprefix("model.")


def _taken_constants(root: nn.Module, graph: fx.Graph) -> dict[str, Tensor]:
    """Take the tensors that tracing found outside of a module, and left in it, out of it again."""
    names = {node.target for node in graph.find_nodes(op="get_attr")}
    names = {name for name in names if name.startswith("_tensor_constant")}
    return {name: root.__dict__.pop(name) for name in names}


def _placeholders(graph: fx.Graph) -> list[fx.Node]:
    return list(graph.find_nodes(op="placeholder"))


def _users(nodes: Iterable[fx.Node]) -> set[fx.Node]:
    """Collect the nodes and everything computed from them."""
    stack, seen = list(nodes), set()
    while stack:
        node = stack.pop()
        if node not in seen:
            seen.add(node)
            stack += node.users
    return seen


def _frontier(
    after: set[fx.Node], cut: fx.Node, source: set[fx.Node]
) -> tuple[set[fx.Node], list[fx.Node]]:
    """Find the nodes of the tail, and the image-dependent values that it reads from before.

    Constants (which the image does not reach) and sizes are computed anew in the tail, so that
    only tensors are handed over and their batch can be repeated.
    """
    tail, context, stack = set(after), {}, list(after)
    while stack:
        for node in stack.pop().all_input_nodes:
            if node in tail or node is cut or node in context:
                continue
            if node not in source or _is_metadata(node):
                tail.add(node)
                stack.append(node)
            else:
                context[node] = None
    return tail, sorted(context)


def _is_metadata(node: fx.Node) -> bool:
    """Return whether a node computes with sizes or types of tensors only."""
    if node.op == "call_method":
        return node.target in {"size", "dim", "numel"}
    if node.op != "call_function":
        return False
    if node.target is getattr:
        return node.args[1] in _METADATA
    known = getattr(node.target, "__module__", None) in _ARITHMETIC
    return known and bool(node.all_input_nodes) and all(map(_is_metadata, node.all_input_nodes))


def _subgraph(nodes: list[fx.Node], inputs: list[fx.Node], outputs: Any) -> fx.Graph:
    """Copy nodes into a graph of their own that takes ``inputs`` and returns ``outputs``."""
    graph, copies = fx.Graph(), {}
    for node in inputs:
        copies[node] = graph.placeholder(node.name)
    for node in nodes:
        copies[node] = graph.node_copy(node, copies.__getitem__)
    graph.output(fx.map_arg(outputs, copies.__getitem__))
    return graph


def _writes_inputs(root: nn.Module, graph: fx.Graph) -> bool:
    """Return whether a graph may modify its inputs in place.

    Every operation but a module with weights may return a view of its input.
    """
    stack, seen = _placeholders(graph), set()
    while stack:
        for node in stack.pop().users:
            if _is_inplace(root, node):
                return True
            weighted = node.op == "call_module" and list(
                root.get_submodule(node.target).parameters()
            )
            if node not in seen and not weighted:
                seen.add(node)
                stack.append(node)
    return False


def _is_inplace(root: nn.Module, node: fx.Node) -> bool:
    if node.op == "call_module":
        return any(getattr(m, "inplace", False) for m in root.get_submodule(node.target).modules())
    if node.kwargs.get("inplace") or "out" in node.kwargs or node.target in _INPLACE_OPERATORS:
        return True
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    return node.op.startswith("call") and name.endswith("_") and not name.endswith("__")
