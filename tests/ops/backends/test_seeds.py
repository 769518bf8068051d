"""Pseudo-labels by compiled loops against the plain version."""

from importlib import import_module

import pytest
import torch
from torch.nn import functional as F

from learned_saliency.losses import SeedSampler

SIDES = [(1, 1), (5, 9), (24, 24), (64, 33), (96, 96)]
OPTIONS = [
    {},
    {"foreground_pixels": 5, "background_pixels": 9, "dilation": 1, "erosion": 0},
    {"background_share": 0.0},
    {"background_share": 1.0, "erosion": 3, "dilation": 5, "foreground_pixels": 0},
    {"erosion": 25, "foreground_pixels": 100, "background_pixels": 100},
]


def _kinds(height, width, dtype):
    """Maps that are smooth, noise, of few values, rectified, zero and constant."""
    generator = torch.Generator().manual_seed(height)
    coarse = torch.randn(3, 1, 7, 7, generator=generator)
    smooth = F.interpolate(coarse, size=(height, width), mode="bilinear")[:, 0]
    few = torch.randint(0, 4, (3, height, width), generator=generator) / 3
    noise = torch.rand(3, height, width, generator=generator)
    kinds = (smooth.sigmoid(), noise, few, smooth.clamp(0, 1), 0 * noise, 0 * noise + 0.3)
    return torch.cat(kinds).to(dtype)


@pytest.fixture
def plainly(monkeypatch):
    """Call a sampler without compiled loops."""

    def call(sampler, maps):
        with monkeypatch.context() as patch:
            module = import_module(SeedSampler.__module__)
            patch.setattr(module, "seed_loops", lambda maps: None)
            return sampler(maps)

    return call


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("side", SIDES)
def test_compiled_loops_give_the_plain_labels(plainly, side, options, dtype):
    maps = _kinds(*side, dtype)
    plain, compiled = SeedSampler(**options), SeedSampler(**options)
    for _ in range(2):
        assert torch.equal(compiled(maps), plainly(plain, maps))
    assert torch.equal(compiled.random_state, plain.random_state)


def test_labels_do_not_depend_on_the_threads():
    maps, before, found = _kinds(24, 24, torch.float32), torch.get_num_threads(), []
    try:
        for threads in (1, 2, 7):
            torch.set_num_threads(threads)
            found.append(SeedSampler()(maps))
    finally:
        torch.set_num_threads(before)
    torch.testing.assert_close(found[1:], [found[0]] * 2)
