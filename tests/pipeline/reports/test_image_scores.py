"""Sums of images' states over draws."""

import numpy as np
import pytest

from learned_saliency.pipeline.reports.image_scores import ImageScores


@pytest.mark.parametrize(("largest", "kind"), [(2**24 // 8, np.float32), (2**24, np.float64)])
def test_thinned_counts_give_the_metrics_of_whole_numbers(largest, kind):
    generator = np.random.default_rng(0)
    counts = generator.integers(largest // 2, largest + 1, (2, 8, 1002))
    names = ("pixels/object_scores", "pixels/background_scores")
    states = {"cam": dict(zip(names, counts, strict=True))}
    scores = ImageScores([str(i) for i in range(8)], [], np.zeros((8, 0)), states)
    weights = generator.multinomial(8, np.full(8, 1 / 8), size=5).astype(np.float64)
    thinned = scores.thinned()
    assert {values.dtype for values in thinned.states["cam"].values()} == {np.dtype(kind)}
    np.testing.assert_array_equal(thinned.values(weights), scores.values(weights))
