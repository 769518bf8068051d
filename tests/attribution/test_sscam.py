"""SS-CAM against torchcam with the same noise, and a plain loop."""

from types import SimpleNamespace

import pytest
import torch
from torchcam import methods as torchcam

from learned_saliency.attribution import SSCAM, ScoreCAM, normalize, resize, split
from learned_saliency.attribution.core.targets import TARGETS
from tests.attribution.masked_networks import CLASSES, FullSize, images_of


def noise(samples, size, std, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [std * torch.randn(*size, generator=generator) for _ in range(samples)]


def test_maps_are_those_of_torchcam_with_the_same_noise():
    """Its masks are normalized before they are resized, so activations have the images' size."""
    network, images = FullSize().eval(), images_of(2)
    drawn = iter(noise(3, (10, 12), 0.5, seed=4))
    with torchcam.SSCAM(network, "body", num_samples=3, std=0.5) as method:
        method._distrib = SimpleNamespace(sample=lambda size: next(drawn).expand(size))
        network(images)
        expected = method(CLASSES.tolist())[0]
    ours = SSCAM(samples=3, noise_std=0.5, seed=4)
    found = ours(split(network, "body"), images, CLASSES)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
    assert (found - ScoreCAM()(split(network, "body"), images, CLASSES)).abs().max() > 1e-3


@pytest.mark.parametrize("target", ["logit", "probability", "margin"])
def test_weights_are_those_of_a_plain_loop(tiny_cnn, images, target):
    classifier, targets = tiny_cnn("mlp"), torch.tensor([3, 0, 9, 1])
    found = SSCAM(samples=2, noise_std=1.5, seed=1, target=target, batch_size=3).coefficients(
        classifier, images, targets
    )
    with torch.no_grad():
        features = classifier.features(images)
        scores = torch.zeros(4, 8).double()
        for image in range(4):
            for channel in range(8):
                mask = normalize(resize(features[image, channel], (32, 32)))
                for each in noise(2, (32, 32), 1.5, seed=1):
                    logits = classifier((images[image] * (mask + each))[None])
                    scores[image, channel] += TARGETS[target](logits, targets[image : image + 1])[0]
    torch.testing.assert_close(found, (scores / 2).softmax(1))


def test_without_noise_it_is_score_cam(tiny_cnn, images):
    classifier = tiny_cnn("linear")
    found = SSCAM(samples=2, noise_std=0.0)(classifier, images)
    torch.testing.assert_close(found, ScoreCAM()(classifier, images))


def test_neither_batch_size_nor_batch_mates_nor_other_classes_change_a_map(tiny_cnn, images):
    classifier, targets = tiny_cnn("mlp"), torch.tensor([3, 0, 9, 1])
    expected = SSCAM(samples=2)(classifier, images, targets)
    few = SSCAM(samples=2, batch_size=3)(classifier, images, targets)
    torch.testing.assert_close(few, expected)
    alone = SSCAM(samples=2)(classifier, images[1:2], targets[1:2])
    torch.testing.assert_close(alone, expected[1:2])
    both = torch.stack([targets, targets.flip(0)], dim=1)
    several = SSCAM(samples=2).of_classes(classifier, images, both)
    torch.testing.assert_close(several[:, 0], expected)
    other = SSCAM(samples=2, seed=1)(classifier, images, targets)
    assert (other - expected).abs().max() > 1e-3


@pytest.mark.parametrize("options", [{"samples": 0}, {"noise_std": -1.0}, {"batch_size": 0}])
def test_bad_options_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        SSCAM(**options)


def test_progress_is_told_after_each_run(tiny_cnn, images):
    for method in (ScoreCAM(batch_size=5), SSCAM(samples=2, batch_size=5)):
        told = []
        method.progress = lambda *step, told=told: told.append(step)
        method(tiny_cnn("mlp"), images)
        runs = -(-len(images) * tiny_cnn("mlp").features(images).shape[1] // 5)
        assert told == [(run, runs) for run in range(1, runs + 1)]
