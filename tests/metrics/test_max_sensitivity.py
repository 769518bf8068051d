from itertools import count

import numpy as np
import pytest
import torch
from captum.metrics import sensitivity_max

from learned_saliency.metrics import MaxSensitivity, max_sensitivity, noise_changes
from tests.support.waves import degenerate_maps, generators, wave_batch

# Quantus 0.6.0: MaxSensitivity(nr_samples=5, normalise=False) on `wave_batch()`, with the maps of
# `explain` and the noise of `noises`.
QUANTUS = [0.13816180032986897, 0.13854040654142905]


def explain(images):
    return torch.sigmoid(images.sum(1))


def noises(shape, samples):
    numbers = np.arange(np.prod(shape))
    waves = [0.2 * np.sin(numbers * (0.9 + 0.1 * k)) for k in range(samples)]
    return [torch.from_numpy(wave).view(*shape) for wave in waves]


def with_noise(images, noise):
    """The method on images with this noise, whatever images it is given."""
    numbers = count()
    return lambda _: explain(images + noise[next(numbers)])


def changes(images, maps, noise, **options):
    method = with_noise(images, noise)
    drawn = generators(len(images))
    return noise_changes(method, images, maps, generators=drawn, samples=len(noise), **options)


def test_quantus_has_the_same_sensitivity():
    images, _, _ = wave_batch()
    found = max_sensitivity(changes(images, explain(images), noises(images.shape, 5)))
    assert found.tolist() == pytest.approx(QUANTUS, abs=1e-6)


@pytest.mark.parametrize("name", ["own", "wave", "peak", "edge", "ties"])
def test_captum_has_the_same_sensitivity(name):
    """captum's method is asked first for the map of the image itself."""
    images, saliency, _ = wave_batch()
    images, noise = images[:1], noises((1, 3, 9, 9), 4)
    known = {"own": explain(images), "wave": saliency[:1]} | degenerate_maps()
    noisy, first = torch.cat([images + n for n in noise]), [True]

    def method(inputs):
        return (known[name],) if first and first.pop() else explain(inputs)

    expected = sensitivity_max(method, images, lambda inputs: noisy, n_perturb_samples=4)
    found = max_sensitivity(changes(images, known[name], noise))
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("name", ["zeros", "half", "ones"])
@pytest.mark.parametrize("still", [True, False])
def test_a_constant_map_counts_as_one_that_vanishes(name, still):
    images, flat = wave_batch()[0][:1], degenerate_maps()[name]
    drawn = generators(1)
    method = (lambda images: flat) if still else explain
    assert noise_changes(method, images, flat, generators=drawn).unique().tolist() == [1.0]
    gone = noise_changes(lambda _: 0 * flat, images, explain(images), generators=drawn, samples=1)
    assert gone.tolist() == [[1.0]]


def test_noise_is_uniform_new_each_time_and_of_the_image_alone():
    images, seen = torch.zeros(2, 3, 40, 40), []

    def method(images):
        seen.append(images)
        return torch.rand(len(images), 40, 40)

    noise_changes(method, images, torch.rand(2, 40, 40), generators=generators(2))
    assert len(seen) == 10
    everything = torch.stack(seen)
    assert everything.abs().max() <= 0.2
    assert everything.std().item() == pytest.approx(0.2 / 3**0.5, rel=0.02)
    assert not torch.equal(seen[0], seen[1])
    alone, seen = seen, []
    maps = torch.rand(1, 40, 40)
    noise_changes(method, images[1:], maps, generators=generators(2)[1:], samples=2)
    assert torch.equal(seen[1], alone[1][1:])


def test_value_is_the_mean_however_the_images_arrive(check_metric):
    given = torch.rand(7, 5, generator=torch.Generator().manual_seed(0)).double()
    expected = given.amax(1).mean()
    check_metric(MaxSensitivity, list(given), lambda chosen: (torch.stack(chosen),), expected)


def test_wrong_arguments_are_refused():
    images, saliency, _ = wave_batch()
    for options in ({"samples": 0}, {"radius": 0.0}):
        with pytest.raises(ValueError, match="samples must be at least 1"):
            noise_changes(explain, images, saliency, generators=generators(2), **options)
    with pytest.raises(ValueError, match="2 generators, got 3"):
        noise_changes(explain, images, saliency, generators=generators(3))
    with pytest.raises(ValueError, match="at least 0"):
        max_sensitivity(torch.tensor([[float("nan")]]))
    with pytest.raises(ValueError, match=r"\(B, N\)"):
        max_sensitivity(torch.rand(3))
