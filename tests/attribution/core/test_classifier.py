"""Frozen classifiers and shared features."""

import pytest
import torch

from learned_saliency import attribution
from learned_saliency.attribution import SharedFeatures, encode, frozen


def test_frozen_restores_modes_and_flags(tiny_cnn):
    classifier = tiny_cnn("mlp").train()
    classifier.conv1.eval()
    classifier.fc.requires_grad_(False)
    with frozen(classifier):
        assert not any(module.training for module in classifier.modules())
        assert not any(weight.requires_grad for weight in classifier.parameters())
    assert classifier.training
    assert classifier.conv2.training
    assert not classifier.conv1.training
    assert not classifier.fc.weight.requires_grad
    assert classifier.conv1.weight.requires_grad


@pytest.mark.parametrize("method", ["CAM", "GradCAM", "AblationCAM", "SmoothGradCAMPlusPlus"])
def test_shared_features_change_no_map(tiny_cnn, images, method):
    classifier = tiny_cnn("linear")
    method = getattr(attribution, method)()
    for shared in (
        SharedFeatures(classifier, images),
        SharedFeatures(classifier, images, classifier.features(images)),
    ):
        torch.testing.assert_close(method(shared, images), method(classifier, images))


def test_shared_features_save_the_backbone_for_that_very_batch(tiny_cnn, images):
    classifier = tiny_cnn("flat")
    calls = []
    classifier.conv1.register_forward_hook(lambda *_: calls.append(1))
    shared = SharedFeatures(classifier, images)
    for method in (attribution.GradCAM(), attribution.LayerCAM(), attribution.AblationCAM()):
        method(shared, images)
    with torch.no_grad():
        torch.testing.assert_close(shared(images), classifier.head(shared.features(images)))
    assert len(calls) == 1
    attribution.GradCAM()(shared, images.clone())
    assert len(calls) == 2


def test_shared_features_let_gradients_reach_the_images(tiny_cnn, images):
    classifier, images = tiny_cnn("flat"), images.clone().requires_grad_()
    shared = SharedFeatures(classifier, images)
    shared(images)[:, 0].sum().backward()
    given = images.grad
    images.grad = None
    classifier(images)[:, 0].sum().backward()
    torch.testing.assert_close(given, images.grad)


def test_shared_features_of_a_split_network_come_from_its_own_pass(tiny_cnn, images):
    class Whole(torch.nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, images):
            return self.inner(images)

    classifier = attribution.split(Whole(tiny_cnn("flat")), "inner.conv3")
    maps = attribution.GradCAM()(SharedFeatures(classifier, images), images)
    torch.testing.assert_close(maps, attribution.GradCAM()(classifier, images))
    given = SharedFeatures(classifier, images, classifier.features(images))
    torch.testing.assert_close(attribution.GradCAM()(given, images), maps)


def test_shared_features_are_refused_that_no_head_is_known_for(tiny_cnn, images):
    class Encoding(torch.nn.Module):
        def encode(self, images):
            return images, None

    with pytest.raises(TypeError, match="without features"):
        SharedFeatures(Encoding(), images, images)


def test_features_of_an_earlier_pass_are_computed_again_where_the_head_reads_more(tiny_cnn, images):
    classifier = attribution.split(tiny_cnn("flat"), "conv3", tracing=False)
    old = classifier.features(images)
    classifier.features(images.flip(0))
    assert classifier.head_of(old) is None
    maps = attribution.GradCAM()(SharedFeatures(classifier, images, old), images)
    torch.testing.assert_close(maps, attribution.GradCAM()(classifier, images))


def test_shared_features_pass_on_the_classifiers_own_maps(tiny_cnn, images):
    classifier = tiny_cnn("mlp")
    classifier.cams = lambda features, targets: features[:, 3]
    maps = attribution.CAM()(SharedFeatures(classifier, images), images)
    torch.testing.assert_close(maps, attribution.CAM()(classifier, images))


def test_encode_uses_features_and_head(tiny_cnn, images):
    classifier = tiny_cnn("mlp")
    features, head = encode(classifier, images)
    rows = torch.tensor([2, 0])
    torch.testing.assert_close(head(features[rows], rows), classifier(images)[rows])
