import pytest
import torch

from learned_saliency.metrics import AOPC, area_over_curves, region_curves
from tests.support.waves import WaveClassifier, degenerate_maps, wave_batch

# Quantus 0.6.0: RegionPerturbation(patch_size=3, regions_evaluation=4, perturb_baseline=0.0,
# normalise=False) with softmax=True on `wave_batch()`, in float32; f_0 - f_k for k = 1 ... 4.
QUANTUS = [
    [-0.04380540993336979, -0.03828861532375866, -0.05702161624507418, -0.0945552257331862],
    [-0.25066498360179335, -0.1378113136107139, -0.09180479809633799, -0.1642256621818138],
]


def plain(model, image, saliency, target, regions, patch):
    """Remove patch by patch, as the paper's words say."""
    height, width = saliency.shape
    corners = [(y, x) for y in range(0, height, patch) for x in range(0, width, patch)]
    mass = {(y, x): saliency[y : y + patch, x : x + patch].sum().item() for y, x in corners}
    corners.sort(key=lambda corner: -round(mass[corner], 9))  # stable: ties in reading order
    current, curve = image.clone(), []
    for k in range(regions + 1):
        if 0 < k <= len(corners) and saliency.min() < saliency.max():
            y, x = corners[k - 1]
            current[:, y : y + patch, x : x + patch] = 0
        curve.append(model(current[None]).softmax(1)[0, target].item())
    return curve


def test_quantus_has_the_same_curves():
    found = region_curves(WaveClassifier(), *wave_batch(), regions=4, patch=3)
    expected = torch.tensor(QUANTUS, dtype=torch.float64)
    torch.testing.assert_close(found[:, :1] - found[:, 1:], expected, rtol=0, atol=1e-7)
    torch.testing.assert_close(area_over_curves(found), expected.sum(1) / 5, rtol=0, atol=1e-7)


@pytest.mark.parametrize(("regions", "patch"), [(1, 1), (10, 2), (10, 4), (3, 20)])
def test_curves_by_a_plain_loop(regions, patch):
    model, (images, saliency, targets) = WaveClassifier(9, 7), wave_batch(9, 7)
    found = region_curves(model, images, saliency, targets, regions=regions, patch=patch)
    for image, one, target, curve in zip(images, saliency, targets, found, strict=True):
        expected = plain(model, image, one, target, regions, patch)
        assert curve.tolist() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", degenerate_maps())
def test_degenerate_maps_by_a_plain_loop(name):
    model, (images, _, targets) = WaveClassifier(), wave_batch()
    saliency = degenerate_maps()[name]
    found = region_curves(model, images[:1], saliency, targets[:1], regions=4, patch=3)
    expected = plain(model, images[0], saliency[0], targets[0], 4, 3)
    assert found[0].tolist() == pytest.approx(expected, abs=1e-12)
    if name in ("zeros", "half", "ones"):
        assert area_over_curves(found).tolist() == [0.0]


def test_a_patch_is_a_sixteenth_of_the_shorter_side():
    """In 32 x 48 pixels, the map's peak takes the 2 x 2 pixels around it."""
    images, saliency = torch.ones(1, 3, 32, 48), torch.zeros(1, 32, 48)
    saliency[0, 5, 9] = 1.0
    shown = []

    def model(images):
        shown.append(images)
        return images.flatten(1)[:, :2]

    region_curves(model, images, saliency, torch.tensor([0]), regions=1)
    assert (shown[0][1, 0] == 0).nonzero().tolist() == [[4, 8], [4, 9], [5, 8], [5, 9]]


def test_removed_patches_are_black_with_mean_and_std():
    images, saliency, targets = wave_batch()
    options = {"mean": [0.4, 0.5, 0.3], "std": [0.2, 0.3, 0.25]}
    model = WaveClassifier()
    found = region_curves(model, images, saliency, targets, regions=9, patch=3, **options)
    black = -torch.tensor(options["mean"]).double() / torch.tensor(options["std"]).double()
    all_black = black[:, None, None].expand_as(images)
    expected = model(all_black).softmax(1).gather(1, targets[:, None])[:, 0]
    torch.testing.assert_close(found[:, -1], expected)


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_passes_are_one_more_than_patches_and_bounded(batch_size):
    model, sizes = WaveClassifier(), []

    def counting(images):
        sizes.append(len(images))
        return model(images)

    found = region_curves(counting, *wave_batch(), regions=4, batch_size=batch_size)
    assert sum(sizes) == 2 * 5
    assert max(sizes) <= batch_size
    torch.testing.assert_close(found, region_curves(model, *wave_batch(), regions=4))


def test_value_is_the_mean_area_however_the_curves_arrive(check_metric):
    curves = torch.rand(7, 5, generator=torch.Generator().manual_seed(0)).double()
    expected = (curves[:, :1] - curves).mean(1).mean()
    check_metric(AOPC, list(curves), lambda chosen: (torch.stack(chosen),), expected)


def test_wrong_arguments_are_refused():
    images, saliency, targets = wave_batch()
    with pytest.raises(ValueError, match="regions and patch"):
        region_curves(WaveClassifier(), images, saliency, targets, regions=0)
    with pytest.raises(ValueError, match=r"targets must be \(2,\)"):
        region_curves(WaveClassifier(), images, saliency, targets[:1])
    with pytest.raises(ValueError, match=r"\(B, T\)"):
        area_over_curves(torch.rand(3))
    with pytest.raises(TypeError, match="floating"):
        area_over_curves(torch.ones(3, 2, dtype=torch.int64))
