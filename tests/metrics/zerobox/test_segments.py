"""Variance that segments explain, against a loop over segments; full and tiny maps gain nothing."""

import numpy as np
import pytest
import torch

from learned_saliency.metrics import ZeroBoxSegments, explained_by_segments
from learned_saliency.metrics.zerobox.ladder import LADDER

QUARTERS = np.kron(np.array([[0, 1], [2, 3]]), np.ones((6, 6), int)).astype(np.uint16)


def looped(saliency, segments, threshold):
    """Compute 1 - (variance within segments) / (variance) of the cut map."""
    eight_bits = (saliency.astype(np.float64) * 255).astype(int)
    cut = (eight_bits > int(threshold * eight_bits.max())).astype(float)
    if cut.var() == 0:
        return 0.0
    within = sum(
        ((cut[p] - cut[p].mean()) ** 2).sum() for s in np.unique(segments) for p in [segments == s]
    )
    return 1 - within / ((cut - cut.mean()) ** 2).sum()


def test_the_part_is_that_of_a_loop_over_segments():
    generator = np.random.default_rng(0)
    maps = generator.random((4, 12, 12)).astype(np.float32)
    maps[1] = np.round(maps[1] * 3) / 3  # many equal values
    segments = [QUARTERS, generator.integers(0, 9, (12, 12)), QUARTERS * 0, QUARTERS]
    found = explained_by_segments(torch.from_numpy(maps), segments)
    assert found.shape == (4, len(LADDER))
    for row in range(4):
        for column, threshold in enumerate(LADDER):
            expected = looped(maps[row], segments[row], threshold)
            assert float(found[row, column]) == pytest.approx(expected, abs=1e-9)


def test_whole_segments_gain_and_flat_full_and_tiny_maps_do_not():
    union = torch.from_numpy(np.isin(QUARTERS, [0, 2]).astype(np.float32))
    tiny = torch.zeros(12, 12)
    tiny[2, 2] = 1
    maps = torch.stack([union, torch.zeros(12, 12), torch.ones(12, 12), tiny])
    found = explained_by_segments(maps, [QUARTERS] * 4).amax(1)
    assert float(found[0]) == pytest.approx(1)
    assert found[1] == found[2] == 0
    assert float(found[3]) < 0.03


def test_segments_that_do_not_fit_are_refused():
    for segments in ([QUARTERS], [QUARTERS[:5]] * 2):
        with pytest.raises(ValueError, match="expected segments of 2 maps"):
            explained_by_segments(torch.rand(2, 12, 12), segments)


def test_the_threshold_is_where_the_curve_is_highest(check_metric):
    generator = torch.Generator().manual_seed(0)
    values = torch.rand(6, len(LADDER), dtype=torch.float64, generator=generator)
    curve = values.mean(0)
    expected = {
        "zerobox_segments": curve.max(),
        "zerobox_segments_threshold": torch.tensor(LADDER[int(curve.argmax())]).double(),
    }
    expected["zerobox_segments_threshold"] = torch.tensor(
        LADDER[int(curve.argmax())], dtype=torch.float64
    )
    check_metric(ZeroBoxSegments, list(values), lambda rows: (torch.stack(rows),), expected)
    flat = ZeroBoxSegments()
    flat.update(torch.zeros(3, len(LADDER), dtype=torch.float64))
    assert float(flat.compute()["zerobox_segments_threshold"]) == 0.5
