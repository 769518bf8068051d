"""Levels of several scales made of equally big ones."""

from __future__ import annotations

from collections.abc import Sequence

from timm.layers import LayerNorm2d
from torch import Tensor, nn

_DOUBLINGS = (2, 1)  # how often the side of the first levels doubles; others keep theirs


class FeaturePyramid(nn.Module):
    """Simple feature pyramid, in front of a decoder (ViTDet, Li et al., ECCV 2022, Sec. 3).

    A plain vision transformer gives levels that are all equally big. The first is enlarged 4 times
    by two learned transposed convolutions (2x2, stride 2, layer normalization and GELU between
    them), the second twice by one, others keep their size; a 1x1 convolution and a layer
    normalization follow. The widths are halved wherever the side doubles. The last level is left as
    it is: it holds the features that the classifier reads.

    Where levels have several sizes already, or there is a single one, all are left as they are, and
    the pyramid has no parameters.

    Departures from the paper: each level starts from a block of its own, there all start from the
    last one; the half-size map of a maximum pool is left out, because the last level has to stay
    the coarsest; the 3x3 convolutions that follow there are the decoder's.

    Args:
        channels: Channels K_i of the levels.
        reductions: Pixels of the image per cell of each level, along one side.

    Attributes:
        channels: Channels of the levels that are given out.
        reductions: Their pixels of the image per cell: of patches of 16 pixels, 4, 8, 16 and 16;
            of 14 pixels, 3.5, 7, 14 and 14.
    """

    def __init__(self, channels: Sequence[int], reductions: Sequence[float]) -> None:
        super().__init__()
        self.channels, self.reductions = list(channels), list(reductions)
        self.stages = nn.ModuleList()
        if len(reductions) < 2 or len(set(reductions)) > 1:
            return
        for index, width in enumerate(channels[:-1]):
            doublings = _DOUBLINGS[index] if index < len(_DOUBLINGS) else 0
            stage, self.channels[index] = _stage(width, doublings)
            self.stages.append(stage)
            side = reductions[index] / 2**doublings
            self.reductions[index] = int(side) if float(side).is_integer() else side

    def forward(self, levels: Sequence[Tensor]) -> list[Tensor]:
        """Make the pyramid.

        Args:
            levels: Maps of shape (B, K_i, h, w).

        Returns:
            Maps of shape (B, ``channels[i]``, h_i, w_i), from fine to coarse; the last is the last
            of ``levels``.
        """
        *finer, last = levels
        if len(self.stages) > 0:
            finer = [stage(level) for stage, level in zip(self.stages, finer, strict=True)]
        return [*finer, last]


def _stage(width: int, doublings: int) -> tuple[nn.Sequential, int]:
    """Build the layers of one level and tell how many channels they give."""
    layers: list[nn.Module] = []
    for number in range(doublings):
        if number > 0:
            layers += [LayerNorm2d(width), nn.GELU()]
        layers.append(nn.ConvTranspose2d(width, max(1, width // 2), 2, stride=2))
        width = max(1, width // 2)
    layers += [nn.Conv2d(width, width, 1, bias=False), LayerNorm2d(width)]
    return nn.Sequential(*layers), width
