"""Pseudo-labels of images with any number of classes."""

import pytest
import torch

from learned_saliency.losses import IGNORE, SeedSampler, class_seeds, joint_seeds

SIZE = 12
OPTIONS = {"foreground_pixels": 4, "background_pixels": 4, "dilation": 1, "erosion": 0}


@pytest.fixture
def maps():
    """Maps of two classes: one high at the left, the other at the right, and low in between."""
    column = torch.linspace(0, 1, SIZE).expand(SIZE, SIZE)
    left, right = (1 - 3 * column).clamp(min=0), (3 * column - 2).clamp(min=0)
    return torch.stack([left, right])[None]


def draws(draw, count=60):
    return torch.stack([draw(SeedSampler(seed=seed, **OPTIONS))[0] for seed in range(count)])


def test_one_foreground_is_where_any_present_class_is_high(maps):
    both = draws(lambda sampler: joint_seeds(sampler, maps, torch.tensor([[True, True]])))
    found = [set((both == kind).nonzero()[:, 2].tolist()) for kind in (1, 0)]
    assert found[0] <= {0, 1, 2, 9, 10, 11}
    assert found[0] >= {0, 1, 10, 11}
    assert found[1] <= {3, 4, 5, 6, 7, 8}
    first = draws(lambda sampler: joint_seeds(sampler, maps, torch.tensor([[True, False]])))
    assert set((first == 1).nonzero()[:, 2].tolist()) <= {0, 1, 2}


def test_with_one_class_the_labels_are_those_of_its_map(maps):
    for seed in range(5):
        expected = SeedSampler(seed=seed)(maps[:, 0])
        found = joint_seeds(SeedSampler(seed=seed), maps[:, :1], torch.tensor([[True]]))
        assert torch.equal(found, expected)


def test_each_class_has_foreground_of_its_own_map(maps):
    targets = torch.tensor([[2, 0]])
    found = draws(lambda s: class_seeds(s, maps, targets, torch.tensor([[True, True]])))
    assert set(found.unique().tolist()) == {IGNORE, 0, 1, 3}
    assert set((found == 3).nonzero()[:, 2].tolist()) <= {0, 1, 2}
    assert set((found == 1).nonzero()[:, 2].tolist()) <= {9, 10, 11}
    assert set((found == 0).nonzero()[:, 2].tolist()) <= {3, 4, 5, 6, 7, 8}
    alone = draws(lambda s: class_seeds(s, maps, targets, torch.tensor([[False, True]])))
    assert not (alone == 3).any()
    assert (alone == 1).any()


def test_a_pixel_is_of_the_class_whose_map_is_higher(maps):
    weaker = 0.8 * maps[:, :1]  # lit in the same place
    targets, present = torch.tensor([[0, 1]]), torch.tensor([[True, True]])
    both = torch.cat([maps[:, :1], weaker], dim=1)
    found = draws(lambda sampler: class_seeds(sampler, both, targets, present))
    assert (found == 1).any()
    assert not (found == 2).any()


@pytest.mark.parametrize("per_class", [False, True])
def test_an_image_without_a_class_is_background_anywhere(maps, per_class):
    none = torch.tensor([[False, False]])

    def draw(sampler):
        if per_class:
            return class_seeds(sampler, maps, torch.tensor([[0, 1]]), none)
        return joint_seeds(sampler, maps, none)

    found = draws(draw, 200)
    assert set(found.unique().tolist()) == {IGNORE, 0}
    assert (found == 0).sum((1, 2)).tolist() == [4] * 200
    assert (found == 0).any(0).float().mean() > 0.95
