"""Guided backpropagation."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from learned_saliency.attribution.core.calls import name_of
from learned_saliency.attribution.core.method import Query
from learned_saliency.attribution.core.pixels import RECTIFIERS, PixelGradient, gradient_within
from learned_saliency.attribution.core.rules import BackwardRules, RuledCall

RULES = ("guided", "deconvolution")


class GuidedBackprop(PixelGradient):
    """Guided backpropagation (Springenberg et al. 2015).

    The gradient of the class's score by the image, where ReLUs y = relu(x) hand back

        R_x = R_y * 1[x > 0] * 1[R_y > 0]

    for what comes back R_y: the gradient's own factor 1[x > 0], and that of the deconvolution
    (Zeiler and Fergus 2014) 1[R_y > 0], which alone makes ``rule="deconvolution"``. It is one
    forward and one backward pass. The map is made as `VanillaGradient` makes it.

    Note:
        * Peers differ where a network calls ReLUs as functions: captum 0.9 and pytorch-grad-cam
          1.5.7 replace modules alone and give the plain gradient. They leave out ReLU6, which
          counts as a ReLU here (its factor is 1[0 < x < 6]).
        * The map shows edges of the image more than what the class depends on, and hardly changes
          with the class.
        * What the deconvolution hands back from a logit may die on the way, since inactive units
          take part: on SqueezeNet 1.0 and photographs it is exactly zero, and captum's, too.

    Args:
        rule: ``"guided"`` or ``"deconvolution"``.
        **options: See `PixelGradient`.

    Raises:
        ValueError: If an option is out of its range; when called, if the network has no ReLU.
    """

    def __init__(self, *, rule: str = "guided", **options: object) -> None:
        super().__init__(**options)
        if rule not in RULES:
            raise ValueError(f"rule must be one of {RULES}, got {rule!r}")
        self.rule = rule

    def _gradients(self, query: Query, rows: Tensor) -> Tensor:
        guided = self.rule == "guided"
        mode = _Guided() if guided else BackwardRules(dict.fromkeys(RECTIFIERS, _deconvolution))
        gradients, _ = gradient_within(query, rows, mode)
        self._check_rectifiers(len(mode.seen))
        return gradients


class _Guided(TorchFunctionMode):
    """Let what is positive alone go back to the outputs of rectifiers; their derivatives stay.

    Attributes:
        seen: Names of the rectifiers that were called.
    """

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        name = name_of(func)
        if name in RECTIFIERS and result.requires_grad:
            self.seen.add(name)
            result.register_hook(torch.relu)
        return result


def _deconvolution(call: RuledCall, gradient: Tensor) -> list[Tensor]:
    return [gradient.relu()]
