import numpy as np
import pytest
import torch
from pytorch_grad_cam.metrics.road import NoisyLinearImputer, ROADCombined
from pytorch_grad_cam.utils.model_targets import ClassifierOutputSoftmaxTarget

from learned_saliency.metrics import (
    ROAD_FRACTIONS,
    Road,
    RoadLeRF,
    RoadMoRF,
    RoadProbabilities,
    road,
    road_lerf,
    road_morf,
    road_probabilities,
)
from learned_saliency.ops import impute_from_neighbors
from tests.support.waves import WaveClassifier, degenerate_maps, generators, wave_batch


def plain(model, image, saliency, target, fractions):
    """Remove the first pixels of a sorted list, without noise."""
    height, width = saliency.shape
    places = [(y, x) for y in range(height) for x in range(width)]
    curves = []
    for sign in (-1, 1):
        order = sorted(places, key=lambda place: (sign * saliency[place].item(), place))
        curve = []
        for fraction in fractions:
            removed = torch.zeros(height, width, dtype=torch.bool)
            for place in order[: int(fraction * height * width + 0.5)]:
                removed[place] = True
            shown = impute_from_neighbors(image[None], removed[None], tolerance=1e-12)
            curve.append(model(shown).softmax(1)[0, target].item())
        curves.append(curve)
    return curves


@pytest.fixture
def quiet(monkeypatch):
    """pytorch-grad-cam's imputer without noise, in float64."""
    imputed = NoisyLinearImputer.__call__

    def call(self, image, mask):
        self.noise = 0.0
        return imputed(self, image, mask)

    monkeypatch.setattr(NoisyLinearImputer, "__call__", call)


def test_pytorch_grad_cam_has_the_same_road(quiet):
    """The maps have no ties, and percentiles of 100 pixels cut where our counts do."""
    model, (images, _, targets) = WaveClassifier(10, 10), wave_batch(10, 10)
    order = torch.randperm(200, generator=torch.Generator().manual_seed(0)).view(2, 10, 10)
    saliency = order.double() / 200
    classes = [ClassifierOutputSoftmaxTarget(target) for target in targets.tolist()]
    expected = ROADCombined()(images.float(), saliency.float().numpy(), classes, model)
    passes = model.seen
    model.seen = 0
    found = road_probabilities(
        model, images, saliency, targets, generators=generators(2), noise=0.0
    )
    assert model.seen == 2 * 18 <= 1.1 * passes
    np.testing.assert_allclose(road(found).numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("name", ["wave", "peak", "edge", "ties"])
def test_a_plain_loop_finds_the_same_probabilities(name):
    model, (images, saliency, targets) = WaveClassifier(), wave_batch()
    maps = saliency[:1] if name == "wave" else degenerate_maps()[name]
    fractions = (0.1, 0.5, 0.9)
    found = road_probabilities(
        model,
        images[:1],
        maps,
        targets[:1],
        generators=generators(1),
        fractions=fractions,
        noise=0.0,
    )
    expected = plain(model, images[0], maps[0], targets[0], fractions)
    torch.testing.assert_close(torch.cat(found), torch.tensor(expected).double(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["zeros", "half", "ones"])
def test_a_constant_map_is_the_worst_of_all(name):
    """It leaves p as it is where it should fall, and has nothing where p should stay."""
    model, (images, _, targets) = WaveClassifier(), wave_batch()
    maps = degenerate_maps()[name]
    found = road_probabilities(model, images[:1], maps, targets[:1], generators=generators(1))
    p = model(images[:1]).softmax(1)[0, targets[0]]
    assert road_lerf(found).tolist() == [0.0]
    torch.testing.assert_close(road_morf(found), p[None])
    torch.testing.assert_close(road(found), -p[None] / 2)


def test_as_many_pixels_go_of_a_map_of_zeros_with_a_peak_as_of_any_other():
    """pytorch-grad-cam takes all pixels of the value at its percentile, here all but none."""
    images, maps = torch.zeros(1, 3, 10, 10), torch.zeros(1, 10, 10)
    images[0, :, 0, 0] = maps[0, 3, 4] = 1.0
    shown = []

    def model(images):
        shown.append(images)
        return images.flatten(1)[:, :2]

    road_probabilities(model, images, maps, torch.tensor([0]), generators=generators(1))
    changed = (torch.cat(shown) != images).any(1).flatten(1).sum(1)
    assert changed.tolist() == [10, 20, 30, 40, 50, 60, 70, 80, 90] * 2


def test_noise_is_of_the_image_alone_and_small():
    model, (images, saliency, targets) = WaveClassifier(), wave_batch()
    both = road_probabilities(model, images, saliency, targets, generators=generators(2))
    second = road_probabilities(
        model, images[1:], saliency[1:], targets[1:], generators=generators(2)[1:], batch_size=5
    )
    torch.testing.assert_close(both.morf[1:], second.morf, rtol=0, atol=1e-5)
    silent = road_probabilities(
        model, images, saliency, targets, generators=generators(2), noise=0.0
    )
    assert 0 < (both.morf - silent.morf).abs().max() < 0.1


@pytest.mark.parametrize("metric", [Road, RoadMoRF, RoadLeRF])
def test_value_is_the_mean_however_the_images_arrive(check_metric, metric):
    generator = torch.Generator().manual_seed(0)
    curves = torch.rand(2, 7, len(ROAD_FRACTIONS), generator=generator, dtype=torch.float64)
    expected = {
        RoadMoRF: curves[0].mean(),
        RoadLeRF: curves[1].mean(),
        Road: (curves[1] - curves[0]).mean() / 2,
    }

    def collate(chosen):
        return (RoadProbabilities(*(torch.stack(part) for part in zip(*chosen, strict=True))),)

    check_metric(metric, list(zip(*curves, strict=True)), collate, expected[metric])


def test_wrong_arguments_are_refused():
    batch, options = wave_batch(), {"generators": generators(2)}
    with pytest.raises(ValueError, match="2 generators, got 1"):
        road_probabilities(WaveClassifier(), *batch, generators=generators(1))
    with pytest.raises(ValueError, match=r"\(0, 1\)"):
        road_probabilities(WaveClassifier(), *batch, **options, fractions=(1.0,))
    with pytest.raises(ValueError, match="noise"):
        road_probabilities(WaveClassifier(), *batch, **options, noise=-1.0)
    with pytest.raises(ValueError, match=r"\(B, F\) twice"):
        road(RoadProbabilities(torch.rand(2), torch.rand(2)))
