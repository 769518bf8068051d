"""Feedback."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from learned_saliency.attribution.core.calls import Call, name_of
from learned_saliency.attribution.core.method import Query
from learned_saliency.attribution.core.pixels import RECTIFIERS, PixelGradient, gradient_within


class Feedback(PixelGradient):
    """Feedback convolutional networks (Cao et al. 2015, "Look and Think Twice").

    Each neuron i of the ReLU layers gets a gate z_i, and the gates are chosen so that the class
    score is largest:

        max over z of s_c(image, z),    z_i in {0, 1},    y_i = z_i relu(x_i)

    All are open at first. A round runs the network with its gates and then goes back through it,
    layer by layer from the top, with the gates that it sets on its way (greedily, so that a layer
    sees those above it):

        alpha_i = ds_c/dx_i,    z_i <- 1[alpha_i > 0],    and z_i alpha_i goes further down

    The map is the gradient by the image that the last round ends with, made to a map as
    `VanillaGradient` does. A closed gate stays closed, so that rounds come to an end at some z. The
    first is guided backpropagation.

    Note:
        * The paper relaxes z to [0, 1], subtracts lambda ||z|| and climbs by small steps of the
          gradient. This is the update of the code that its first author published later (feedback
          selective pruning), which has no step and no lambda. On a SqueezeNet and four photographs
          no gate moved after 13 rounds; after the default 5 the gradients were within 1 % of the
          largest.
        * Max pooling, to which the paper gives gates too, has none here: behind a ReLU a cell that
          does not win gets no gradient, so that the gate of its ReLU is closed.
        * ReLU6 counts as a ReLU, and hands back as one where it is saturated, too: the rounds
          raise values until most are, and by its derivative all gates would close.

    Args:
        rounds: Number of rounds, at least 1; each is one forward and one backward pass.
        **options: See `PixelGradient`.

    Raises:
        ValueError: If an option is out of its range; when called, if the network has no ReLU.
    """

    def __init__(self, *, rounds: int = 5, **options: object) -> None:
        super().__init__(**options)
        if rounds < 1:
            raise ValueError(f"rounds must be at least 1, got {rounds}")
        self.rounds = rounds

    def _gradients(self, query: Query, rows: Tensor) -> Tensor:
        gates: list[Tensor] = []
        targets = None  # a class that is predicted is that of the first round, without gates
        for _ in range(self.rounds):
            gradients, targets = gradient_within(query, rows, _Gated(gates), targets)
            self._check_rectifiers(len(gates))
        return gradients


class _Gated(TorchFunctionMode):
    """Put gates in front of the rectifiers of a network, and close some on the way back.

    Args:
        gates: One tensor for each rectifier, in the order of their calls, bool of its shape; empty
            in the first round, and updated in the backward pass.
    """

    def __init__(self, gates: list[Tensor]) -> None:
        super().__init__()
        self._gates, self._calls = gates, 0

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        if name_of(func) in RECTIFIERS and torch.is_grad_enabled() and args[0].requires_grad:
            call = Call(func, args, kwargs or {})
            if self._calls == len(self._gates):
                self._gates.append(torch.ones_like(args[0], dtype=torch.bool))
            self._calls += 1
            return _Gate.apply(args[0], call, self._gates, self._calls - 1)
        return func(*args, **(kwargs or {}))


class _Gate(torch.autograd.Function):
    """A rectified value z x+, whose backward pass sets z by the sign of alpha."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, call: Call, gates: list[Tensor], place: int) -> Tensor:
        ctx.gates, ctx.place = gates, place
        gated = x * gates[place]
        ctx.save_for_backward(gated > 0)
        args, kwargs = call.arguments([gated])
        return call.function(*args, **kwargs)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        (active,) = ctx.saved_tensors
        alpha = gradient.relu() * active  # zero where x is negative, or its gate closed
        ctx.gates[ctx.place] = alpha > 0
        return alpha, None, None, None
