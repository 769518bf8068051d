"""Opti-CAM's variables: maps on the way, starts, coefficients, progress."""

import pytest
import torch
from torch import nn

from learned_saliency.attribution import OptiCAM, RandomStart


@pytest.fixture
def classifier(tiny_cnn):
    return tiny_cnn("linear")


@pytest.mark.parametrize("tolerance", [0.0, 0.05])
def test_maps_on_the_way_are_those_of_shorter_runs(classifier, images, tolerance):
    """To the bit, with images that stop early, too; and so is the objective."""
    whole = OptiCAM(iterations=9, tolerance=tolerance).optimize(classifier, images, at=[9, 0, 2, 5])
    assert whole.earlier.shape == (4, *whole.saliency.shape)
    torch.testing.assert_close(whole.earlier[0], whole.saliency, rtol=0, atol=0)
    for row, steps in ((2, 2), (3, 5)):
        short = OptiCAM(iterations=steps, tolerance=tolerance).optimize(classifier, images)
        torch.testing.assert_close(whole.earlier[row], short.saliency, rtol=0, atol=0)
        torch.testing.assert_close(
            whole.objective[: len(short.objective)], short.objective, rtol=0, atol=0
        )
    equal = classifier.features(images).relu().mean(1)
    before = ranged(equal, images.shape[-2:])
    torch.testing.assert_close(whole.earlier[1], before, rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match="at must be"):
        OptiCAM(iterations=3).optimize(classifier, images, at=[4])


def ranged(maps, size):
    """Bring maps to a size and to [0, 1] by torch alone."""
    maps = nn.functional.interpolate(maps[:, None], size=size, mode="bilinear")[:, 0]
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    return (maps - low) / (high - low)


def test_a_random_start_is_the_same_for_all_images_and_seeds_change_it(classifier, images):
    def start(seed, rows=slice(None)):
        method = OptiCAM(iterations=1, start=RandomStart(seed))
        return method.optimize(classifier, images[rows], at=[0]).earlier[0]

    maps = start(0)
    torch.testing.assert_close(start(0, slice(1, 2)), maps[1:2], rtol=0, atol=1e-5)
    assert not torch.equal(start(1), maps)
    u = torch.randn(
        classifier.features(images).shape[1], generator=torch.Generator().manual_seed(0)
    )
    by_hand = torch.einsum(
        "k,bkhw->bhw", u.softmax(0).to(images), classifier.features(images).relu()
    )
    torch.testing.assert_close(maps, ranged(by_hand, images.shape[-2:]), rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match="scale"):
        RandomStart(scale=-1.0)


def test_coefficients_are_the_softmax_of_u(classifier, images):
    method = OptiCAM(iterations=3)
    weights = method.coefficients(classifier, images)
    expected = method.optimize(classifier, images).u.exp()
    torch.testing.assert_close(weights, expected / expected.sum(dim=1, keepdim=True))


def test_progress_is_reported(classifier, images):
    calls = []
    OptiCAM(iterations=3, progress=lambda *call: calls.append(call))(classifier, images)
    assert calls == [(1, 3), (2, 3), (3, 3)]
