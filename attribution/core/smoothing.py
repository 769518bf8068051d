"""Smooth masks in the resolution of the image, from coarse ones."""

from math import ceil
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

_COLDNESS = 20.0  # 1/T of the smooth maximum, as released
# Products in a block that is worked on at a time: on CPUs what caches hold is fast.
_NUMBERS = {"cpu": 1 << 17}
_NUMBERS_OF_ACCELERATORS = 1 << 25


class SmoothMaximum:
    """Max-convolution of coarse masks with a smooth kernel (Fong et al. 2019, Sec. 3.3).

    m(u) = smax_v k(|u - v| / sigma) c(v), with k(z) = exp(-2 max(z - 1/2, 0)^2) and
    smax_v f(v) = sum_v f(v) exp(20 f(v)) / sum_v exp(20 f(v)). The cells v lie ``step`` pixels
    apart, from the image's first on; the maximum is over the cells up to 1 + sigma / step away, and
    cells beyond the border are 0. A mask of [0, 1] stays within [0, 1].

    Args:
        size: Height and width of the images.
        step: Pixels from one cell to the next, at least 1.
        sigma: Radius of the kernel in pixels, above 0; whole, or rounded for the margin.

    Attributes:
        cells: Rows and columns of the coarse masks.
    """

    def __init__(self, size: tuple[int, int], step: int, sigma: float) -> None:
        self.size = size
        self.cells = tuple(ceil(side / step) for side in size)
        self.step = step
        self.margin = round(sigma)
        self._radius = 1 + ceil(sigma / step)
        before = 1 + ceil(2 * sigma / step)  # cells outside the image
        inner = [cells + 2 * (before - self._radius) for cells in self.cells]
        wanted = [ceil((self.margin + side - 1) / step) + 1 for side in size]
        after = [before + max(0, need - have) for need, have in zip(wanted, inner, strict=True)]
        self._padding = (before, after[1], before, after[0])
        phases = torch.arange(step, dtype=torch.float64)
        shifts = torch.arange(2 * self._radius + 1) - before
        squares = (phases[:, None] - sigma - step * shifts) ** 2  # (step, 2r + 1)
        distances = (squares[:, None, :, None] + squares[None, :, None, :]).sqrt()
        weights = torch.exp(-2 * (distances / sigma - 0.5).clamp(min=0) ** 2)
        self._weights = weights.view(step**2, -1)

    def __call__(self, coarse: Tensor) -> tuple[Tensor, Tensor]:
        """Smooth masks.

        Args:
            coarse: Shape (R, *cells), in [0, 1].

        Returns:
            The masks in the size of the images (R, H, W) and with a margin around them, whose area
            counts as well, (R, H', W'), both in [0, 1].
        """
        side = 2 * self._radius + 1
        patches = F.pad(coarse, self._padding)
        patches = patches.unfold(1, side, 1).unfold(2, side, 1)  # (R, h', w', side, side)
        rows, columns = patches.shape[1:3]
        self._weights = self._weights.to(coarse)
        values = _SmoothMaximum.apply(patches.reshape(-1, side**2), self._weights)
        values = values.view(-1, rows, columns, self.step, self.step).transpose(2, 3)
        masks = values.reshape(-1, rows * self.step, columns * self.step)
        masks = masks[:, : 1 - self.step or None, : 1 - self.step or None]
        height, width = self.size
        return masks[:, self.margin :, self.margin :][:, :height, :width], masks


class _SmoothMaximum(torch.autograd.Function):
    """smax_k w_pk c_nk for patches c (N, K) and weights w (P, K): (N, P), block by block.

    The N P K products are computed again on the way back instead of being kept. Patches whose
    cells are all 0 or all 1, which most are in a mask that has settled, share their numbers.
    """

    @staticmethod
    def forward(ctx: Any, patches: Tensor, weights: Tensor) -> Tensor:
        values = patches.new_empty(len(patches), len(weights))
        kinds = _kinds(patches)
        mixed = patches[kinds[2]]
        found, totals = (patches.new_empty(len(mixed), len(weights)) for _ in range(2))
        scaled = _COLDNESS * weights
        for block, value, total in _blocks(weights, mixed, found, totals):
            products = block[:, None] * scaled
            powers = products.exp()
            torch.sum(powers, 2, out=total)
            torch.sum(products.mul_(powers), 2, out=value)
        values[kinds[2]] = found.div_(totals)  # 20 times the maximum
        for constant in range(2):
            shares = (constant * scaled).softmax(1)
            values[kinds[constant]] = (constant * scaled * shares).sum(1)
        ctx.save_for_backward(mixed, weights, values, totals, *kinds)
        return values / _COLDNESS

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        mixed, weights, values, totals, *kinds = ctx.saved_tensors
        scaled = _COLDNESS * weights
        slopes = torch.empty_like(mixed)
        shares = gradient[kinds[2]] / totals
        rest = shares * (1 - values[kinds[2]])
        for block, slope, share, other in _blocks(weights, mixed, slopes, shares, rest):
            powers = (block[:, None] * scaled).exp_().mul_(weights)  # (n, P, K)
            first = torch.bmm(other[:, None], powers)[:, 0]
            second = torch.bmm(share[:, None], powers.mul_(scaled))[:, 0]
            torch.addcmul(first, second, block, out=slope)
        every = mixed.new_empty(len(gradient), weights.shape[1])
        every[kinds[2]] = slopes
        for constant in range(2):
            share = (constant * scaled).softmax(1)
            value = (constant * scaled * share).sum(1, keepdim=True)
            jacobian = weights * share * (1 + constant * scaled - value)  # (P, K)
            every[kinds[constant]] = gradient[kinds[constant]] @ jacobian
        return every, None


def _kinds(patches: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Find the patches (N, K) that are all 0, those that are all 1, and the rest: indices."""
    low, high = patches.amin(1), patches.amax(1)
    zero, one = (low == 0) & (high == 0), (low == 1) & (high == 1)
    return tuple(kind.nonzero()[:, 0] for kind in (zero, one, ~(zero | one)))


def _blocks(weights: Tensor, *parts: Tensor) -> zip:
    most = _NUMBERS.get(weights.device.type, _NUMBERS_OF_ACCELERATORS)
    size = max(1, most // weights.numel())
    return zip(*(part.split(size) for part in parts), strict=True)
