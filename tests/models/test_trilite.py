"""TriLite's regions against plain loops, its frozen trunk, its size."""

import copy

import pytest
import torch
from torch import nn

from learned_saliency.models import (
    SPG,
    ACoL,
    CAMClassifier,
    TransformerBackbone,
    TriLite,
    region_features,
)
from learned_saliency.models.trilite import FOREGROUND
from tests.support.networks import TinyBackbone


@pytest.fixture
def model():
    torch.manual_seed(0)
    return TriLite(CAMClassifier(TinyBackbone((4, 6)), 5))


@pytest.fixture
def images():
    return torch.randn(3, 3, 16, 12, generator=torch.Generator().manual_seed(1))


def test_the_features_of_a_region_are_those_of_a_plain_loop():
    torch.manual_seed(0)
    features, region = torch.randn(2, 3, 4, 5), torch.rand(2, 4, 5)
    found = region_features(features, region, 1e-2)
    for image in range(2):
        total, mass = torch.zeros(3), 1e-2
        for row in range(4):
            for column in range(5):
                total += region[image, row, column] * features[image, :, row, column]
                mass += region[image, row, column]
        torch.testing.assert_close(found[image], total / mass)
    assert region_features(features, torch.zeros_like(region), 1e-6).eq(0).all()
    wide = features.double().requires_grad_(), region.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda f, r: region_features(f, r, 1e-2), wide)


@pytest.mark.parametrize("make", [ACoL, SPG])
def test_layers_of_a_classifier_that_its_head_does_not_read_are_not_trained(make, images):
    torch.manual_seed(0)
    model = TriLite(make(TinyBackbone((4, 5, 6)), 3)).train()
    output = model(images)
    scores = output.logits, *model.region_logits(output.features, output.regions)
    sum(score.square().sum() for score in scores).backward()
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    assert all(weight.grad is not None for weight in trained)  # DDP waits for each of them
    assert any(weight.requires_grad for weight in model.classifier.parameters())


def test_regions_are_the_softmax_of_a_normalized_convolution(model, images):
    model.train()
    output = model(images)
    convolution, features = model.tri_head[0], output.features
    padded = nn.functional.pad(features, (1, 1, 1, 1))
    scores = torch.empty(3, 3, *features.shape[2:])
    for row in range(features.shape[2]):
        for column in range(features.shape[3]):
            window = padded[:, :, row : row + 3, column : column + 3]
            scores[:, :, row, column] = torch.einsum("bkij,rkij->br", window, convolution.weight)
    mean, var = scores.mean((0, 2, 3)), scores.var((0, 2, 3), unbiased=False)
    normalized = (scores - mean[:, None, None]) / (var[:, None, None] + 1e-5).sqrt()
    torch.testing.assert_close(output.regions, normalized.exp() / normalized.exp().sum(1, True))
    foreground, background = model.region_logits(features, output.regions)
    for found, region in ((foreground, 1), (background, 2)):
        weights = output.regions[:, region]
        mean = (features * weights[:, None]).sum((2, 3)) / (weights.sum((1, 2)) + 1e-6)[:, None]
        torch.testing.assert_close(found, model.region_fc(mean))


def test_the_classification_branch_is_the_classifier(model, images):
    model.eval()
    output = model(images)
    torch.testing.assert_close(output.logits, model.classifier(images))
    maps = model.foreground(output.regions, (16, 12))
    assert maps.shape == (3, 16, 12)
    assert 0 <= maps.min() <= maps.max() <= 1
    cells = model.foreground(output.regions, output.regions.shape[-2:])
    torch.testing.assert_close(cells, output.regions[:, FOREGROUND])


def test_the_trunk_is_frozen_for_good_and_both_branches_learn(model, images):
    backbone = copy.deepcopy(model.classifier.backbone.state_dict())
    model.train()
    output = model(images)
    assert not output.features.requires_grad
    foreground, background = model.region_logits(output.features, output.regions)
    (output.logits.sum() + foreground.sum() + background.square().sum()).backward()
    learns = {name for name, weight in model.named_parameters() if weight.grad is not None}
    assert learns == {
        *("classifier.fc.weight", "classifier.fc.bias", "region_fc.weight", "region_fc.bias"),
        *("tri_head.0.weight", "tri_head.1.weight", "tri_head.1.bias"),
    }
    after = model.classifier.backbone.state_dict()
    torch.testing.assert_close(dict(after), dict(backbone), rtol=0, atol=0)


def test_fewer_than_800_000_parameters_are_trained_on_a_small_vit_for_1000_classes():
    with torch.device("meta"):
        model = TriLite(CAMClassifier(TransformerBackbone("vit_small_patch16_224"), 1000))
    trained = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    assert trained == 2 * (384 * 1000 + 1000) + 9 * 384 * 3 + 6 == 780_374


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="kernel_size must be odd"):
        TriLite(CAMClassifier(TinyBackbone(), 5), kernel_size=2)
    partly = TinyBackbone()
    partly.network[0].requires_grad_(False)
    with pytest.raises(ValueError, match=r"backbone.trainable must be null"):
        TriLite(CAMClassifier(partly, 5))
