"""Mean and standard deviation of the channels of training images."""

import numpy as np
import pytest
import torch

from learned_saliency.datamodules import DataError
from learned_saliency.datamodules.statistics import measure_channels


@pytest.mark.parametrize("count", [1, 7, 300])
def test_statistics_are_those_of_all_pixels(count):
    generator = torch.Generator().manual_seed(count)
    images = 255 * torch.rand(count, 2, 4, 3, generator=generator)
    found = measure_channels(images.__getitem__, count, seed=0)
    values = images.double().numpy() / 255
    np.testing.assert_allclose(found.mean, values.mean((0, 2, 3)), rtol=1e-7)
    np.testing.assert_allclose(found.std, values.std((0, 2, 3)), rtol=1e-7)
    assert found.images == count


def test_a_small_spread_on_a_large_level_is_not_lost():
    steps = np.arange(6, dtype=np.float32).reshape(6, 1, 1, 1) * (255 / 65535)
    images = torch.from_numpy(128 + steps.repeat(4, 3))
    found = measure_channels(images.__getitem__, 6, seed=0)
    assert found.std[0] == pytest.approx(np.std(np.arange(6)) / 65535, rel=1e-3)


def test_of_many_images_a_drawn_part_is_measured():
    images = torch.randn(40, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    first, again, other = (
        measure_channels(images.__getitem__, 40, seed=seed, most=10) for seed in (1, 1, 2)
    )
    assert first == again != other
    assert first.images == 10


@pytest.mark.parametrize("value", [51.0, 100.0, 7.0, 1e-3])
def test_a_channel_without_a_difference_is_refused(value):
    images = torch.rand(3, 2, 224, 224)
    images[:, 1] = value  # a mean of many pixels that is off by a rounding
    with pytest.raises(DataError, match=f"channel 1 has the value {value:g} of 255 in all pixels"):
        measure_channels(images.__getitem__, 3, seed=0)
