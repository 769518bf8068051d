"""Recipro-CAM against a plain loop over the cells, and CAM."""

import pytest
import torch

from learned_saliency.attribution import CAM, ReciproCAM, SharedFeatures
from learned_saliency.attribution.core.targets import TARGETS

CLASSES = torch.tensor([3, 0, 9, 1])


def plain_loop(classifier, images, gaussian, target="logit"):
    """Keep one cell after the other, or its activations spread by the kernel."""
    line = torch.tensor([0.25, 0.5, 0.25], dtype=images.dtype)
    with torch.no_grad():
        features = classifier.features(images)
        count, _, height, width = features.shape
        found = torch.zeros(count, height, width, dtype=images.dtype)
        for row in range(height):
            for column in range(width):
                spread = torch.zeros_like(features)
                for down in (-1, 0, 1):
                    for right in (-1, 0, 1):
                        y, x = row + down, column + right
                        weight = line[down + 1] * line[right + 1]
                        if not gaussian:
                            weight = float(down == right == 0)
                        if 0 <= y < height and 0 <= x < width:
                            spread[:, :, y, x] = weight * features[:, :, row, column]
                found[:, row, column] = TARGETS[target](classifier.head(spread), CLASSES[:count])
    return found


@pytest.mark.parametrize("head", ["linear", "mlp", "flat"])
@pytest.mark.parametrize("gaussian", [True, False])
def test_raw_maps_are_those_of_a_plain_loop(tiny_cnn, images, head, gaussian):
    """An affine head is read by its derivative, the others by runs."""
    classifier = tiny_cnn(head)
    found = ReciproCAM(gaussian=gaussian).raw_maps(classifier, images, CLASSES)
    torch.testing.assert_close(found, plain_loop(classifier, images, gaussian))


@pytest.mark.parametrize("target", ["probability", "log_probability", "margin"])
def test_other_targets_are_those_of_the_loop(tiny_cnn, images, target):
    classifier = tiny_cnn("linear")
    method = ReciproCAM(target=target, batch_size=7)
    found = method.raw_maps(classifier, images, CLASSES)
    torch.testing.assert_close(found, plain_loop(classifier, images, True, target))


def test_without_the_kernel_it_is_cam_where_the_head_is_affine(tiny_cnn, images):
    classifier = tiny_cnn("linear")
    found = ReciproCAM(gaussian=False)(classifier, images, CLASSES)
    torch.testing.assert_close(found, CAM()(classifier, images, CLASSES))


@pytest.mark.parametrize("head", ["linear", "mlp"])
def test_classes_share_the_runs_and_batch_mates_change_nothing(tiny_cnn, images, head):
    classifier = tiny_cnn(head)
    shared = SharedFeatures(classifier, images)
    expected = ReciproCAM()(shared, images, CLASSES)
    rows = []
    classifier.head = lambda given, own=classifier.head: rows.append(len(given)) or own(given)
    both = torch.stack([CLASSES, CLASSES.flip(0)], dim=1)
    found = ReciproCAM().of_classes(classifier, images, both)
    torch.testing.assert_close(found[:, 0], expected)
    assert sum(rows) == 4 + 8 + (0 if head == "linear" else 4 * 64)
    alone = ReciproCAM(batch_size=9)(classifier, images[2:3], CLASSES[2:3])
    torch.testing.assert_close(alone, expected[2:3])


def test_it_runs_in_inference_mode(tiny_cnn, images):
    classifier = tiny_cnn("linear")
    expected = ReciproCAM()(classifier, images, CLASSES)
    with torch.inference_mode():
        found = ReciproCAM()(classifier, images, CLASSES)
    torch.testing.assert_close(found, expected)


def test_bad_options_are_refused():
    with pytest.raises(ValueError, match="batch_size"):
        ReciproCAM(batch_size=0)
