"""Tiles of an image, and the weights by which their maps are joined."""

import numpy as np
import pytest

from learned_saliency.pipeline.prediction.tiles.grid import Axis, Grid, Lattice, tile_weights


@pytest.mark.parametrize("length", [1, 15, 16, 63, 64, 65, 200, 1000])
@pytest.mark.parametrize("lattice", [Lattice(64, 16, 32, 8, False), Lattice(64, 4, 20, 0, True)])
def test_tiles_cover_the_axis_at_multiples_of_the_step(length, lattice):
    axis = Axis.of(length, lattice)
    covered = np.zeros(axis.pixels, int)
    for start in axis.starts:
        assert start % lattice.step == 0
        covered[start : start + axis.side] += 1
    assert covered.min() >= 1
    assert axis.pixels >= length
    assert axis.pixels < length + lattice.step or (lattice.rigid and len(axis.starts) == 1)
    for one, other in zip(axis.starts, axis.starts[1:], strict=False):
        assert one + axis.side - other >= lattice.overlap


@pytest.mark.parametrize("lattice", [Lattice(64, 16, 32, 8, False), Lattice(96, 16, 80, 32, False)])
@pytest.mark.parametrize("step", [1, 16])
def test_weights_of_a_place_add_up_to_one_and_nothing_of_the_cut_counts(lattice, step):
    axis = Axis.of(500, lattice)
    count = axis.side // step
    weights = tile_weights(axis, count, step, lattice)
    total = np.zeros(axis.cells(count, step))
    for number, (start, own) in enumerate(zip(axis.starts, weights, strict=True)):
        total[start // step : start // step + count] += own
        cut = -(-(lattice.cut - step // 2) // step)
        assert number == 0 or not own[:cut].any()
        assert number == len(axis.starts) - 1 or not own[count - cut :].any()
    np.testing.assert_allclose(total, 1, atol=1e-6)


def test_an_image_smaller_than_a_tile_is_one_tile():
    grid = Grid.of(40, 20, Lattice(64, 16, 32, 8, False))
    assert (grid.rows.side, grid.columns.side) == (48, 32)
    assert len(grid.tiles) == 1
    rigid = Grid.of(40, 20, Lattice(64, 16, 32, 0, True))
    assert (rigid.rows.side, rigid.columns.side) == (64, 64)
