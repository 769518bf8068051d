"""Spearman's correlation of rows, beside scipy's."""

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from learned_saliency.metrics import rank_correlation


def test_rank_correlation_equals_scipys_with_ties_and_is_0_where_all_are_equal():
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 3, (60, 4)), rng.integers(0, 4, (60, 4))
    found = rank_correlation(torch.from_numpy(first), torch.from_numpy(second))
    undefined = 0
    for x, y, value in zip(first, second, found, strict=True):
        if len(set(x)) == 1 or len(set(y)) == 1:
            assert value == 0
            undefined += 1
        else:
            assert float(value) == pytest.approx(spearmanr(x, y).statistic, abs=1e-12)
    assert undefined > 2
    assert rank_correlation(torch.zeros(0, 4), torch.zeros(0, 4)).shape == (0,)


def test_what_is_no_pair_is_refused():
    with pytest.raises(ValueError, match="of a shape"):
        rank_correlation(torch.zeros(2, 3), torch.zeros(2, 4))
    with pytest.raises(ValueError, match="of a shape"):
        rank_correlation(torch.zeros(2), torch.zeros(2))
