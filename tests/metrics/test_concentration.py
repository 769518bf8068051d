import math

import pytest
import torch

from learned_saliency.metrics import Complexity, Sparseness, gini_index, pixel_entropy
from tests.support.degenerate_maps import degenerate_maps, mean_of


def plain_gini(saliency):
    """Chalasani et al.: 1 - 2 sum_k v_k (N - k + 0.5) / (N sum v), k from 1, ascending."""
    values = sorted(saliency.flatten().tolist())
    size, mass = len(values), sum(values)
    if mass == 0:
        return 0.0
    return 1 - 2 * sum(v * (size - k + 0.5) for k, v in enumerate(values, 1)) / (size * mass)


def plain_entropy(saliency):
    """Bhatt et al.: the entropy of each pixel's share of the mass."""
    values = saliency.flatten().tolist()
    mass = sum(values)
    shares = [v / mass if mass else 1 / len(values) for v in values]
    return -sum(share * math.log(share) for share in shares if share > 0)


@pytest.mark.parametrize(
    ("metric", "plain"), [(Sparseness, plain_gini), (Complexity, plain_entropy)]
)
def test_values_are_those_of_a_plain_loop_however_images_arrive(check_metric, metric, plain):
    samples = list(degenerate_maps().values())
    expected = mean_of([plain(saliency) for saliency in samples])
    collate = lambda chosen: (torch.stack(chosen),)  # noqa: E731
    check_metric(metric, samples, collate, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_narrow_types_count_as_their_values(dtype):
    maps = torch.rand(4, 20, 30, generator=torch.Generator().manual_seed(0)).to(dtype)
    torch.testing.assert_close(gini_index(maps), gini_index(maps.double()), rtol=0, atol=1e-12)
    torch.testing.assert_close(pixel_entropy(maps), pixel_entropy(maps.double()), rtol=0, atol=1e-6)


def test_the_entropy_is_that_of_a_distribution_of_torch():
    maps = torch.rand(5, 8, 9, generator=torch.Generator().manual_seed(1)).double()
    expected = torch.distributions.Categorical(maps.flatten(1)).entropy()
    torch.testing.assert_close(pixel_entropy(maps), expected)


def test_one_pixel_is_the_sparsest_and_one_value_the_most_complex():
    point = torch.zeros(1, 5, 6)
    point[0, 2, 3] = 0.4
    assert gini_index(point).item() == pytest.approx(1 - 1 / 30)
    assert pixel_entropy(point).item() == pytest.approx(0, abs=1e-6)
    for value in (0.0, 0.3, 1.0):
        flat = torch.full((1, 5, 6), value)
        assert gini_index(flat).item() == pytest.approx(0, abs=1e-12)
        assert pixel_entropy(flat).item() == pytest.approx(math.log(30))


def test_bad_input_is_refused():
    for metric in (Sparseness, Complexity):
        with pytest.raises(ValueError, match=r"\[0, 1\]"):
            metric().update(torch.full((1, 4, 4), 2.0))
        with pytest.raises(TypeError, match="floating"):
            metric().update(torch.ones(1, 4, 4, dtype=torch.int64))
