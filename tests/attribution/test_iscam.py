"""IS-CAM against torchcam and by hand."""

import pytest
import torch
from torchcam import methods as torchcam

from learned_saliency.attribution import ISCAM, ScoreCAM, normalize, resize, split
from tests.attribution.masked_networks import CLASSES, FullSize, images_of


def test_maps_are_those_of_torchcam():
    """Its masks are normalized before they are resized, so activations have the images' size."""
    network, images = FullSize().eval(), images_of(2)
    with torchcam.ISCAM(network, "body", num_samples=4) as method:
        network(images)
        expected = method(CLASSES.tolist())[0]
    found = ISCAM(steps=4)(split(network, "body"), images, CLASSES)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("path", "factors"), [("cumulative", [1 / 3, 1.0, 2.0]), ("linear", [1 / 3, 2 / 3, 1.0])]
)
def test_weights_are_those_of_a_plain_loop(tiny_cnn, images, path, factors):
    classifier, targets = tiny_cnn("mlp"), torch.tensor([3, 0, 9, 1])
    method = ISCAM(steps=3, path=path, batch_size=5)
    found = method.coefficients(classifier, images, targets)
    with torch.no_grad():
        features = classifier.features(images)
        scores = torch.zeros(4, 8).double()
        for image in range(4):
            for channel in range(8):
                mask = normalize(resize(features[image, channel], (32, 32)))
                for factor in factors:
                    logits = classifier((images[image] * factor * mask)[None])
                    scores[image, channel] += logits[0, targets[image]] / 3
    torch.testing.assert_close(found, scores.softmax(1))


@pytest.mark.parametrize("path", ["cumulative", "linear"])
def test_one_step_is_score_cam(tiny_cnn, images, path):
    classifier = tiny_cnn("mlp")
    found = ISCAM(steps=1, path=path)(classifier, images)
    torch.testing.assert_close(found, ScoreCAM()(classifier, images))


def test_neither_batch_size_nor_batch_mates_nor_other_classes_change_a_map(tiny_cnn, images):
    classifier, targets = tiny_cnn("mlp"), torch.tensor([3, 0, 9, 1])
    expected = ISCAM(steps=2)(classifier, images, targets)
    torch.testing.assert_close(ISCAM(steps=2, batch_size=3)(classifier, images, targets), expected)
    alone = ISCAM(steps=2)(classifier, images[1:2], targets[1:2])
    torch.testing.assert_close(alone, expected[1:2])
    both = torch.stack([targets, targets.flip(0)], dim=1)
    several = ISCAM(steps=2).of_classes(classifier, images, both)
    torch.testing.assert_close(several[:, 0], expected)


@pytest.mark.parametrize("options", [{"steps": 0}, {"path": "straight"}, {"batch_size": 0}])
def test_bad_options_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        ISCAM(**options)
