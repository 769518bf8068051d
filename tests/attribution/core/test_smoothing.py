"""Smooth maxima of coarse masks against a plain loop over pixels and cells."""

import math

import pytest
import torch

from learned_saliency.attribution.core.smoothing import SmoothMaximum


def plain(coarse, size, step, sigma):
    """Compute the mask of a coarse one (h, w), and the one with its margin, pixel by pixel."""
    margin, reach = round(sigma), 1 + math.ceil(sigma / step)
    beyond = 1 + math.ceil(2 * sigma / step)
    rows, columns = (
        max((cells + 2 * beyond - 2 * reach) * step - step + 1, margin + side)
        for side, cells in zip(size, coarse.shape, strict=True)
    )
    out = []
    for y in range(rows):
        for x in range(columns):
            terms = []
            for i in range(y // step - beyond, y // step - beyond + 2 * reach + 1):
                for j in range(x // step - beyond, x // step - beyond + 2 * reach + 1):
                    known = 0 <= i < coarse.shape[0] and 0 <= j < coarse.shape[1]
                    z = math.hypot(y - sigma - step * i, x - sigma - step * j) / sigma
                    weight = math.exp(-2 * max(z - 0.5, 0) ** 2)
                    terms.append(weight * coarse[i, j] if known else coarse.new_zeros(()))
            terms = torch.stack(terms)
            out.append((terms * (20 * terms).softmax(0)).sum())
    whole = torch.stack(out).view(rows, columns)
    return whole[margin : margin + size[0], margin : margin + size[1]], whole


@pytest.mark.parametrize(
    ("size", "step", "sigma"), [((6, 9), 3, 3.0), ((8, 8), 4, 6.0), ((4, 4), 1, 1.0)]
)
def test_masks_are_those_of_a_loop_over_pixels_and_cells(size, step, sigma):
    smoothing = SmoothMaximum(size, step, sigma)
    coarse = torch.rand(*smoothing.cells, generator=torch.Generator().manual_seed(0)).double()
    coarse[0], coarse[-1, -1] = 1.0, 0.0
    masks, whole = smoothing(coarse[None])
    expected = plain(coarse, size, step, sigma)
    torch.testing.assert_close(masks[0], expected[0])
    height, width = expected[1].shape
    assert whole.shape[1] - height in range(step)  # whole cells
    torch.testing.assert_close(whole[0, :height, :width], expected[1])
    assert masks.shape == (1, *size)


def test_slopes_are_right_for_any_patches():
    smoothing = SmoothMaximum((12, 7), 2, 2.0)
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(2, *smoothing.cells, generator=generator, dtype=torch.float64)
    coarse[0, :5], coarse[1, 2:] = 1.0, 0.0  # patches of ones, of zeros and mixed ones
    assert torch.autograd.gradcheck(lambda x: smoothing(x)[1], coarse.requires_grad_())


def test_constant_masks_stay_within_zero_and_one_and_have_slopes():
    smoothing = SmoothMaximum((32, 32), 7, 21.0)
    for value in (0.0, 1.0):
        coarse = torch.full((1, *smoothing.cells), value, requires_grad=True)
        masks, whole = smoothing(coarse)
        assert whole.min() >= 0
        assert whole.max() < 1  # so that no bound stops the gradient
        assert masks.mean() == 0 if value == 0 else masks.mean() > 0.7
        (slope,) = torch.autograd.grad(masks.sum(), coarse)
        assert (slope > 0).all()
