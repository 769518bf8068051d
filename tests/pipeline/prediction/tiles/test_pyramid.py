"""Pyramids as another reader sees them."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from learned_saliency.pipeline.prediction.tiles.pyramid import write_pyramid
from learned_saliency.pipeline.prediction.tiles.scratch import Scratch


@pytest.mark.parametrize(
    ("dtype", "colors"), [(np.uint8, ()), (np.uint16, ()), (np.float16, ()), (np.uint8, (3,))]
)
def test_levels_are_means_of_the_image(tmp_path, dtype, colors):
    generator = np.random.default_rng(0)
    image = generator.random((1100, 700, *colors)) if dtype == np.float16 else None
    image = generator.integers(0, 256, (1100, 700, *colors)) if image is None else image
    image = image.astype(dtype)
    with Scratch(tmp_path) as scratch:
        blocks = lambda top, left, height, width: image[top : top + height, left : left + width]  # noqa: E731
        levels = [
            np.array(level)
            for level in write_pyramid(tmp_path / "a.tif", image.shape, dtype, blocks, scratch)
        ]
    assert [path.name for path in tmp_path.iterdir()] == ["a.tif"]
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        series = file.series[0].levels
        assert [level.shape[:2] for level in series] == [(1100, 700), (550, 350), (275, 175)]
        np.testing.assert_array_equal(series[0].asarray(), image)
        for level, expected in zip(series[1:], levels, strict=True):
            np.testing.assert_array_equal(level.asarray(), expected)
    means = image.astype(float).reshape(550, 2, 350, 2, *colors).mean((1, 3))
    np.testing.assert_allclose(levels[0], means, atol=0.51 if dtype != np.float16 else 1e-3)
    if dtype != np.float16:
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "a.tif")), image)


def test_a_failure_leaves_nothing(tmp_path):
    def blocks(*place):
        raise RuntimeError("no")

    with pytest.raises(RuntimeError), Scratch(tmp_path) as scratch:
        write_pyramid(tmp_path / "a.tif", (600, 600), np.uint8, blocks, scratch)
    assert not list(tmp_path.iterdir())
