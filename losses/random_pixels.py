"""Random pixels of masks, drawn for a batch at once."""

import torch
from torch import Tensor


def draw_pixels(region: Tensor, number: int, generator: torch.Generator) -> Tensor:
    """Mark ``number`` random pixels of each region, or all of a smaller one; (B, H, W) bool."""
    batch, pixels = region.shape[0], region[0].numel()
    ends = row_ends(region)
    ranks = _distinct_ranks(ends[:, -1], min(number, pixels), generator)
    drawn = nth_pixel(region, ends, ranks.clamp(min=0)).masked_fill(ranks < 0, pixels)
    mask = torch.zeros(batch, pixels + 1, dtype=torch.bool, device=region.device)
    return mask.scatter_(1, drawn, True)[:, :pixels].reshape(region.shape)


def _distinct_ranks(counts: Tensor, number: int, generator: torch.Generator) -> Tensor:
    """Draw ``number`` different ranks below each count, every subset equally likely (R. Floyd).

    Args:
        counts: Sizes of the sets to draw from, shape (B,), int64.
        number: Number of ranks to draw from each set.
        generator: Source of randomness on the device of ``counts``.

    Returns:
        Ranks of shape (B, number), int64; -1 for those that a smaller set does not have.
    """
    batch = counts.shape[0]
    random = random_integers((batch, number), generator)
    ranks = torch.full_like(random, -1)
    for drawn in range(number):
        top = counts - number + drawn
        rank = random[:, drawn] % (top + 1).clamp(min=1)
        taken = (ranks[:, :drawn] == rank.unsqueeze(1)).any(dim=1)
        ranks[:, drawn] = torch.where(taken, top, rank).masked_fill(top < 0, -1)
    return ranks


def row_ends(mask: Tensor) -> Tensor:
    """Count the pixels of (B, H, W) masks up to the end of each row, (B, H) int64."""
    return mask.view(torch.uint8).sum(dim=2, dtype=torch.int32).cumsum(dim=1)


def nth_pixel(mask: Tensor, row_ends: Tensor, ranks: Tensor) -> Tensor:
    """Find the pixels with the given ranks, in reading order, among those that a mask holds.

    Args:
        mask: Boolean masks of shape (B, H, W).
        row_ends: Their :func:`row_ends`, shape (B, H).
        ranks: Ranks of shape (B, N), int64, from 0 to the number of pixels of a mask less 1.

    Returns:
        Flat indices y * W + x of shape (B, N), int64; any valid index for a rank that is too large.
    """
    batch, height, width = mask.shape
    row = torch.searchsorted(row_ends, ranks, right=True).clamp(max=height - 1)
    image = torch.arange(batch, device=mask.device).unsqueeze(1)
    ends = mask[image, row].cumsum(dim=2)  # (B, N, W)
    before = row_ends.gather(1, row) - ends[:, :, -1]
    column = torch.searchsorted(ends, (ranks - before).unsqueeze(2), right=True).squeeze(2)
    return row * width + column.clamp(max=width - 1)


def random_integers(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Draw int64 so large that their remainder by a number of pixels is practically uniform."""
    return torch.randint(2**62, shape, generator=generator, device=generator.device)
