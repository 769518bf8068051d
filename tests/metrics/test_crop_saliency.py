import math

import pytest
import torch
from scipy import ndimage
from torch.nn import functional as F

from learned_saliency.metrics import Crops, CropSaliency, crop_probabilities, crop_saliency
from tests.support.waves import WaveClassifier, degenerate_maps, wave_batch


def plain(model, image, saliency, target):
    """Cut at the mean, find the largest part, crop, enlarge and classify."""
    parts, number = ndimage.label((saliency > saliency.mean()).numpy())
    shown, area = torch.zeros_like(image)[None], 1.0
    if saliency.min() < saliency.max():
        largest = max(range(1, number + 1), key=lambda i: (parts == i).sum())
        rows, columns = ndimage.find_objects(parts)[largest - 1]
        inside = image[None, :, rows, columns]
        shown = F.interpolate(inside, size=image.shape[-2:], mode="bilinear")
        area = inside[0, 0].numel() / saliency.numel()
    p = model(shown).softmax(1)[0, target].item()
    return math.log(max(0.05, area)) - math.log(p)


@pytest.mark.parametrize("name", ["wave", *degenerate_maps()])
def test_values_by_a_plain_loop(name):
    model, (images, saliency, targets) = WaveClassifier(), wave_batch()
    maps = saliency[:1] if name == "wave" else degenerate_maps()[name]
    model.seen = 0
    found = crop_saliency(crop_probabilities(model, images[:1], maps, targets[:1]))
    assert model.seen == 1
    assert found.item() == pytest.approx(plain(model, images[0], maps[0], targets[0]), abs=1e-6)


def test_area_and_probability_by_hand():
    assert crop_saliency(Crops(torch.tensor([0.5, 0.01]), torch.tensor([0.25, 1.0]))).tolist() == (
        pytest.approx([math.log(0.5) - math.log(0.25), math.log(0.05)])
    )
    none = crop_saliency(Crops(torch.tensor([1.0]), torch.tensor([0.0])))
    assert math.isfinite(none.item())


def test_a_constant_map_is_worse_than_the_whole_image():
    """The whole image of a confident class has 0; nothing of it shows less than chance."""
    images, targets = torch.ones(1, 3, 4, 4), torch.tensor([0])

    def model(images):
        return 10 * images.mean((2, 3)) * torch.tensor([1.0, 0.0, 0.0])

    flat, nearly = torch.ones(1, 4, 4), torch.ones(1, 4, 4)
    nearly[0, 2, 2] = 0.9
    values = [
        crop_saliency(crop_probabilities(model, images, maps, targets)).item()
        for maps in (flat, nearly)
    ]
    assert values == pytest.approx([math.log(3), 0.0], abs=1e-3)


def test_nothing_is_black_with_mean_and_std():
    shown = []

    def model(images):
        shown.append(images)
        return images.flatten(1)[:, :2]

    options = {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}
    crop_probabilities(
        model, torch.ones(1, 3, 4, 4), torch.zeros(1, 4, 4), torch.tensor([0]), **options
    )
    assert shown[0].unique().tolist() == [-2.0]


def test_value_is_the_mean_however_the_images_arrive(check_metric):
    given = torch.rand(2, 7, generator=torch.Generator().manual_seed(0)).double()

    def collate(chosen):
        return (Crops(*(torch.stack(part) for part in zip(*chosen, strict=True))),)

    expected = (given[0].clamp(min=0.05) / given[1]).log().mean()
    check_metric(CropSaliency, list(zip(*given, strict=True)), collate, expected)


def test_wrong_arguments_are_refused():
    images, saliency, targets = wave_batch()
    with pytest.raises(ValueError, match=r"targets must be \(2,\)"):
        crop_probabilities(WaveClassifier(), images, saliency, targets[:1])
    with pytest.raises(ValueError, match=r"\(B,\) twice"):
        crop_saliency(Crops(torch.rand(2), torch.rand(3)))
