"""Classifiers of the study ``bank``, each with the normalization of its images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from learned_saliency.datamodules import COLORS, Size
from learned_saliency.pipeline.cli import UserError, first_sentence
from learned_saliency.pipeline.runs import (
    PlainLogits,
    check_library_network,
    load_network,
    read_checkpoint,
    third_party_network,
)

_IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


class Member(NamedTuple):
    """A classifier of the bank with the normalization of its images.

    Attributes:
        network: Network of images (B, 3, H, W) to logits (B, C), in evaluation mode.
        mean: Mean of each channel in [0, 1], (3, 1, 1).
        std: Standard deviation of each channel, (3, 1, 1).
    """

    network: nn.Module
    mean: Tensor
    std: Tensor

    def to(self, device: torch.device) -> Member:
        """Bring network and normalization to a device."""
        return Member(self.network.to(device), self.mean.to(device), self.std.to(device))

    def logits(self, images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
        """Classify images (B, 3, H, W) that are normalized for another network.

        Args:
            images: The images.
            mean: Mean that they are normalized with, (3, 1, 1).
            std: Standard deviation that they are normalized with, (3, 1, 1).
        """
        return self.network((images * std + mean - self.mean) / self.std)


def check_bank(names: Sequence[str]) -> None:
    """Check before a long run that the classifiers of a bank can be found.

    Args:
        names: See `build_bank`.

    Raises:
        UserError: If no classifier is named, a library has no such network, or a file is missing or
            no checkpoint.
    """
    if not names:
        raise UserError(
            "studies=[bank] needs classifiers: name some as studies.bank.classifiers=[...], "
            "checkpoints or torchvision:NAME or timm:NAME."
        )
    for name in names:
        if not _is_foreign(name):
            read_checkpoint(name, "best.ckpt")
            continue
        network, at, file = name.partition("@")
        check_library_network(network)
        if at and not Path(file).expanduser().is_file():
            raise UserError(f"studies.bank.classifiers: {name}: there is no such file.")


def _is_foreign(name: str) -> bool:
    return ":" in name and not Path(name).expanduser().exists()


def build_bank(
    names: Sequence[str],
    num_classes: int,
    device: torch.device,
    size: int | Sequence[int] = 224,
    channels: int = COLORS,
) -> dict[str, Member]:
    """Load the classifiers of a bank.

    Args:
        names: Each a run's folder or a checkpoint of this project, whose classifier is taken, or
            ``torchvision:NAME`` or ``timm:NAME`` with the library's weights, or the same with a
            file of weights, ``timm:NAME@FILE``.
        num_classes: Number of classes of the data set, which all classifiers must have.
        device: Device for the classifiers.
        size: Side of the images in pixels, or height and width, which all classifiers must take.
        channels: Number of their channels, likewise.

    Returns:
        The classifiers by the given names.

    Raises:
        UserError: If a classifier cannot be loaded, does not take the images, or has other classes.
    """
    bank, size = {}, Size.of(size)
    for name in names:
        network, normalization = _load(name, num_classes)
        network = network.to(device).eval().requires_grad_(False)
        try:
            with torch.no_grad():
                found = network(torch.zeros(1, channels, *size, device=device)).shape[1]
        except Exception as error:  # a foreign network may raise anything
            of = "" if channels == COLORS else f" and {channels} channels"
            raise UserError(
                f"studies.bank.classifiers: {name} does not take images of {size.height} x "
                f"{size.width} pixels{of}: {first_sentence(error)}; choose the size by "
                "data.crop_size=..., or leave it out."
            ) from None
        if found != num_classes:
            raise UserError(
                f"studies.bank.classifiers: {name} knows {found} classes, but the data set has"
                f" {num_classes}; choose one that was trained on these."
            )
        mean, std = (
            torch.tensor(normalization[key], device=device).view(-1, 1, 1)
            for key in ("mean", "std")
        )
        bank[name] = Member(network, mean, std)
    return bank


def _load(name: str, num_classes: int) -> tuple[nn.Module, Mapping[str, Any]]:
    """Load a classifier and the ``mean`` and ``std`` that its images are normalized with."""
    if _is_foreign(name):
        classifier, _, weights = name.partition("@")
        network = third_party_network(classifier, num_classes, weights or "default")
        return PlainLogits(network), getattr(network, "pretrained_cfg", _IMAGENET)
    checkpoint = read_checkpoint(name, "best.ckpt")
    network = load_network(checkpoint)
    return getattr(network, "classifier", network), checkpoint.config.data
