"""Decoders of segmentation-models-pytorch on the levels of any backbone."""

from __future__ import annotations

import importlib
import inspect
import math
import warnings
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from learned_saliency.errors import MendableError
from learned_saliency.models.resizing import resize
from learned_saliency.models.smp_kinds import DECODER_KINDS, DecoderKind

_PACKAGE = "segmentation_models_pytorch"
_PREFIX = "smp:"
_OURS = {"encoder_channels", "in_channels", "n_blocks", "encoder_depth", "output_stride"}


class MissingDecodersError(MendableError):
    """The package of the decoders is not installed."""


class SMPDecoder(nn.Module):
    """A decoder of segmentation-models-pytorch between a backbone's levels and two full maps.

    It takes the place of `UNetDecoder`. The library's decoders expect maps at 1/2, 1/4, 1/8 and so
    on of the image, each exactly half as big as the one before. The levels are brought to that:

    - A level belongs to the nearest of these scales. Levels of one scale, as stages without stride
      give them, are joined as channels, so that no resolution is lost. A level as big as the image
      is not read, as in the library.
    - The coarsest level stays as it is; others get 2, 4, ... times its size by nearest neighbor,
      which changes nothing where the sides of the image are multiples of the coarsest reduction.
    - A scale that the backbone has no level of has no channels in ``unet``, ``manet`` and
      ``linknet``, which means no skip connection, and so has 1/2 in all others. Of the scales from
      1/4 on these read each one, and get the next coarser one enlarged.
    - Coarser scales than the backbone's, which ``fpn`` and others need, are means of 2x2 cells;
      levels coarser than ``deeplabv3plus`` (1/16), ``fpn`` and ``pan`` (1/32) know are enlarged.

    Its result is resized to the image after the last convolution: the U-shaped decoders reach it
    by themselves, up to a rest at odd sizes (nearest); the others end at 1/4 or at the coarsest
    level and are enlarged bilinearly with half-pixel centers, where the library aligns corners.
    These interpolate bilinearly within, too, whose gradient on CUDA is deterministic only under
    ``torch.use_deterministic_algorithms``.

    Weights start as in the library. In training, a batch normalization that sees a single value per
    channel (one image, pooled to one cell, as the last batch of an epoch may have it) takes its
    running statistics instead of raising an error.

    Args:
        decoder: ``smp:NAME``, NAME one of `DECODERS`.
        channels: Channels of the levels, from fine to coarse.
        reductions: Pixels of the image per cell of each level, along one side.
        widths: Channels of a U-shaped decoder's blocks (``unet``, ``unetplusplus``, ``manet``),
            from coarse to fine: the first of them, and the last again where they are too few. In
            other decoders the first stands for the library's 256, and what is a half, an eighth or
            twice that there stays so.
        options: Further arguments of the library's class, or other values of these widths.
        regions: Number R of maps of scores, at least 2.

    Attributes:
        scales: Number n of scales, the coarsest being 1/2^n.

    Raises:
        MissingDecodersError: If the package is not installed.
        ValueError: If there is no such decoder, an option does not fit, or no level can be read.
    """

    def __init__(
        self,
        decoder: str,
        channels: Sequence[int],
        reductions: Sequence[float],
        widths: Sequence[int],
        options: Mapping[str, Any] | None = None,
        regions: int = 2,
    ) -> None:
        super().__init__()
        name, kind = _find(decoder)
        self.name = name
        self.encoder_channels = list(channels)
        own = [max(0, round(math.log2(reduction))) for reduction in reductions]
        least, most = kind.coarsest
        self._places = [min(scale, most) for scale in own]
        self._coarsest = self._places[-1]
        if self._coarsest < 1:
            raise ValueError(f"{decoder} reads levels of half the image or less, there is none")
        self._enlarged = own[-1] - self._coarsest
        self._cells, self._filled = kind.cells, kind.filled
        self.scales = max(self._coarsest, least)
        self._first = min(self._coarsest, kind.first or self._coarsest)
        given = kind.arguments(self._scale_channels(), _fitted(widths, self.scales))
        self.network, used = _build(decoder, kind, given, options or {})
        width = used[kind.output]
        if used.get("merge_policy") == "cat":  # fpn puts its four maps side by side
            width = self.network.out_channels
        width = width if isinstance(width, int) else width[-1]
        self.scores = nn.Conv2d(width, regions, kind.kernel, padding=kind.kernel // 2)
        self._mode = "nearest" if kind.u_shaped else "bilinear"
        start = importlib.import_module(f"{_PACKAGE}.base.initialization")
        start.initialize_decoder(self.network)
        start.initialize_head(self.scores)

    def forward(self, levels: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """Decode feature maps.

        Args:
            levels: Maps of shape (B, ``encoder_channels[i]``, h_i, w_i) from fine to coarse.
            size: Height and width of the image, (H, W) in pixels.

        Returns:
            Scores of shape (B, R, H, W) before the softmax: channel 0 background, then foreground.

        Raises:
            ValueError: If the levels are not those that the decoder was made for, or too small.
        """
        channels = [level.shape[1] for level in levels]
        if channels != self.encoder_channels:
            raise ValueError(f"expected levels of {self.encoder_channels} channels, got {channels}")
        maps = self._at_scales(levels)
        height, width = maps[-1].shape[-2:]
        if min(height, width) < self._cells:
            raise ValueError(
                f"smp:{self.name} needs {self._cells} cells along a side of the coarsest level, "
                f"got {height} x {width}; larger images or backbone.unstrided_stages give more"
            )
        return resize(self.scores(self.network(maps)), size, self._mode)

    def _scale_channels(self) -> list[int]:
        """Count the channels of scales 0 to n, see `_at_scales`."""
        found = [0] * (self.scales + 1)
        for place, width in zip(self._places, self.encoder_channels, strict=True):
            if place >= self._first:
                found[place] += width
        for scale in range(self._coarsest + 1, self.scales + 1):
            found[scale] = found[scale - 1]
        for scale in self._holes():
            found[scale] = found[scale + 1]
        return found

    def _holes(self) -> list[int]:
        """List the scales without a level that are filled, from coarse to fine."""
        if not self._filled:
            return []
        return [s for s in range(self._coarsest - 1, 1, -1) if s not in self._places]

    def _at_scales(self, levels: Sequence[Tensor]) -> list[Tensor]:
        """Bring levels to scales 0 to n, of which 0 has no channels; see the class."""
        further = self.scales - self._coarsest
        base = [-(-(side << self._enlarged) >> further) for side in levels[-1].shape[-2:]]
        sizes = [tuple(side << (self.scales - s) for side in base) for s in range(self.scales + 1)]
        maps = [levels[-1].new_empty((levels[-1].shape[0], 0, *size)) for size in sizes]
        for scale in range(self._first, self._coarsest + 1):
            own = [
                resize(level, sizes[scale])
                for level, place in zip(levels, self._places, strict=True)
                if place == scale
            ]
            if own:
                maps[scale] = torch.cat(own, dim=1) if len(own) > 1 else own[0]
        for scale in range(self._coarsest + 1, self.scales + 1):
            maps[scale] = F.avg_pool2d(maps[scale - 1], 2)
        for scale in self._holes():
            maps[scale] = resize(maps[scale + 1], sizes[scale])
        return maps


class _BatchNorm(nn.BatchNorm2d):
    """Batch normalization that takes its running statistics for a single value per channel."""

    def forward(self, maps: Tensor) -> Tensor:
        if self.training and maps.shape[0] * maps.shape[2] * maps.shape[3] == 1:
            mean, variance = self.running_mean, self.running_var
            return F.batch_norm(maps, mean, variance, self.weight, self.bias, False, 0.0, self.eps)
        return super().forward(maps)


#: Names behind ``smp:``.
DECODERS = tuple(DECODER_KINDS)


def _find(decoder: str) -> tuple[str, DecoderKind]:
    name = decoder.removeprefix(_PREFIX)
    if name == decoder or name not in DECODER_KINDS:
        close = get_close_matches(name, DECODER_KINDS, 1)
        nearest = f" (nearest: {_PREFIX}{close[0]})" if close else ""
        raise ValueError(
            f"there is no decoder {decoder!r}{nearest}, but {_PREFIX}NAME with NAME one of "
            f"{', '.join(DECODER_KINDS)}"
        )
    return name, DECODER_KINDS[name]


def _fitted(widths: Sequence[int], count: int) -> list[int]:
    """Return as many widths: the first of them, or the last one again."""
    widths = list(widths)
    if not widths or min(widths) < 1:
        raise ValueError(f"widths must be positive numbers, got {widths}")
    return [*widths[:count], *widths[-1:] * (count - len(widths))]


def _build(
    decoder: str, kind: DecoderKind, given: dict[str, Any], options: Mapping[str, Any]
) -> tuple[nn.Module, dict[str, Any]]:
    """Build a decoder of the library, and tell the arguments that it was made with."""
    folder, name = kind.place
    try:
        make = getattr(importlib.import_module(f"{_PACKAGE}.decoders.{folder}.decoder"), name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != _PACKAGE:
            raise
        raise MissingDecodersError(
            f"decoder={decoder}: is one of segmentation-models-pytorch's; install it by "
            "pip install 'learned-saliency[decoders]'."
        ) from None
    known = [key for key in inspect.signature(make).parameters if key not in _OURS]
    for key in options:
        if key not in known:
            close = get_close_matches(key, known, 1)
            nearest = f" (nearest: {close[0]})" if close else ""
            raise ValueError(
                f"{decoder} has no option {key!r}{nearest}; there are: {', '.join(known)}"
            )
    used = given | dict(options)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Initializing zero-element")  # refused below
            network = make(**used)
    except (TypeError, ValueError, RuntimeError, ArithmeticError) as error:
        raise ValueError(f"{decoder}: {error}") from None
    if empty := [key for key, weight in network.named_parameters() if not weight.numel()]:
        raise ValueError(
            f"{decoder}: no channel is left for {empty[0].rpartition('.')[0]}; the levels or the "
            "widths are too narrow for this option"
        )
    return _with_batch_norms(network), used


def _with_batch_norms(network: nn.Module) -> nn.Module:
    """Put `_BatchNorm` in the place of all batch normalizations; the names stay."""
    for name, part in list(network.named_modules()):
        if type(part) is nn.BatchNorm2d:
            own = _BatchNorm(part.num_features, part.eps, part.momentum, part.affine)
            parent, _, key = name.rpartition(".")
            setattr(network.get_submodule(parent), key, own)
    return network
