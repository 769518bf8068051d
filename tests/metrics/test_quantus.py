"""Values that Quantus 0.6.0 gave (numpy 2.4.6), and where the metrics here differ from it."""

import math

import numpy as np
import pytest
import torch

from learned_saliency.metrics import (
    energy,
    gini_index,
    pixel_entropy,
    pointing_hits,
    rank_accuracy,
)

# `abs=False, normalise=False`: the maps as they are.
RECORDED = {
    "PointingGame": [0, 1, 0, 0, 0],
    "RelevanceRankAccuracy": [
        *(0.2978723404255319, 0.37209302325581395, 0.52, 0.34375, 0.37209302325581395),
    ],
    "RelevanceMassAccuracy": [
        *(0.34698519110679626, 0.34165963530540466, 0.4617360234260559, 0.303088903427124),
        0.3437627851963043,
    ],
    "Sparseness": [
        *(0.6014326744443098, 0.6193759495456618, 0.5604784960077511, 0.6114008026122679),
        0.6314108311623793,
    ],
    "Complexity": [
        *(4.043940544128418, 3.9902474880218506, 4.126041889190674, 4.022207260131836),
        3.958278179168701,
    ],
}
# Maps of one value, of which the object is the first four rows, the last four, the middle, a pixel.
OF_A_CONSTANT = {
    "PointingGame": [1, 1, 1, 1],
    "RelevanceRankAccuracy": [1, 0, 0, 0],
    "RelevanceMassAccuracy": [4 / 9, 4 / 9, 1 / 9, 1 / 108],
    "Sparseness": [0, 0, 0, 0],
    "Complexity": [math.log(108)] * 4,
}
HERE = {
    "PointingGame": pointing_hits,
    "RelevanceRankAccuracy": rank_accuracy,
    "RelevanceMassAccuracy": energy,
    "Sparseness": lambda maps, region: gini_index(maps),
    "Complexity": lambda maps, region: pixel_entropy(maps),
}


@pytest.fixture(scope="module")
def given():
    draws = np.random.default_rng(26)
    maps = draws.random((5, 9, 12)).astype(np.float32) ** 3
    return torch.from_numpy(maps), torch.from_numpy(draws.random((5, 9, 12)) > 0.6)


@pytest.mark.parametrize("name", RECORDED)
def test_without_ties_the_values_are_those_of_quantus(given, name):
    """It works in single precision, and adds 1e-7 to each pixel of which it takes the Gini."""
    expected = torch.tensor(RECORDED[name], dtype=torch.float64)
    torch.testing.assert_close(HERE[name](*given), expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_a_constant_map_scores_by_chance_where_quantus_goes_by_place(value):
    region = torch.zeros(4, 9, 12, dtype=torch.bool)
    region[0, :4] = region[1, 5:] = region[2, 3:6, 4:8] = region[3, 8, 11] = True
    share = region.double().mean(dim=(1, 2))
    maps = torch.full(region.shape, value)
    for name in ("PointingGame", "RelevanceRankAccuracy"):
        found = HERE[name](maps, region)
        torch.testing.assert_close(found, share)
        assert found.tolist() != OF_A_CONSTANT[name]
    alike = {name: torch.tensor(v).double() for name, v in OF_A_CONSTANT.items()}
    if value == 0:  # Quantus divides by zero; here a map of zeros has no mass in any place
        alike["RelevanceMassAccuracy"] = torch.zeros(4).double()
    for name in ("RelevanceMassAccuracy", "Sparseness", "Complexity"):
        torch.testing.assert_close(HERE[name](maps, region), alike[name], rtol=0, atol=1e-6)
