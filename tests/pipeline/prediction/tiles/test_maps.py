"""Maps of large images that are computed in parts."""

import numpy as np
import pytest

from learned_saliency.pipeline.prediction.tiles.maps import LargeMap


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [(0, 0), (699, 699), (300, 650)])
def test_a_map_that_is_not_finite_is_refused_wherever_that_is(value, place):
    cells = np.random.default_rng(0).random((700, 700), np.float32)
    cells[place] = value
    with pytest.raises(ValueError, match="NaN or infinite"):
        LargeMap(cells, cells.shape, *cells.shape, None)
