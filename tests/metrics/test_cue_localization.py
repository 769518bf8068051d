import numpy as np
import pytest
import torch

from learned_saliency.metrics import CueLocalization, PxAP
from learned_saliency.metrics.cue_localization import log_scale

PAIRS = 4


@pytest.fixture
def samples():
    """Maps, masks and pairs of 12 images; pair 3 has no image."""
    generator = torch.Generator().manual_seed(0)
    maps = torch.rand(12, 9, 7, generator=generator) ** 4
    masks = torch.randint(0, 2, (12, 9, 7), generator=generator, dtype=torch.uint8)
    masks[::3, :2] = 255
    return list(zip(maps, masks, torch.tensor([0, 1, 2, 0, 1, 0, 2, 2, 1, 0, 0, 1]), strict=True))


def collate(samples):
    return tuple(torch.stack(column) for column in zip(*samples, strict=True))


def pooled(samples, pairs, scale=lambda x: x):
    """PxAP of the images of some pairs."""
    metric = PxAP()
    for saliency, mask, pair in samples:
        if int(pair) in pairs:
            metric.update(scale(saliency)[None], mask[None])
    return metric.compute()


def test_the_value_is_the_mean_over_pairs_of_their_pooled_pixel_precision(samples, check_metric):
    expected = torch.stack([pooled(samples, {pair}) for pair in range(3)]).mean()
    check_metric(lambda **kwargs: CueLocalization(PAIRS, **kwargs), samples, collate, expected)
    metric = CueLocalization(PAIRS)
    metric.update(*collate(samples))
    values = metric.per_pair()
    assert values[3].isnan()
    torch.testing.assert_close(values[1], pooled(samples, {1}))


def test_released_evaluator_pools_each_pair_with_those_before_it(samples, check_metric):
    expected = torch.stack([pooled(samples, set(range(pair + 1))) for pair in range(3)]).mean()
    make = lambda **kwargs: CueLocalization(PAIRS, accumulate=True, **kwargs)  # noqa: E731
    check_metric(make, samples, collate, expected)


def test_logarithmic_thresholds_tell_small_scores_apart(samples):
    """Against an average precision computed from the released list of thresholds."""
    samples = [(saliency**3, mask, pair) for saliency, mask, pair in samples]
    metric = CueLocalization(PAIRS, scale="log")
    metric.update(*collate(samples))
    edges = 10.0 ** -np.arange(0, 7, 0.007)[::-1]
    for pair in range(3):
        chosen = [(s.double().numpy(), m.numpy()) for s, m, p in samples if p == pair]
        scores = np.concatenate([s[m != 255] for s, m in chosen])
        truth = np.concatenate([m[m != 255] == 1 for _, m in chosen])
        bins = np.searchsorted(edges, scores, side="right")
        area, recall = 0.0, 0.0
        for edge in np.unique(bins)[::-1]:
            above = truth[bins >= edge]
            area += above.mean() * (above.sum() / truth.sum() - recall)
            recall = above.sum() / truth.sum()
        assert metric.per_pair()[pair].item() == pytest.approx(area, abs=1e-6)
    even = CueLocalization(PAIRS)
    even.update(*collate(samples))
    assert metric.compute() != even.compute()


def test_log_scale_is_monotone_and_ends_at_seven_decades():
    scores = torch.tensor([0.0, 1e-9, 1e-7, 1e-6, 0.1, 1.0])
    expected = torch.tensor([0, 0, 0, 1 / 7, 6 / 7, 1], dtype=torch.float64)
    torch.testing.assert_close(log_scale(scores), expected, rtol=0, atol=1e-7)


def test_a_perfect_map_scores_one_and_a_constant_one_the_share_of_the_parts():
    masks = torch.zeros(2, 4, 4, dtype=torch.uint8)
    masks[:, 0] = 1
    metric = CueLocalization(1)
    metric.update(masks.float(), masks, torch.tensor([0, 0]))
    assert metric.compute() == 1
    metric.reset()
    metric.update(torch.zeros(2, 4, 4), masks, torch.tensor([0, 0]))
    assert metric.compute() == 0.25


def test_without_any_image_the_value_is_nan():
    assert CueLocalization(2).compute().isnan()


def test_wrong_arguments_are_refused(samples):
    maps, masks, pairs = collate(samples)
    metric = CueLocalization(PAIRS)
    with pytest.raises(ValueError, match="num_pairs must be"):
        CueLocalization(0)
    with pytest.raises(ValueError, match="scale must be one of"):
        CueLocalization(1, scale="linear")
    with pytest.raises(ValueError, match="pairs must be"):
        metric.update(maps, masks, pairs + 2)
    with pytest.raises(TypeError, match="pairs must be integers"):
        metric.update(maps, masks, pairs.float())
    with pytest.raises(ValueError, match="saliency must lie in"):
        metric.update(-maps, masks, pairs)
