"""Network that gives the channel weights of Opti-CAM in one pass."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from learned_saliency.models.evidence import EVIDENCE, check_channels, class_evidence, scaled, unit
from learned_saliency.ops import full_precision, widen

_STATISTICS = 12  # numbers that describe a channel
_READ = 2  # what maps are read from: features and their evidence
_TINY = 1e-12  # keeps quotients of zeros finite


class ChannelWeights(nn.Module):
    """Network that gives the u of Opti-CAM's Eq. 8, from which the map is made as it is.

    One network is shared by all channels. Each channel k is described by twelve numbers of its map
    A_k (size, spread, place, share in the class's logit, gradient, similarity to the maps of
    evidence for and against the class) that do not change when all features are scaled, apart from
    one that tells their size. Then ``blocks`` times: all channels vote for a few candidate maps,
    which are refined by convolutions beside four maps of evidence, and each channel looks how
    its map correlates with them. The convolutions also see what a 1x1 convolution reads out of
    features and evidence. Without it and without ``embedding``, u is equivariant to the order of
    the channels, and the network has as many parameters for 512 channels as for 2,048. The last
    layer begins at 0: an untrained network weighs all channels equally, as Opti-CAM begins.

    Args:
        channels: Number K of channels, at least 1.
        width: Width of the description of a channel, at least 1.
        maps: Number of candidate maps, at least 1.
        blocks: Number of rounds, at least 0.
        reading: Number of maps read out of the features, and as many out of the evidence; 0 for
            none.
        embedding: Length of a learned vector for each channel, which lets the network know one from
            another; 0 for none.

    Raises:
        ValueError: If a number is out of range.
    """

    def __init__(
        self,
        channels: int,
        width: int = 64,
        maps: int = 8,
        blocks: int = 2,
        reading: int = 32,
        embedding: int = 0,
    ) -> None:
        super().__init__()
        if min(channels, width, maps) < 1 or min(blocks, reading, embedding) < 0:
            raise ValueError(
                "channels, width and maps must be at least 1, blocks, reading and embedding at "
                f"least 0, got {channels}, {width}, {maps}, {blocks}, {reading} and {embedding}"
            )
        self.channels = channels
        self.embedding = nn.Parameter(0.5 * torch.randn(channels, embedding)) if embedding else None
        self.describe = nn.Sequential(
            nn.Linear(_STATISTICS + embedding, width), nn.GELU(), nn.Linear(width, width)
        )
        self.readers = nn.ModuleList(
            nn.Conv2d(channels, reading, 1) for _ in range(2 * (reading > 0))
        )
        self.blocks = nn.ModuleList(
            _Block(width, maps, EVIDENCE + 2 * reading) for _ in range(blocks)
        )
        self.norm = nn.LayerNorm(width)
        self.u = nn.Linear(width, 1)
        nn.init.zeros_(self.u.weight)
        nn.init.zeros_(self.u.bias)

    def weights(self, features: Tensor, gradients: Tensor) -> Tensor:
        """Compute u.

        Args:
            features: A, shape (B, K, h, w), at least 0.
            gradients: Gradient of the class's logit by A, shape (B, K, h, w).

        Returns:
            u, shape (B, K), any sign, at least float32; the channel weights are softmax(u).

        Raises:
            ValueError: If the features have another number of channels.
        """
        check_channels(features, self.channels)
        features, gradients = widen(features), widen(gradients)
        with full_precision(features.device):
            evidence = class_evidence(features, gradients)
            numbers = _statistics(features, gradients, evidence)
            directions = _centered(features.flatten(2))
            if self.readers:
                pairs = zip(self.readers, (features, features * gradients), strict=True)
                read = [reader(scaled(part, (1, 2, 3))) for reader, part in pairs]
                evidence = torch.cat([evidence, *read], dim=1)
            if self.embedding is not None:
                own = self.embedding.expand(features.shape[0], -1, -1)
                numbers = torch.cat([numbers, own], dim=2)
            described = self.describe(numbers)
            for block in self.blocks:
                described = block(described, directions, evidence)
            return self.u(self.norm(described))[..., 0]

    def forward(self, features: Tensor, gradients: Tensor) -> Tensor:
        """Compute S = sum_k softmax(u)_k A_k (Eq. 8), shape (B, h, w); see `weights`."""
        u = self.weights(features, gradients)
        with full_precision(u.device):
            return torch.einsum("bk,bkhw->bhw", u.softmax(dim=1), widen(features))


class _Block(nn.Module):
    """Round in which channels vote for maps, and learn how similar they are to them."""

    def __init__(self, width: int, maps: int, evidence: int) -> None:
        super().__init__()
        inputs = 2 * (width + maps)
        self.vote = nn.Linear(width, maps)
        self.refine = nn.Sequential(
            nn.Conv2d(maps + evidence, width, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(width, maps, 3, padding=1),
        )
        self.update = nn.Sequential(
            nn.LayerNorm(inputs),
            nn.Linear(inputs, 2 * width),
            nn.GELU(),
            nn.Linear(2 * width, width),
        )

    def forward(self, described: Tensor, directions: Tensor, evidence: Tensor) -> Tensor:
        """Update descriptions (B, K, D) by directions (B, K, hw) and evidence (B, E, h, w)."""
        votes = self.vote(described).softmax(dim=1)
        maps = votes.transpose(1, 2) @ directions  # (B, J, hw)
        maps = scaled(maps.unflatten(2, evidence.shape[-2:]), (2, 3))
        refined = maps + self.refine(torch.cat([maps, evidence], dim=1))
        seen = _centered(torch.cat([maps, refined], dim=1).flatten(2))
        similarity = directions @ seen.transpose(1, 2)  # (B, K, 2 J)
        context = described.mean(dim=1, keepdim=True).expand_as(described)
        return described + self.update(torch.cat([described, context, similarity], dim=2))


def _statistics(features: Tensor, gradients: Tensor, evidence: Tensor) -> Tensor:
    """Describe each channel by numbers, (B, K, 12)."""
    flat, slopes = features.flatten(2), gradients.flatten(2)
    mean, largest = flat.mean(dim=2), flat.amax(dim=2)
    share = (flat * slopes).sum(dim=2)
    place = flat / flat.sum(dim=2, keepdim=True).clamp(min=_TINY)
    radius = _squared_radius(features)
    above, below = evidence[:, :1].relu(), (-evidence[:, :1]).relu()
    seen = unit(torch.cat([above, below, evidence[:, 1:2]], dim=1).flatten(2))
    numbers = [
        scaled(mean, (1,)),
        largest / largest.amax(dim=1, keepdim=True).clamp(min=_TINY),
        scaled(flat.std(dim=2, correction=0), (1,)),
        scaled(share, (1,)).clamp(-5, 5),
        scaled(slopes.mean(dim=2), (1,)).clamp(-5, 5),
        (flat > 0).to(flat.dtype).mean(dim=2),
        (place * radius).sum(dim=2),
        torch.log1p(100 * mean),
        (largest > 0).to(flat.dtype),
    ]
    similar = unit(flat) @ seen.transpose(1, 2)
    return torch.cat([torch.stack(numbers, dim=2), similar], dim=2)


def _centered(maps: Tensor) -> Tensor:
    """Subtract the mean of maps (..., hw) and scale them to length 1."""
    return unit(maps - maps.mean(dim=-1, keepdim=True))


def _squared_radius(features: Tensor) -> Tensor:
    """Compute each cell's squared distance from the center, (hw,), 2 in the corners."""
    rows, columns = (
        torch.linspace(-1, 1, side, dtype=features.dtype, device=features.device)
        for side in features.shape[-2:]
    )
    return (rows[:, None] ** 2 + columns**2).flatten()
