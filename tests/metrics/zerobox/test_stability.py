"""Agreement of maps of flips and crops, against numpy's correlation; fixed maps gain nothing."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from learned_saliency.metrics import ZeroBoxStability, view_agreement
from learned_saliency.metrics.zerobox.stability import GRID, profiles

SIDE = 56


def blobs(count, seed=0):
    """Make images (B, 3, 56, 56), each with a bright spot of its own place."""
    generator = torch.Generator().manual_seed(seed)
    places = torch.randint(20, 36, (count, 2), generator=generator)
    axis = torch.arange(SIDE)
    near = [(axis - p[:, None]) ** 2 for p in places.unbind(1)]
    spots = torch.exp(-(near[0][:, :, None] + near[1][:, None]) / 50)
    return spots[:, None].expand(-1, 3, -1, -1)


def brightness(images):
    return images.mean(1)


def test_the_agreement_is_the_mean_of_three_correlations():
    images = blobs(3)

    def explain(views):  # a map that does not follow its image quite
        return brightness(views).roll(3, dims=2)

    maps = explain(images)
    found = view_agreement(explain, images, maps)
    pairs = [(maps, explain(images.flip(-1)).flip(-1))]
    for part in (slice(0, 42), slice(14, 56)):
        views = F.interpolate(images[:, :, part, part], size=(SIDE, SIDE), mode="bilinear")
        pairs.append((maps[:, part, part], explain(views)))
    for row in range(3):
        correlations = []
        for own, other in pairs:
            cells = [
                F.adaptive_avg_pool2d(m[row][None], GRID).flatten().numpy() for m in (own, other)
            ]
            correlations.append(np.corrcoef(*cells)[0, 1])
        assert float(found[row]) == pytest.approx(np.mean(correlations), abs=1e-4)


def score(explain, images):
    metric = ZeroBoxStability()
    maps = explain(images)
    metric.update(maps, view_agreement(explain, images, maps))
    return float(metric.compute())


def test_maps_that_follow_their_image_gain_and_maps_that_do_not_look_at_it_lose():
    images = blobs(6)
    fixed = blobs(1, seed=5)[0, 0]

    def always(values):
        return lambda views: values.expand(len(views), SIDE, SIDE)

    corner = torch.zeros(SIDE, SIDE)
    corner[27:29, 27:29] = 1  # tiny, and its own mirror image
    assert score(brightness, images) > 0.5
    assert score(always(torch.zeros(SIDE, SIDE)), images) == 0
    assert score(always(torch.ones(SIDE, SIDE)), images) == 0
    assert score(always(fixed), images) <= 0
    assert score(always(corner), images) <= 0


def test_the_value_is_that_of_a_loop_over_pairs(check_metric):
    generator = torch.Generator().manual_seed(0)
    maps = torch.rand(5, 30, 40, generator=generator)
    agreement = torch.rand(5, dtype=torch.float64, generator=generator)
    found = profiles(maps)
    pairs = [float(found[i] @ found[j]) for i in range(5) for j in range(5) if i != j]
    expected = agreement.mean() - np.mean(pairs)

    def collate(rows):
        return torch.stack([m for m, _ in rows]), torch.stack([a for _, a in rows])

    check_metric(ZeroBoxStability, list(zip(maps, agreement, strict=True)), collate, expected)
