"""Cosine of channel weights against its formula."""

import math

import pytest
import torch

from learned_saliency.metrics import WeightSimilarity, weight_similarity


def test_the_cosine_equals_its_formula_and_ignores_scale():
    generator = torch.Generator().manual_seed(0)
    weights, reference = torch.randn(2, 5, 7, generator=generator).double().unbind()
    expected = []
    for a, b in zip(weights.tolist(), reference.tolist(), strict=True):
        dot = sum(x * y for x, y in zip(a, b, strict=True))
        lengths = math.sqrt(sum(x * x for x in a)) * math.sqrt(sum(y * y for y in b))
        expected.append(dot / lengths)
    found = weight_similarity(weights, reference)
    assert found.tolist() == pytest.approx(expected, abs=1e-12)
    assert weight_similarity(1e-30 * weights, reference).tolist() == pytest.approx(expected)
    assert weight_similarity(weights, -3 * weights).tolist() == pytest.approx([-1] * 5)
    split = WeightSimilarity()
    split.update(weights[:2], reference[:2])
    split.update(weights[2:], reference[2:])
    assert float(split.compute()) == pytest.approx(sum(expected) / 5)


def test_weights_of_nothing_are_like_nothing():
    assert weight_similarity(torch.zeros(2, 3), torch.ones(2, 3)).tolist() == [0.0, 0.0]
    assert math.isnan(float(WeightSimilarity().compute()))
    with pytest.raises(ValueError, match=r"must be \(B, K\)"):
        weight_similarity(torch.zeros(2, 3), torch.zeros(2, 4))
