"""Channel weights for a map: against autograd, and where the map is one of the channels' own."""

import pytest
import torch

from learned_saliency.attribution.fitting import _slope, fit_weights


def random(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(*shape, generator=generator, dtype=torch.float64)


def correlation(u, features, maps):
    made = torch.einsum("bk,bkhw->bhw", u.softmax(1), features).flatten(1)
    pairs = zip(made, maps.flatten(1), strict=True)
    return torch.stack([torch.corrcoef(torch.stack(pair))[0, 1] for pair in pairs])


def test_the_slope_is_the_gradient_of_the_correlation():
    features, maps = random(3, 5, 4, 6), random(3, 4, 6, seed=1)
    u = random(3, 5, seed=2).requires_grad_()
    (expected,) = torch.autograd.grad(correlation(u, features, maps).sum(), u)
    wanted = maps.flatten(1) - maps.mean((1, 2))[:, None]
    channels = features.flatten(2) - features.mean((2, 3))[..., None]
    wanted = wanted / wanted.norm(dim=1, keepdim=True)
    found = _slope(u.detach().softmax(1), channels, wanted)
    torch.testing.assert_close(found, expected)


def test_a_map_of_the_channels_is_found_at_any_scale_and_size():
    features = random(2, 8, 5, 5)
    target = 3 + 2 * (0.7 * features[:, 2] + 0.3 * features[:, 5])
    larger = target.repeat_interleave(2, 1).repeat_interleave(2, 2)
    u = fit_weights(features, larger, steps=300)
    assert float(correlation(u, features, target).min()) > 0.999
    shares = u.softmax(1)
    torch.testing.assert_close(shares[:, 2], torch.full((2,), 0.7).double(), rtol=0, atol=0.05)
    short = correlation(fit_weights(features, target), features, target)
    assert float(short.min()) > 0.99
    equal = correlation(fit_weights(features, target, steps=0), features, target)
    assert float(equal.max()) < 0.9


def test_constant_maps_and_features_stay_finite():
    flat = torch.ones(1, 4, 3, 3)
    assert bool(fit_weights(flat, torch.rand(1, 3, 3)).isfinite().all())
    assert bool(fit_weights(torch.rand(1, 4, 3, 3), torch.zeros(1, 3, 3)).isfinite().all())
    with pytest.raises(ValueError, match="learning_rate above 0"):
        fit_weights(flat, flat[:, 0], learning_rate=0)
