"""Constructions and inputs of the decoders of segmentation-models-pytorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

_ANY = 99  # no bound of scales


class DecoderKind(NamedTuple):
    """Construction and inputs of a decoder of the library; scale s is 1/2^s of the image.

    Attributes:
        place: Module below the library's ``decoders``, and name of the class.
        arguments: Arguments of the class, of the channels of scales 0 to n and the widths.
        output: Argument that holds the channels of its result, as a number or a list's last.
        kernel: Side of the library's convolution from these to the scores.
        coarsest: Least and most n.
        first: Finest scale that it reads; None if that is n alone.
        filled: Whether each scale from 1/4 on needs a map, also one that the backbone has none of.
        cells: Least cells along a side of the map of scale n.
    """

    place: tuple[str, str]
    arguments: Callable[[list[int], list[int]], dict[str, Any]]
    output: str
    kernel: int
    coarsest: tuple[int, int] = (1, _ANY)
    first: int | None = 1
    filled: bool = False
    cells: int = 1

    @property
    def u_shaped(self) -> bool:
        """True if blocks, one per scale, double the map up to the image."""
        return "n_blocks" in self.arguments([0, 0], [0])


def _u_shaped(channels: list[int], widths: list[int]) -> dict[str, Any]:
    blocks = len(channels) - 1
    return {"encoder_channels": channels, "n_blocks": blocks, "decoder_channels": widths}


def _linknet(channels: list[int], widths: list[int]) -> dict[str, Any]:
    # Its blocks have the widths of the levels; only that after the last is free.
    blocks, last = len(channels) - 1, max(1, widths[0] // 8)
    return {"encoder_channels": channels, "n_blocks": blocks, "prefinal_channels": last}


def _fpn(channels: list[int], widths: list[int]) -> dict[str, Any]:
    groups = 32  # channels are normalized in as many groups
    return {
        "encoder_channels": channels,
        "encoder_depth": len(channels) - 1,
        "pyramid_channels": widths[0],
        "segmentation_channels": groups * max(1, widths[0] // (2 * groups)),
    }


def _pspnet(channels: list[int], widths: list[int]) -> dict[str, Any]:
    if channels[-1] % 4:
        raise ValueError(
            f"smp:pspnet takes a quarter of the coarsest level's channels: {channels[-1]} have none"
        )
    return {"encoder_channels": channels, "out_channels": 2 * widths[0]}


def _deeplabv3(channels: list[int], widths: list[int]) -> dict[str, Any]:
    options = {"atrous_rates": (12, 24, 36), "aspp_separable": False, "aspp_dropout": 0.5}
    return {"in_channels": channels[-1], "out_channels": widths[0], **options}


def _deeplabv3plus(channels: list[int], widths: list[int]) -> dict[str, Any]:
    depth = len(channels) - 1
    scales = {"encoder_channels": channels, "encoder_depth": depth, "output_stride": 2**depth}
    options = {"atrous_rates": (12, 24, 36), "aspp_separable": True, "aspp_dropout": 0.5}
    return {**scales, "out_channels": widths[0], **options}


def _pan(channels: list[int], widths: list[int]) -> dict[str, Any]:
    width = max(1, widths[0] // 8)
    depth = len(channels) - 1
    return {"encoder_channels": channels, "encoder_depth": depth, "decoder_channels": width}


def _upernet(channels: list[int], widths: list[int]) -> dict[str, Any]:
    depth = len(channels) - 1
    return {"encoder_channels": channels, "encoder_depth": depth, "decoder_channels": widths[0]}


def _segformer(channels: list[int], widths: list[int]) -> dict[str, Any]:
    depth = len(channels) - 1
    scales = {"encoder_channels": channels, "encoder_depth": depth}
    return {**scales, "segmentation_channels": widths[0]}


#: Decoders by the names behind ``smp:``.
DECODER_KINDS = {
    "unet": DecoderKind(("unet", "UnetDecoder"), _u_shaped, "decoder_channels", 3),
    "unetplusplus": DecoderKind(
        ("unetplusplus", "UnetPlusPlusDecoder"),
        _u_shaped,
        "decoder_channels",
        3,
        (2, _ANY),
        filled=True,
    ),
    "manet": DecoderKind(("manet", "MAnetDecoder"), _u_shaped, "decoder_channels", 3),
    "linknet": DecoderKind(("linknet", "LinknetDecoder"), _linknet, "prefinal_channels", 1),
    "fpn": DecoderKind(
        ("fpn", "FPNDecoder"), _fpn, "segmentation_channels", 1, (5, 5), 2, True, cells=2
    ),
    "pspnet": DecoderKind(("pspnet", "PSPDecoder"), _pspnet, "out_channels", 3, first=None),
    "deeplabv3": DecoderKind(
        ("deeplabv3", "DeepLabV3Decoder"), _deeplabv3, "out_channels", 1, first=None
    ),
    "deeplabv3plus": DecoderKind(
        ("deeplabv3", "DeepLabV3PlusDecoder"), _deeplabv3plus, "out_channels", 1, (3, 4), 2, True
    ),
    "pan": DecoderKind(
        ("pan", "PANDecoder"), _pan, "decoder_channels", 3, (3, 5), 2, True, cells=8
    ),
    "upernet": DecoderKind(
        ("upernet", "UPerNetDecoder"), _upernet, "decoder_channels", 1, (3, _ANY), 2, True
    ),
    "segformer": DecoderKind(
        ("segformer", "SegformerDecoder"),
        _segformer,
        "segmentation_channels",
        1,
        (3, _ANY),
        1,
        True,
    ),
}
