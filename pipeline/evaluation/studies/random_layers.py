"""Layers of a network with random weights in the place of what they have learned."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

CASCADING, INDEPENDENT = "cascading", "independent"


class Step(NamedTuple):
    """Randomization of some layers.

    Attributes:
        kind: ``"cascading"``, with all layers above them, or ``"independent"``, these alone.
        lowest: The lowest of the layers.
        layers: All random layers.
    """

    kind: str
    lowest: str
    layers: list[str]

    @property
    def name(self) -> str:
        """Name among scores."""
        return f"{self.kind}/{self.lowest}"

    @property
    def label(self) -> str:
        """Name in pictures, which are narrow: the last three parts of that of the lowest layer."""
        return ".".join(self.lowest.split(".")[-3:])

    def part_of(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Select the weights of these layers from those of `random_state`."""
        layers = set(self.layers)
        return {name: v for name, v in state.items() if name.rpartition(".")[0] in layers}


def random_steps(groups: Sequence[Sequence[str]], independent: bool) -> list[Step]:
    """List the randomizations of groups of layers, from the top down.

    Args:
        groups: The groups; the lowest layer of each is its last.
        independent: Whether each group is also randomized alone.
    """
    above: list[str] = []
    steps = []
    for group in groups:
        above = [*above, *group]
        steps.append(Step(CASCADING, group[-1], above))
    if independent:
        steps += [Step(INDEPENDENT, group[-1], list(group)) for group in groups]
    return steps


def layers_in_order(network: nn.Module, images: Tensor) -> list[str]:
    """List the layers with weights of their own from the last to the first that runs.

    A layer that does not run by a call, such as the output projection of attention, has the place
    of the one that holds it.

    Args:
        network: Network of images (B, 3, H, W), in evaluation mode.
        images: Images to run it on.
    """
    order: dict[str, int] = {}

    def note(name: str, module: nn.Module, inputs: object) -> None:
        order.setdefault(name, len(order))

    hooks = [
        module.register_forward_pre_hook(partial(note, name))
        for name, module in network.named_modules()
    ]
    try:
        with torch.no_grad():
            network(images)
    finally:
        for hook in hooks:
            hook.remove()

    def place(name: str) -> int:
        while name and name not in order:
            name = name.rpartition(".")[0]
        return order.get(name, 0)

    own = [
        name
        for name, module in network.named_modules()
        if any(True for _ in module.parameters(recurse=False))
    ]
    places = {name: (place(name), number) for number, name in enumerate(own)}
    return sorted(own, key=places.__getitem__, reverse=True)


def in_groups(layers: Sequence[str], count: int) -> list[list[str]]:
    """Cut layers into groups: the first alone, the others in shares that differ by at most one.

    Args:
        layers: Layers, from the top down.
        count: Number of groups, at least 1; fewer where there are fewer layers.
    """
    first, rest = list(layers[:1]), list(layers[1:])
    count = min(count, len(layers))
    if count == 1:
        return [first + rest]
    cuts = [round(len(rest) * i / (count - 1)) for i in range(count)]
    return [first] + [rest[a:b] for a, b in pairwise(cuts)]


def layers_within(network: nn.Module, name: str) -> list[str]:
    """List the layers with weights of their own that a module is or holds."""
    return [
        inner
        for inner, module in network.named_modules()
        if (inner == name or inner.startswith(f"{name}."))
        and any(True for _ in module.parameters(recurse=False))
    ]


def random_state(network: nn.Module, layers: Sequence[str], seed: int) -> dict[str, Tensor]:
    """Draw new weights for layers, as torch initializes layers of their kind.

    Statistics of normalization layers are reset, too. Weights that no layer of torch owns (a class
    token, a scale per channel) become normal numbers of the mean and deviation that they had.

    Args:
        network: The network, which stays as it is.
        layers: Names of layers with weights of their own.
        seed: Seed of the numbers, which depend on the layers' order.

    Returns:
        Parameters and buffers of the layers by their names in the network, on the CPU.
    """
    found: dict[str, Tensor] = {}
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        for name in layers:
            layer = copy.deepcopy(network.get_submodule(name)).cpu()
            reset = getattr(layer, "reset_parameters", getattr(layer, "_reset_parameters", None))
            if reset is not None:
                reset()
            else:
                for weight in layer.parameters(recurse=False):
                    std, mean = torch.std_mean(weight.float(), correction=0)
                    weight.normal_(float(mean), float(std))
            own = [*layer.named_parameters(recurse=False), *layer.named_buffers(recurse=False)]
            prefix = f"{name}." if name else ""
            found |= {f"{prefix}{key}": value.detach().clone() for key, value in own}
    return found


@contextmanager
def replaced(network: nn.Module, state: Mapping[str, Tensor]) -> Iterator[None]:
    """Hold a network with other values of some parameters and buffers, then put them back.

    Args:
        network: The network.
        state: Values by name.
    """
    own = dict(network.named_parameters(remove_duplicate=False))
    own |= dict(network.named_buffers(remove_duplicate=False))
    with torch.no_grad():
        kept = {name: own[name].detach().clone() for name in state}
        try:
            for name, value in state.items():
                own[name].copy_(value)
            yield
        finally:
            for name, value in kept.items():
                own[name].copy_(value)
