import numpy as np
import pytest
import torch

from learned_saliency.metrics import Localization


def flooded(above):
    """List the 8-connected regions of pixels (y, x)."""
    left, regions = set(above), []
    while left:
        region, edge = set(), [min(left)]
        while edge:
            y, x = edge.pop()
            if (y, x) in left:
                left.remove((y, x))
                region.add((y, x))
                edge += [(y + v, x + u) for v in (-1, 0, 1) for u in (-1, 0, 1)]
        regions.append(region)
    return regions


def plain_box_acc(samples):
    """Paper 000, Eq. A5, with the benchmark's 8 bits, far edges and thresholds of the maximum.

    Best threshold of the mean over images, then the mean over three overlaps.
    """
    hits = np.zeros((len(samples), 3, 1000), bool)
    for of_image, (saliency, boxes) in zip(hits, samples, strict=True):
        values = (saliency.double() * 255).to(torch.uint8).numpy()
        height, width = values.shape
        found = {}
        for k, threshold in enumerate(np.arange(0, 1, 0.001)):
            level = int(threshold * int(values.max()))
            if level not in found:
                regions = flooded(zip(*np.nonzero(values > level), strict=True))
                largest = np.array(sorted(max(regions, key=len, default={(0, 0)})))
                (y0, x0), (y1, x1) = largest.min(0), largest.max(0)
                if regions:
                    y1, x1 = min(y1 + 1, height - 1), min(x1 + 1, width - 1)
                ious = []
                for u0, v0, u1, v1 in boxes.tolist():
                    w, h = min(x1, u1) - max(x0, u0) + 1, min(y1, v1) - max(y0, v0) + 1
                    both = max(w, 0) * max(h, 0)
                    whole = (x1 - x0 + 1) * (y1 - y0 + 1) + (u1 - u0 + 1) * (v1 - v0 + 1)
                    ious.append(both / (whole - both))
                found[level] = max(ious)
            of_image[:, k] = found[level] >= np.array([0.3, 0.5, 0.7])
    return hits.mean(0).max(1).mean()


def blobs(seed):
    """Map (20, 24) of two bumps, of which the first is larger at every threshold."""
    draws = np.random.default_rng(seed)
    y, x = np.mgrid[:20, :24]
    bumps = [
        height * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / width)
        for cy, cx, height, width in (
            (draws.uniform(3, 8), draws.uniform(3, 20), 1.0, draws.uniform(12, 25)),
            (draws.uniform(13, 17), draws.uniform(3, 20), 0.6, 6.0),
        )
    ]
    return torch.from_numpy(np.maximum(*bumps)).clamp(0, 1)


def test_box_acc_is_a_plain_loop_over_largest_components():
    draws = np.random.default_rng(0)
    maps = [blobs(seed) for seed in range(3)]
    maps += [torch.full((20, 24), v, dtype=torch.float64) for v in (0.0, 0.4, 1.0)]
    maps += [(blobs(7) > 0.3).double(), (blobs(8) * 3).floor() / 3]
    border = torch.zeros(20, 24, dtype=torch.float64)
    border[12:, 15:] = 0.7
    samples = []
    for saliency in [*maps, border]:
        peak = divmod(int(saliency.argmax()), 24)[::-1]
        low = np.maximum(np.array(peak) - draws.integers(2, 5, 2), 0)
        high = np.minimum(np.array(peak) + draws.integers(2, 6, 2), (23, 19))
        samples.append((saliency, torch.from_numpy(np.concatenate([low, high])[None])))
    samples[-1] = (border, torch.tensor([[15, 12, 23, 19]]))
    metric = Localization()
    maps, boxes = zip(*samples, strict=True)
    metric.update(torch.stack(maps), list(boxes))
    expected = plain_box_acc(samples)
    assert 0.3 < expected < 0.95
    assert float(metric.compute()["box_acc"]) == pytest.approx(expected, abs=1e-12)
