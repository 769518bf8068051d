"""Parts of enlarged maps against torch's interpolation of the whole."""

import numpy as np
import pytest
import torch

from learned_saliency.attribution import resize
from learned_saliency.pipeline.prediction.tiles.resampling import Enlarged


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "nearest"])
@pytest.mark.parametrize("size", [(56, 80), (50, 77), (7, 10)])
def test_a_part_is_that_of_the_enlarged_whole(interpolation, size):
    generator = np.random.default_rng(0)
    cells = generator.normal(size=(7, 10)).astype(np.float32)
    expected = resize(torch.from_numpy(cells), size, interpolation).numpy()
    enlarged = Enlarged(cells, *size, interpolation)
    for _ in range(10):
        top, left = (int(generator.integers(0, side)) for side in size)
        height, width = (
            int(generator.integers(1, side - at + 1))
            for side, at in zip(size, (top, left), strict=True)
        )
        found = enlarged.part(top, left, height, width)
        np.testing.assert_allclose(
            found, expected[top : top + height, left : left + width], atol=2e-5
        )
