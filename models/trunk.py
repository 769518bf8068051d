"""Base of all extractors of feature maps: a network of timm, trained wholly, in part or not."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from learned_saliency.models.creation import layer_order

_TRAINABLE = re.compile(r"(blocks|stages):([1-9]\d*)")


class Trunk(nn.Module):
    """A network of timm that maps images to feature maps, trained wholly, in part or not at all.

    What is not trained needs no gradient and stays in evaluation mode (batch normalization,
    dropout, stochastic depth) whatever ``train`` says. The order of the layers is timm's own.

    Args:
        network: Network made by `creation.create`; a subclass keeps it as ``network``.
        name: Its name in timm.
        used: The arguments that `creation.create` returned.
        frozen: Whether nothing is trained. Then no graph is recorded either, unless the images
            need a gradient themselves.
        trainable: ``"blocks:2"`` trains the last two blocks (and what follows them) alone,
            ``"stages:1"`` the last stage of a network with stages; None trains all.

    Attributes:
        channels: Channels K_i of each level.
        reductions: Pixels of the image per cell of each level, along one side.
        patch: Side in pixels of the patches that images consist of; None for networks without.
        name: As above.
        frozen: As above.

    Raises:
        ValueError: If both are given, ``trainable`` is neither form or counts more than there is,
            or timm does not group the layers of this network.
    """

    channels: list[int]
    reductions: list[int]
    patch: int | None = None

    def __init__(
        self,
        network: nn.Module,
        name: str,
        used: Mapping[str, Any],
        frozen: bool = False,
        trainable: str | None = None,
    ) -> None:
        super().__init__()
        if frozen and trainable is not None:
            raise ValueError(
                f"frozen=true and trainable={trainable} exclude each other: leave one of them out"
            )
        self.network = network
        self.frozen = frozen
        self.name = name
        self._used = dict(used)
        self._resting: list[str] = []  # names of parts that stay in evaluation mode
        self._trained: list[bool] | None = None  # flags of the parameters while `freeze` holds
        if frozen:
            network.requires_grad_(False)
        elif trainable is not None:
            self._train_last(trainable)
        self.train()

    def forward(self, images: Tensor) -> list[Tensor]:
        """Extract all levels in one pass.

        Args:
            images: Normalized images of shape (B, C, H, W).

        Returns:
            Feature maps of shape (B, ``channels[i]``, h_i, w_i), from fine to coarse; h_i is
            about H / ``reductions[i]``.

        Raises:
            ValueError: If ``images`` is not 4-D, or of a size that the network does not take.
            TypeError: If ``images`` is not of a floating type.
        """
        if images.ndim != 4:
            raise ValueError(f"images must have shape (B, C, H, W), got {tuple(images.shape)}")
        if not images.is_floating_point():
            raise TypeError(f"images must be normalized floats, got {images.dtype}")
        if not self.frozen or images.requires_grad:
            return self._levels(images)
        with torch.no_grad():
            return self._levels(images)

    def train(self, mode: bool = True) -> Self:
        """Set the mode; what is not trained stays in evaluation mode."""
        super().train(mode and not self.frozen)
        for name in self._resting:
            self.network.get_submodule(name).eval()
        return self

    def freeze(self) -> None:
        """Stop the training of all parameters until `unfreeze`.

        Raises:
            ValueError: If there are new layers on top of timm's network, which know nothing yet.
        """
        own = len(list(self.network.parameters()))
        if len(list(self.parameters())) > own:
            raise ValueError(
                "the backbone has new layers, which would never be trained while it is frozen; "
                "leave them out by backbone.neck_channels=[]"
            )
        if not self.frozen:
            self._trained = [weight.requires_grad for weight in self.network.parameters()]
            self.network.requires_grad_(False)
            self.frozen = True
        self.train(self.training)

    def unfreeze(self) -> None:
        """Train again what was trained before `freeze`; without it, nothing changes."""
        if self._trained is not None:
            for weight, trained in zip(self.network.parameters(), self._trained, strict=True):
                weight.requires_grad_(trained)
            self.frozen, self._trained = False, None

    def layers(self) -> list[tuple[str, nn.Parameter, int]]:
        """List timm's parameters with their names and the number of the layer they belong to.

        Layers are blocks, numbered from the stem, 0, on.

        Raises:
            ValueError: If timm does not group the layers of this network.
        """
        numbers = layer_order(self.network, self.name, self._used, coarse=False)
        named = self.network.named_parameters()
        return [(key, weight, n) for (key, weight), n in zip(named, numbers, strict=True)]

    def _levels(self, images: Tensor) -> list[Tensor]:
        """Extract all levels of images that `forward` has checked; a subclass does it."""
        raise NotImplementedError

    def _train_last(self, trainable: str) -> None:
        found = _TRAINABLE.fullmatch(trainable)
        if found is None:
            raise ValueError(f"trainable must be blocks:N or stages:N, got {trainable!r}")
        kind, wanted = found[1], int(found[2])
        numbers = layer_order(self.network, self.name, self._used, coarse=kind == "stages")
        count = numbers and max(numbers)  # without the stem
        if wanted > count:
            raise ValueError(f"trainable={trainable}: backbone '{self.name}' has {count} {kind}")
        for weight, number in zip(self.network.parameters(), numbers, strict=True):
            weight.requires_grad_(number > count - wanted)
        self._resting = list(_resting(self.network))


def increasing(indices: Sequence[int]) -> tuple[int, ...]:
    """Check that indices of levels increase and are at least 0; raise ValueError otherwise."""
    indices = tuple(indices)
    if not indices or indices[0] < 0 or list(indices) != sorted(set(indices)):
        raise ValueError(f"out_indices must increase and be at least 0, got {list(indices)}")
    return indices


def _resting(module: nn.Module, prefix: str = "") -> Sequence[str]:
    """List the largest parts of a module with parameters of which none is trained."""
    found: list[str] = []
    for name, child in module.named_children():
        needs = [weight.requires_grad for weight in child.parameters()]
        if any(needs):
            found += _resting(child, f"{prefix}{name}.")
        elif needs:
            found.append(f"{prefix}{name}")
    return found
