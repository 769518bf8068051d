import numpy as np
import pytest
import torch

from learned_saliency.metrics import PxAP
from learned_saliency.metrics.pxap import average_precision, score_histograms
from tests.support.paths import GOLDEN as FOLDER

GOLDEN = FOLDER / "pxap.npz"
EDGES = np.append(np.arange(0, 1, 0.001), [1.0, 2.0, 3.0])


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def samples(golden):
    """Masks and maps (12, 224, 224) with a score in the middle of the bin of each golden one."""
    bins = golden["bin_steps"].astype(np.int64).cumsum(2)
    scores = np.where(bins == 1000, 1.0, (bins + 0.5) / 1000)
    maps, masks = torch.from_numpy(scores).float(), torch.from_numpy(golden["target"])
    return list(zip(maps, masks, strict=True))


def collate(samples):
    maps, masks = zip(*samples, strict=True)
    return torch.stack(maps), torch.stack(masks)


def plain_pxap(saliency, masks):
    """PxAP from the definition, score by score over distinct bins."""
    scores = np.floor(saliency.double().numpy() * 1000)[masks.numpy() != 255]
    truth = (masks.numpy() == 1)[masks.numpy() != 255]
    area, recall = 0.0, 0.0
    for score in np.unique(scores)[::-1]:
        above = truth[scores >= score]
        area += above.mean() * (above.sum() / truth.sum() - recall)
        recall = above.sum() / truth.sum()
    return area


def test_histograms_and_value_equal_the_published_evaluator(golden, samples, check_metric):
    background, of_object = score_histograms(*collate(samples))
    assert (background.numpy() == golden["hist_false"]).all()
    assert (of_object.numpy() == golden["hist_true"]).all()
    expected = torch.tensor(golden["pxap"].item() / 100, dtype=torch.float64)
    check_metric(PxAP, samples, collate, expected, rtol=0, atol=1e-11)


def test_value_of_single_maps_equals_the_published_evaluator(golden):
    for saliency, index in zip(golden["scoremaps"], golden["scoremaps_index"], strict=True):
        metric = PxAP()
        mask = torch.from_numpy(golden["target"][index])
        metric.update(torch.from_numpy(saliency)[None], mask[None])
        assert 100 * metric.compute().item() == pytest.approx(
            golden["pxap_per_image"][index], abs=1e-9
        )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_scores_at_bin_edges_are_binned_as_by_numpy(dtype):
    # Each edge k/1000, computed in two ways, and the nearest numbers around it: between them
    # neither binning changes. Both are monotone, so equal histograms are equal bins.
    edges = np.concatenate([np.arange(1001) / 1000, np.arange(1001) * 0.001]).astype(dtype)
    around = [np.nextafter(edges, dtype(-1)), edges, np.nextafter(edges, dtype(2))]
    scores = np.unique(np.clip(np.concatenate(around), 0, 1)).astype(dtype)
    expected = np.histogram(scores.astype(np.float64), EDGES)[0]
    maps = torch.from_numpy(scores)[None, None]
    found = score_histograms(maps, torch.ones_like(maps, dtype=torch.uint8))[1]
    assert (found.numpy() == expected).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_histograms_equal_numpy_on_random_scores(dtype):
    generator = torch.Generator().manual_seed(0)
    maps = torch.rand(3, 40, 50, generator=generator, dtype=torch.float64).to(dtype)
    masks = torch.tensor([0, 1, 255], dtype=torch.uint8)[
        torch.randint(0, 3, (3, 40, 50), generator=generator)
    ]
    background, of_object = score_histograms(maps, masks)
    wide = maps.double().numpy()
    assert (background.numpy() == np.histogram(wide[masks.numpy() == 0], EDGES)[0]).all()
    assert (of_object.numpy() == np.histogram(wide[masks.numpy() == 1], EDGES)[0]).all()


def test_value_equals_the_definition_on_random_maps_of_any_size():
    generator = torch.Generator().manual_seed(1)
    for shape in ((1, 1, 3), (1, 7, 5), (4, 9, 13)):
        maps = torch.rand(shape, generator=generator)
        masks = torch.randint(0, 2, shape, generator=generator).to(torch.uint8)
        masks[0, 0, 0], masks[0, 0, 1] = 1, 255
        metric = PxAP()
        metric.update(maps, masks)
        torch.testing.assert_close(metric.compute().item(), plain_pxap(maps, masks))


def test_pooled_value_by_hand():
    # Scores from the top: object, background, object. Precision 1 and 2/3 at recall steps of 1/2.
    metric = PxAP()
    masks = torch.tensor([[[1, 0, 1, 255]]], dtype=torch.uint8)
    metric.update(torch.tensor([[[0.9, 0.5, 0.2, 0.7]]]), masks)
    torch.testing.assert_close(metric.compute().item(), 0.5 + 0.5 * 2 / 3)
    curve = metric.curve()
    torch.testing.assert_close(curve.thresholds[0].item(), 0.899)  # 0.9 is less in float32
    at = [(curve.thresholds > t).sum().item() - 1 for t in (0.898, 0.498, 0.198, -1)]
    expected = torch.tensor([1, 1 / 2, 2 / 3, 2 / 3], dtype=torch.float64)
    torch.testing.assert_close(curve.precision[at], expected)
    expected = torch.tensor([0.5, 0.5, 1, 1], dtype=torch.float64)
    torch.testing.assert_close(curve.recall[at], expected)


def test_ignored_pixels_change_nothing():
    generator = torch.Generator().manual_seed(2)
    maps = torch.rand(2, 8, 8, generator=generator)
    masks = torch.randint(0, 2, (2, 8, 8), generator=generator).to(torch.uint8)
    masks[:, 2:5] = 255
    metric = PxAP()
    metric.update(maps, masks)
    changed = maps.clone()
    changed[:, 2:5] = torch.rand(2, 3, 8, generator=generator)
    other = PxAP()
    other.update(changed, masks)
    torch.testing.assert_close(other.compute(), metric.compute(), rtol=0, atol=0)


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_constant_map_has_the_precision_of_the_object_fraction(value):
    masks = torch.zeros(1, 4, 5, dtype=torch.uint8)
    masks[0, :2, :3] = 1
    metric = PxAP()
    metric.update(torch.full((1, 4, 5), value), masks)
    torch.testing.assert_close(metric.compute().item(), 6 / 20)


def test_value_is_nan_without_any_object_pixel_and_one_without_background():
    maps = torch.rand(1, 4, 4, generator=torch.Generator().manual_seed(0))
    metric = PxAP()
    metric.update(maps, torch.zeros(1, 4, 4, dtype=torch.uint8))
    assert metric.compute().isnan()
    assert metric.curve().recall.isnan().all()
    metric = PxAP()
    metric.update(maps, torch.ones(1, 4, 4, dtype=torch.uint8))
    assert metric.compute() == 1


def test_average_precision_works_on_batches_of_histograms():
    true, false = torch.tensor([[0, 2], [3, 1]]), torch.tensor([[4, 0], [0, 1]])
    expected = torch.tensor([1, 0.25 * 0.5 + 0.75 * 0.8], dtype=torch.float64)
    torch.testing.assert_close(average_precision(true, false), expected)


@pytest.mark.parametrize(
    ("saliency", "masks", "error", "message"),
    [
        (torch.ones(1, 2, 2), torch.ones(1, 2, 2).long(), TypeError, "uint8"),
        (torch.ones(1, 2, 2), torch.ones(2, 2, 2).byte(), ValueError, r"\(1, 2, 2\)"),
        (torch.ones(1, 2, 2), torch.full((1, 2, 2), 2).byte(), ValueError, "only 0"),
        (torch.ones(1, 2, 2), torch.full((1, 2, 2), 254).byte(), ValueError, "only 0"),
        (torch.full((1, 2, 2), -0.1), torch.ones(1, 2, 2).byte(), ValueError, r"in \[0, 1\]"),
        (torch.full((1, 2, 2), torch.nan), torch.ones(1, 2, 2).byte(), ValueError, "nan"),
        (torch.ones(1, 2, 2).long(), torch.ones(1, 2, 2).byte(), TypeError, "floating"),
    ],
)
def test_bad_input_is_refused(saliency, masks, error, message):
    with pytest.raises(error, match=message):
        PxAP().update(saliency, masks)
