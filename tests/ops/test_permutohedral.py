import math

import pytest
import torch

from learned_saliency.ops.permutohedral import permutohedral_filter


def _points(batch, count, seed, dtype=torch.float64):
    """Points of an image's kind: two clusters of colors, places on a rectangle."""
    generator = torch.Generator().manual_seed(seed)
    spread = torch.tensor([3.0, 1.0, 0.7, 0.6, 0.6], dtype=dtype)[:, None]
    points = torch.randn(batch, 5, count, generator=generator, dtype=dtype) * spread
    points[:, 0, : count // 2] += 8
    return points


def _values(*shape, seed=0, dtype=torch.float64):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def _gaussian_sums(values, features):
    points = features.transpose(1, 2)
    return values @ torch.exp(-torch.cdist(points, points).square() / 2)


def _published_step_by_step(values, features, stretch, gain):
    """One point at a time: dictionary of vertices in d + 1 coordinates, all neighbors kept."""
    d = 5
    gram = torch.full((d, d), -0.25, dtype=torch.float64).fill_diagonal_(1.25)
    basis = stretch * torch.linalg.cholesky(gram).T
    coordinates = torch.linalg.solve(basis, features)
    coordinates = coordinates - coordinates.amin(1, keepdim=True)
    extents = coordinates.amax(1)
    room = extents.floor() + 1 - extents
    coordinates += (room * torch.tensor([5, 4, 3, 2, 1]) / 8)[:, None]
    points, lattice = [], {}
    for point, value in zip(coordinates.T.tolist(), values.tolist(), strict=True):
        vertex = [math.floor(x) for x in point]
        rest = [x - v for x, v in zip(point, vertex, strict=True)]
        axes = sorted(range(d), key=lambda axis: -rest[axis])
        heights = [1.0, *(rest[axis] for axis in axes), 0.0]
        corners = []
        for k in range(d + 1):
            if k:
                vertex[axes[k - 1]] += 1
            corners.append((tuple(vertex), heights[k] - heights[k + 1]))
        points.append(corners)
        for corner, weight in corners:
            lattice[corner] = lattice.get(corner, 0.0) + weight * value
    steps = [tuple(int(i == axis) for i in range(d)) for axis in range(d)] + [(1,) * d]
    for step in steps:
        blurred = {}
        for corner, value in lattice.items():
            for sign, weight in ((-1, 0.25), (0, 0.5), (1, 0.25)):
                place = tuple(c + sign * s for c, s in zip(corner, step, strict=True))
                blurred[place] = blurred.get(place, 0.0) + weight * value
        lattice = blurred
    return gain * torch.tensor([sum(w * lattice[c] for c, w in corners) for corners in points])


def test_filter_equals_the_algorithm_step_by_step():
    from learned_saliency.ops import permutohedral

    features, values = _points(2, 25, 1), _values(2, 1, 25)
    expected = torch.stack(
        [
            _published_step_by_step(v[0], f, permutohedral.STRETCH, permutohedral.GAIN)
            for v, f in zip(values, features, strict=True)
        ]
    )
    # fractions are kept to 2^-28
    actual = permutohedral_filter(values, features)[:, 0]
    torch.testing.assert_close(actual, expected.double(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_filter_approximates_the_gaussian_sums(seed):
    features, values = _points(2, 400, seed), _values(2, 2, 400, seed=seed)
    expected = _gaussian_sums(values, features)
    actual = permutohedral_filter(values, features)
    cosine = torch.cosine_similarity(actual.flatten(), expected.flatten(), dim=0)
    assert cosine > 0.99
    # few points spread widely: mostly self weights
    torch.testing.assert_close(actual.sum(), expected.sum(), rtol=0.15, atol=0)


def test_filter_is_symmetric_and_positive():
    features = _points(2, 300, 5)
    a, b = _values(2, 1, 300, seed=1) - 0.5, _values(2, 1, 300, seed=2) - 0.5
    left, right = (a * permutohedral_filter(b, features)), (b * permutohedral_filter(a, features))
    torch.testing.assert_close(left.sum((1, 2)), right.sum((1, 2)), rtol=1e-10, atol=1e-10)
    assert (a * permutohedral_filter(a, features)).sum((1, 2)).min() > 0


def test_filter_is_linear_in_the_values():
    features = _points(1, 200, 6)
    a, b = _values(1, 2, 200, seed=1), _values(1, 2, 200, seed=2)
    expected = 2 * permutohedral_filter(a, features) - 3 * permutohedral_filter(b, features)
    torch.testing.assert_close(permutohedral_filter(2 * a - 3 * b, features), expected)


@pytest.mark.parametrize("max_cells", [1, 100_000, 2**30])
def test_filter_of_an_image_is_independent_of_batch_and_groups(max_cells):
    features, values = _points(4, 150, 7), _values(4, 2, 150)
    features[1] *= 0.2  # boxes of different size
    together = permutohedral_filter(values, features, max_cells)
    alone = [permutohedral_filter(values[i : i + 1], features[i : i + 1]) for i in range(4)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-10, atol=1e-10)


def test_float32_agrees_with_float64():
    features, values = _points(2, 300, 8), _values(2, 2, 300)
    expected = permutohedral_filter(values, features)
    actual = permutohedral_filter(values.float(), features.float())
    assert actual.dtype == torch.float32
    torch.testing.assert_close(actual.double(), expected, rtol=1e-4, atol=1e-3)


def test_points_in_one_place_add_up():
    values = _values(1, 2, 50)
    filtered = permutohedral_filter(values, torch.full((1, 5, 50), 3.0, dtype=torch.float64))
    expected = filtered[..., :1] / values.sum(2, keepdim=True)
    torch.testing.assert_close(filtered, values.sum(2, keepdim=True) * expected.expand(1, 2, 50))
    torch.testing.assert_close(expected.flatten()[0], expected.flatten()[1])
    assert 0.5 < expected.min() <= expected.max() < 2


def test_points_far_apart_do_not_meet():
    features = torch.zeros(1, 5, 2, dtype=torch.float64)
    features[0, 0, 1] = 30
    filtered = permutohedral_filter(torch.tensor([[[1.0, 0.0]]], dtype=torch.float64), features)
    assert filtered[0, 0, 0] > 0.5
    assert filtered[0, 0, 1] == 0


def test_inputs_are_left_as_they_are():
    features, values = _points(1, 60, 9), _values(1, 1, 60)
    copies = features.clone(), values.clone()
    permutohedral_filter(values, features)
    torch.testing.assert_close((features, values), copies, rtol=0, atol=0)


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="features"):
        permutohedral_filter(torch.ones(1, 1, 4), torch.ones(1, 3, 4))
    with pytest.raises(ValueError, match="features"):
        permutohedral_filter(torch.ones(1, 1, 4), torch.ones(1, 5, 3))
    with pytest.raises(ValueError, match="max_cells"):
        permutohedral_filter(torch.ones(1, 1, 4), torch.ones(1, 5, 4), max_cells=0)
    with pytest.raises(ValueError, match="finite"):
        permutohedral_filter(torch.ones(1, 1, 4), torch.full((1, 5, 4), torch.nan))
    with pytest.raises(ValueError, match="larger standard deviations"):
        permutohedral_filter(torch.ones(1, 1, 99), 1e3 * _points(1, 99, 0, torch.float32))
