"""Backward rules of one's own for the functions that a network calls."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from learned_saliency.attribution.core.calls import METADATA, Call, name_of, names, pull_back
from learned_saliency.ops import full_precision, widen

#: Names of functions that give the values of what they take, in other shapes, orders or types.
VIEWS = METADATA | names(
    "__get__ __getitem__ view view_as reshape reshape_as flatten unflatten squeeze unsqueeze "
    "permute transpose swapaxes movedim t T contiguous clone to float double type_as expand "
    "expand_as unbind chunk split narrow select index_select roll flip cat concat concatenate "
    "stack pad dropout dropout1d dropout2d feature_dropout alpha_dropout detach channel_shuffle "
    "pixel_unshuffle pixel_shuffle register_hook requires_grad"
)

#: ``rule(call, gradient) -> gradients``: what a call hands to each tensor of ``call.taken``, None
#: for nothing, of what its output got.
Rule = Callable[["RuledCall", Tensor], Sequence[Tensor | None]]


class BackwardRules(TorchFunctionMode):
    """Replace the derivatives of functions by rules while a network runs within.

    What is computed stays the same; what a backward pass hands on at the named functions is what
    the rules make of it. Functional calls and modules are treated alike, and functions that work in
    place do not. All other functions have their derivatives. The backward pass is made outside of
    the ``with``, once:

        with torch.enable_grad(), BackwardRules({"relu": guided}):
            score = query.image_scores(leaf).sum()
        (relevance,) = torch.autograd.grad(score, leaf)

    Parameters must not require gradients, as they do not within a method.

    Args:
        rules: Rules by the names of functions, those that ``torch.x``, ``Tensor.x`` and
            ``torch.nn.functional.x`` share, without a trailing underscore: ``"relu"``,
            ``"conv2d"``, ``"linear"``, ``"batch_norm"``, ``"softmax"``, ``"matmul"``; operators
            have those of their methods, ``"__add__"``, ``"__iadd__"``, ``"__matmul__"``. Each
            function gives one tensor.
        derivatives: Names of the functions that keep their derivatives, if not all others do;
            views of tensors and what reads their sizes always may. Any further function of what
            depends on the input is refused.

    Attributes:
        seen: Names of the functions that got a rule, with how often they were called.

    Raises:
        ValueError: Within, if a function is called that is refused.
    """

    def __init__(
        self, rules: Mapping[str, Rule], derivatives: Collection[str] | None = None
    ) -> None:
        super().__init__()
        self._rules = dict(rules)
        self._derivatives = derivatives
        self.seen: dict[str, int] = {}

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = kwargs or {}
        rule = self._rules.get(name_of(func))
        if not torch.is_grad_enabled():
            return func(*args, **kwargs)
        if rule is None:
            result = func(*args, **kwargs)
            self._check(name_of(func), result)
            return result
        call = Call(func, args, kwargs)
        if not call.taken:
            return func(*args, **kwargs)
        self.seen[call.name] = self.seen.get(call.name, 0) + 1
        return _Ruled.apply(call, rule, *call.taken)

    def _check(self, name: str, result: Any) -> None:
        """Raise ValueError for a function of the input that has neither rule nor permission."""
        if self._derivatives is None or name in self._derivatives or name in VIEWS:
            return
        tensors = [value for value in pytree.tree_leaves(result) if isinstance(value, Tensor)]
        if any(value.requires_grad for value in tensors):
            raise ValueError(f"there is no rule for the function {name!r} of the network")


class RuledCall:
    """A call, as a rule sees it in the backward pass; numbers are at least float32.

    Attributes:
        name: Name of the function.
        taken: The tensors that depend on the input of the network, without graphs.
    """

    def __init__(self, call: Call, taken: Sequence[Tensor]) -> None:
        self._call = call
        self.name = call.name
        self.taken = [widen(value) for value in taken]

    def takes(self, value: Tensor) -> bool:
        """Return whether the call takes this very tensor."""
        return any(value is taken for taken in self._call.taken)

    def takes_at(self, position: int, name: str) -> bool:
        """Return whether an argument, by position or name, is what depends on the input."""
        return self.argument(position, name) is self.taken[0]

    def argument(self, position: int, name: str) -> Any:
        """Return an argument, given by position or by name; None if it was not given."""
        args, kwargs = self._arguments(self.taken)
        return args[position] if position < len(args) else kwargs.get(name)

    def run(
        self, values: Sequence[Tensor], others: Mapping[tuple[int, str], Any] | None = None
    ) -> tuple[list[Tensor], Tensor]:
        """Call the function on other values, with a graph.

        Args:
            values: In the place of `taken`.
            others: Other arguments by position and name: ``{(1, "weight"): positive}``.

        Returns:
            The values as leaves of the graph, and the result.
        """
        with torch.enable_grad():
            leaves = [value.detach().requires_grad_() for value in values]
            args, kwargs = self._arguments([leaf.clone() for leaf in leaves])
            for (position, name), value in (others or {}).items():
                if position < len(args):
                    args = (*args[:position], value, *args[position + 1 :])
                else:
                    kwargs = {**kwargs, name: value}
            return leaves, self._call.function(*args, **kwargs)

    def pull_back(
        self,
        gradient: Tensor,
        values: Sequence[Tensor] | None = None,
        others: Mapping[tuple[int, str], Any] | None = None,
    ) -> list[Tensor | None]:
        """Multiply by the transposed derivative, by default at the values taken: the usual rule."""
        leaves, result = self.run(self.taken if values is None else values, others)
        return pull_back([result], leaves, [gradient])

    def _arguments(self, values: Sequence[Tensor]) -> tuple[tuple, dict[str, Any]]:
        arguments = self._call.arguments(values)
        return pytree.tree_map_only(Tensor, widen, arguments)


class _Ruled(torch.autograd.Function):
    """A call whose backward pass is a rule."""

    @staticmethod
    def forward(ctx: Any, call: Call, rule: Rule, *taken: Tensor) -> Tensor:
        result = call.value()
        if not isinstance(result, Tensor):
            raise TypeError(f"{call.name} gives {type(result).__name__}, a rule needs one tensor")
        ctx.call, ctx.rule = call, rule
        ctx.save_for_backward(*taken)
        return result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        taken = ctx.saved_tensors
        with torch.no_grad(), full_precision(gradient.device):
            handed = ctx.rule(RuledCall(ctx.call, taken), widen(gradient))
            narrowed = [
                None if given is None else given.to(value.dtype)
                for given, value in zip(handed, taken, strict=True)
            ]
        return (None, None, *narrowed)
