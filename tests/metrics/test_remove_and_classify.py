import numpy as np
import pytest
import torch
from torch import nn

from learned_saliency.metrics import RemoveAndClassify, blurred_hits, random_saliency, removal_hits
from learned_saliency.metrics.remove_and_classify import strong_blur

FRACTIONS = (0.25, 0.5, 0.75)


class Brightest(nn.Module):
    """Classifier that answers class 1 where some pixel is above 0.9, else class 0."""

    def forward(self, images):
        high = images.amax(dim=(1, 2, 3))
        return torch.stack([0.9 - high, high - 0.9], dim=1)


@pytest.fixture
def images():
    """Black images with one white pixel each, at different places."""
    images = torch.zeros(4, 3, 16, 16)
    for i, (y, x) in enumerate([(2, 3), (8, 8), (15, 0), (5, 12)]):
        images[i, :, y, x] = 1
    return images


def test_erasing_the_pixel_that_decides_changes_the_class_and_erasing_others_does_not(images):
    labels = torch.ones(4, dtype=torch.int64)
    model = Brightest().eval()
    on_it = images[:, 0]
    assert not removal_hits(model, images, on_it, labels, FRACTIONS).any()
    assert removal_hits(model, images, 1 - on_it, labels, FRACTIONS).all()


def test_the_erased_pixels_are_the_most_salient_and_take_the_blurred_value(images):
    """Against an erasure pixel by pixel."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(3, 3, 16, 16, generator=generator)
    maps = torch.rand(3, 16, 16, generator=generator)
    maps[1] = (maps[1] > 0.5).float()  # ties go in reading order
    seen = []

    class Recorder(nn.Module):
        def forward(self, given):
            seen.append(given)
            return torch.zeros(len(given), 2)

    removal_hits(Recorder().eval(), images, maps, torch.zeros(3, dtype=torch.int64), FRACTIONS)
    blurred = strong_blur(images)
    for given, fraction in zip(seen, FRACTIONS, strict=True):
        expected = images.clone()
        for i, saliency in enumerate(maps):
            flat = saliency.flatten().tolist()
            chosen = sorted(range(256), key=lambda pixel: -flat[pixel])[: int(fraction * 256)]
            for pixel in chosen:
                expected[i, :, pixel // 16, pixel % 16] = blurred[i, :, pixel // 16, pixel % 16]
        torch.testing.assert_close(given, expected, rtol=0, atol=0)


def test_the_blur_is_the_released_codes_at_224_pixels():
    """Kernel of 31 pixels, sigma 15, mirrored border: brute force at three pixels."""
    image = torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    kernel = np.exp(-((np.arange(31) - 15) ** 2) / (2 * 15.0**2))
    kernel = np.outer(kernel, kernel) / kernel.sum() ** 2
    padded = np.pad(image[0].numpy(), ((0, 0), (15, 15), (15, 15)), mode="reflect")
    found = strong_blur(image)[0].numpy()
    for y, x in ((0, 0), (100, 223), (57, 121)):
        window = padded[:, y : y + 31, x : x + 31]
        np.testing.assert_allclose(found[:, y, x], (window * kernel).sum((1, 2)), atol=1e-6)


def test_erasing_all_pixels_is_the_blurred_image(images):
    """A white image stays white, a single white pixel does not."""
    images[2] = 1
    labels = torch.ones(4, dtype=torch.int64)
    found = blurred_hits(Brightest().eval(), images, labels, batch_size=3)
    assert found.tolist() == [False, False, True, False]


def test_random_maps_do_not_depend_on_the_batches(images):
    whole = random_saliency(images, torch.Generator().manual_seed(3))
    generator = torch.Generator().manual_seed(3)
    parts = [random_saliency(part, generator) for part in images.split(3)]
    torch.testing.assert_close(torch.cat(parts), whole, rtol=0, atol=0)
    other = random_saliency(images, torch.Generator().manual_seed(4))
    assert not torch.equal(other, whole)
    assert not torch.equal(whole[0], whole[1])


def test_relative_accuracy_is_the_ratio_of_the_hits(check_metric):
    generator = torch.Generator().manual_seed(0)
    hits, chance = (torch.rand(10, 3, generator=generator) < p for p in (0.4, 0.7))
    blurred = torch.rand(10, generator=generator) < 0.3
    samples = list(zip(hits, chance, blurred, strict=True))
    expected = hits.double().sum(0) / chance.double().sum(0)

    def collate(samples):
        return tuple(torch.stack(column) for column in zip(*samples, strict=True))

    check_metric(
        lambda **kwargs: RemoveAndClassify(FRACTIONS, **kwargs), samples, collate, expected
    )
    metric = RemoveAndClassify(FRACTIONS)
    metric.update(hits, chance, blurred)
    curve = metric.curve()
    torch.testing.assert_close(curve.accuracy, hits.double().mean(0))
    torch.testing.assert_close(curve.random_accuracy, chance.double().mean(0))
    torch.testing.assert_close(curve.blurred_accuracy, blurred.double().mean())
    assert curve.fractions.tolist() == list(FRACTIONS)


def test_without_any_random_hit_the_ratio_is_nan():
    metric = RemoveAndClassify((0.5,))
    hits = torch.ones(2, 1, dtype=torch.bool)
    metric.update(hits, ~hits, hits[:, 0])
    assert metric.compute().isnan().all()


def test_wrong_arguments_are_refused(images):
    labels = torch.ones(4, dtype=torch.int64)
    with pytest.raises(ValueError, match="fractions must lie in"):
        RemoveAndClassify((0.0, 0.5))
    with pytest.raises(ValueError, match="fractions must lie in"):
        removal_hits(Brightest().eval(), images, images[:, 0], labels, ())
    with pytest.raises(ValueError, match="training mode"):
        removal_hits(Brightest().train(), images, images[:, 0], labels)
    with pytest.raises(ValueError, match="targets must be"):
        removal_hits(Brightest().eval(), images, images[:, 0], labels + 1)
    hits = torch.ones(2, 1, dtype=torch.bool)
    with pytest.raises(TypeError, match="hits must be booleans"):
        RemoveAndClassify((0.5,)).update(hits, hits.float(), hits[:, 0])
    for given in ((hits, hits.repeat(1, 2), hits[:, 0]), (hits, hits, hits)):
        with pytest.raises(ValueError, match="hits must be"):
            RemoveAndClassify((0.5,)).update(*given)
