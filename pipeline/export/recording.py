"""Recording of a post-hoc method as a graph of plain operations, derivatives included."""

from __future__ import annotations

from torch import Tensor, nn
from torch._dispatch.python import enable_python_dispatcher
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import functional_call
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.experimental.symbolic_shapes import (
    DimDynamic,
    ShapeEnv,
    StatelessSymbolicContext,
)
from torch.nn.attention import SDPBackend, sdpa_kernel

from learned_saliency.attribution import recording
from learned_saliency.pipeline.export.adjoints import ADJOINTS


def state_of(module: nn.Module) -> dict[str, Tensor]:
    """Collect the parameters and buffers of a module, each once."""
    return dict(module.named_parameters()) | dict(module.named_buffers())


def record(module: nn.Module, *inputs: Tensor) -> GraphModule:
    """Record what a module computes, with any gradients that it takes on the way.

    torch.export sees calls of autograd as nothing; here they have become operations.

    Args:
        module: A module whose gradients, if it takes any, are by values that it computes itself;
            it must run for these inputs without a look at values.
        *inputs: An example of its inputs, whose first axis is the batch, at least 2.

    Returns:
        Function ``(state_of(module), *inputs)`` of what the module returns, for batches of any
        size, without weights of its own.

    Raises:
        Exception: Whatever the module raises where values are not known.
    """
    mode = FakeTensorMode(shape_env=ShapeEnv(), allow_non_fake_inputs=True)
    state = {n: mode.from_tensor(v, static_shapes=True) for n, v in state_of(module).items()}
    examples = [mode.from_tensor(value, symbolic_context=_batched(value)) for value in inputs]

    def run(state: dict[str, Tensor], *inputs: Tensor) -> object:
        return functional_call(module, state, inputs)

    trace = make_fx(run, decomposition_table=ADJOINTS, _allow_non_fake_inputs=True)
    # Fused attention has no derivative in plain operations; the dispatcher keeps the batch symbolic
    # in functions that torch would otherwise split up outside of Python.
    with recording(), mode, enable_python_dispatcher(), sdpa_kernel(SDPBackend.MATH):
        return trace(state, *examples)


def _batched(value: Tensor) -> StatelessSymbolicContext:
    """Let the size of the first axis be a symbol."""
    fixed = [DimDynamic.STATIC] * (value.dim() - 1)
    return StatelessSymbolicContext(dynamic_sizes=[DimDynamic.DYNAMIC, *fixed])
