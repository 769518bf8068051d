"""Products on the lattice: compiled loops against the plain version."""

import pytest
import torch
from torch.nn import functional as F

from learned_saliency.ops import crf_features
from learned_saliency.ops.backends import lattice, lattice_products


def _features(size, images=5, dtype=torch.float32):
    """Points of images with smooth shapes and noise, of which one is flat."""
    generator = torch.Generator().manual_seed(size)
    pixels = 128 + 60 * F.interpolate(
        torch.randn(images, 3, 6, 6, generator=generator), size, mode="bilinear"
    )
    pixels += 6 * torch.randn(pixels.shape, generator=generator)
    pixels[1] = 77.0
    return crf_features(pixels.clamp(0, 255).to(dtype), 15.0, 100 * size / 224)


def _maps(channels, points, images=5, dtype=torch.float32, complete=True):
    scores = torch.randn(images, channels, points, generator=torch.Generator().manual_seed(3))
    return scores.to(dtype).softmax(1) if complete else scores.to(dtype).sigmoid()


def _plain(monkeypatch, maps, features):
    with monkeypatch.context() as patch:
        patch.setattr(lattice, "compiled_loops", lambda name: None)
        return lattice_products(maps, features, 2**20)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("channels", "complete"), [(2, True), (2, False), (1, False), (4, True)])
@pytest.mark.parametrize("size", [1, 5, 8, 64])
def test_compiled_loops_give_the_plain_numbers(monkeypatch, size, channels, complete, dtype):
    # Where the number of pixels is no multiple of 32, torch adds a point's six vertices up in
    # another order in the last columns that a thread works on.
    rest = {torch.float32: 1e-6, torch.float64: 1e-14}[dtype] if size**2 % 32 else 0
    maps = _maps(channels, size**2, dtype=dtype, complete=complete)
    features = _features(size, dtype=dtype)
    expected = _plain(monkeypatch, maps, features)
    actual = lattice_products(maps, features, 2**20)
    torch.testing.assert_close(actual, expected, rtol=rest, atol=rest)


def test_numbers_do_not_depend_on_the_threads():
    maps, features = _maps(2, 48**2), _features(48)
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 7):
            torch.set_num_threads(threads)
            found.append(lattice_products(maps, features, 2**20))
    finally:
        torch.set_num_threads(before)
    torch.testing.assert_close(found[1:], [found[0]] * 2, rtol=0, atol=0)


def test_maps_may_be_views_and_stay_unchanged():
    maps, features = _maps(3, 20**2), _features(20)
    expected = lattice_products(maps, features, 2**20)
    copy = maps.clone()
    strided = maps.permute(2, 0, 1).contiguous().permute(1, 2, 0)
    turned = features.transpose(1, 2).contiguous().transpose(1, 2)
    actual = lattice_products(strided, turned, 2**20)
    torch.testing.assert_close((actual, maps), (expected, copy), rtol=0, atol=0)


def test_bad_points_are_named_before_any_work():
    maps, features = _maps(2, 9), _features(3)
    with pytest.raises(ValueError, match="finite"):
        lattice_products(maps, features.masked_fill(features > 1, torch.nan), 2**20)
    with pytest.raises(ValueError, match="larger standard deviations"):
        lattice_products(maps, 1e3 * features, 2**20)
