"""ACoL's erasing and fused maps against plain loops, and what may not reach its gradients."""

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.nn import functional

from learned_saliency.attribution import CAM, GradCAM
from learned_saliency.models import ACoL, MultiScaleClassifier, head_with_gradients
from tests.support.networks import TinyBackbone

B, K, C, H, W = 3, 6, 5, 4, 7


@pytest.fixture
def model():
    torch.manual_seed(0)
    return ACoL(TinyBackbone((4, K)), C, branch_width=8, erasing_threshold=0.6).eval()


@pytest.fixture
def features():
    return torch.randn(B, K, H, W, generator=torch.Generator().manual_seed(1))


def branch_maps(branch, features):
    """Class maps (B, C, h, w), by the layers that the paper names."""
    first, second = branch.backbone.layers
    hidden = functional.relu(second(functional.relu(first(features))))
    return functional.conv2d(hidden, branch.fc.weight[:, :, None, None], branch.fc.bias)


def scaled(one):
    """Normalize a map (h, w) cell by cell."""
    low, high = min(one.flatten().tolist()), max(one.flatten().tolist())
    found = torch.empty_like(one)
    for row in range(one.shape[0]):
        for column in range(one.shape[1]):
            found[row, column] = (one[row, column] - low) / (high - low)
    return found


def erased_by_loops(features, maps, threshold):
    found = features.clone()
    for image in range(len(features)):
        for row in range(features.shape[2]):
            for column in range(features.shape[3]):
                if maps[image, row, column] >= threshold:
                    found[image, :, row, column] = 0
    return found


@torch.no_grad()
def test_branches_and_maps_are_those_of_plain_loops(model, features):
    labels = torch.tensor([4, 0, 4])
    own = branch_maps(model.branch_a, features)[range(B), labels]
    first = torch.stack([scaled(one) for one in own])
    left = erased_by_loops(features, first, 0.6)
    assert 0 < (left == 0).sum() < left.numel() / 2
    torch.testing.assert_close(model.erase(features, first), left, rtol=0, atol=0)
    logits, erased_logits = model.branches(features, labels)
    torch.testing.assert_close(logits, branch_maps(model.branch_a, features).mean((2, 3)))
    torch.testing.assert_close(erased_logits, branch_maps(model.branch_b, left).mean((2, 3)))
    torch.testing.assert_close(model.head(features), logits)
    second = branch_maps(model.branch_b, left)[range(B), labels]
    expected = torch.stack(
        [torch.maximum(a, scaled(b)) for a, b in zip(first, second, strict=True)]
    )
    torch.testing.assert_close(model.cams(features, labels), expected)


@torch.no_grad()
def test_the_map_of_each_class_is_erased_by_its_own(model, features):
    every = model.cams(features)
    assert every.shape == (B, C, H, W)
    for label in range(C):
        alone = model.cams(features, torch.full((B,), label))
        torch.testing.assert_close(every[:, label], alone)
        torch.testing.assert_close(model.cams(features[1:2], torch.tensor([label])), alone[1:2])


@torch.no_grad()
def test_a_constant_map_erases_nothing(model, features):
    constant = features.new_zeros(B, K, H, W)
    model.branch_a.fc.weight.zero_()
    erased = model.branches(features, torch.zeros(B, dtype=torch.int64)).erased_logits
    torch.testing.assert_close(erased, model.branch_b(features))
    assert torch.isfinite(model.cams(constant)).all()


def test_gradients_pass_both_branches_but_not_the_erasing(model, features):
    model, features = model.double(), features[:2].double().requires_grad_()
    labels = torch.tensor([1, 3])
    assert torch.autograd.gradcheck(lambda f: model.branches(f, labels), features)
    with torch.no_grad():
        maps = branch_maps(model.branch_a, features)[range(2), labels]
        kept = torch.stack([scaled(one) for one in maps]) < 0.6
    erased_logits = model.branches(features, labels).erased_logits
    found = torch.autograd.grad(erased_logits.square().sum(), features, retain_graph=True)
    fixed = model.branch_b(features * kept[:, None])
    torch.testing.assert_close(found, torch.autograd.grad(fixed.square().sum(), features))
    parts = list(model.branch_a.parameters())
    grads = torch.autograd.grad(erased_logits.sum(), parts, allow_unused=True)
    assert all(gradient is None for gradient in grads)


def test_the_gradients_of_the_head_are_autograds(model, features):
    model, features = model.double(), features.double()
    targets = torch.tensor([2, 0, 4])
    leaf = features.clone().requires_grad_()
    (expected,) = torch.autograd.grad(model.head(leaf)[range(B), targets].sum(), leaf)
    torch.testing.assert_close(head_with_gradients(model, features, targets).gradients, expected)


def test_post_hoc_methods_explain_branch_a_and_cam_is_the_fused_map(model):
    images = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(2))
    assert isinstance(model, MultiScaleClassifier)
    torch.testing.assert_close(model(images), model.head(model.levels(images)[-1]))
    targets = torch.tensor([1, 4])
    found = CAM().raw_maps(model, images, targets)
    torch.testing.assert_close(found, model.cams(model.features(images), targets).detach())
    before = GradCAM()(model, images, targets)
    nn.init.normal_(model.branch_b.fc.weight)
    torch.testing.assert_close(GradCAM()(model, images, targets), before, rtol=0, atol=0)
    other = pickle.loads(pickle.dumps(copy.deepcopy(model)))
    torch.testing.assert_close(other(images), model(images), rtol=0, atol=0)


def test_maps_are_wide_in_mixed_precision(model, features):
    labels = torch.zeros(B, dtype=torch.int64)
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        assert model.cams(features, labels).dtype == torch.float32
        assert model.head_gradients(features, labels).dtype == torch.float32
        assert torch.isfinite(torch.cat(model.branches(features, labels))).all()


@pytest.mark.parametrize(("channels", "width"), [(512, 1024), (768, 1024), (256, 256)])
def test_branches_have_the_papers_width_unless_features_have_few_channels(channels, width):
    with torch.device("meta"):
        model = ACoL(TinyBackbone((channels,)), 2)
    shapes = [tuple(layer.weight.shape) for layer in model.branch_b.backbone.layers]
    assert shapes == [(width, channels, 3, 3), (width, width, 3, 3)]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"branch_width": 0}, "branch_width must be at least 1, got 0"),
        ({"erasing_threshold": 0.0}, "above 0 and at most 1, got 0.0"),
        ({"erasing_threshold": 1.5}, "above 0 and at most 1, got 1.5"),
        ({"pretrained_head": "resnet50.tv_in1k"}, "pretrained_head must be null"),
        ({"num_classes": 0}, "num_classes must be at least 1"),
    ],
)
def test_options_out_of_range_are_refused(options, told):
    with pytest.raises(ValueError, match=told):
        ACoL(**{"backbone": TinyBackbone(), "num_classes": 2, "branch_width": 4} | options)


@pytest.mark.parametrize("call", ["head", "cams"])
def test_features_of_another_width_are_refused(model, call):
    with pytest.raises(ValueError, match=r"\(B, 6, h, w\), got \(3, 7, 4, 4\)"):
        getattr(model, call)(torch.zeros(3, 7, 4, 4))
