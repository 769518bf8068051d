import math
import sys
from itertools import combinations

import captum.attr
import pytest
import timm
import torch
from torch import nn
from torch.nn import functional as F

from learned_saliency.attribution import LIFTCAM, deeplift, recording, split

HEADS = ["linear", "mlp", "flat"]


class Split(nn.Module):
    """A classifier of two modules."""

    def __init__(self, body, top):
        super().__init__()
        self.body, self.top = body, top

    def features(self, images):
        return self.body(images)

    def head(self, features):
        return self.top(features)

    def forward(self, images):
        return self.top(self.body(images))


def make(top, channels=5, seed=0):
    """A classifier in float64 with a random body and the given head, and three images."""
    torch.manual_seed(seed)
    body = nn.Sequential(nn.Conv2d(3, channels, 3, stride=2), nn.ReLU())
    classifier = Split(body, top).double().eval()
    for weight in classifier.parameters():
        nn.init.normal_(weight, std=0.4)
    return classifier, torch.randn(3, 3, 17, 17, dtype=torch.float64)  # A is (3, 5, 8, 8)


def shapley(classifier, image, target):
    """Eq. 6 of paper 002 by all subsets of channels, one head call each."""
    features = classifier.features(image)
    channels = features.shape[1]

    def value(subset):
        mask = torch.zeros(channels, dtype=torch.float64)
        mask[list(subset)] = 1
        return classifier.head(features * mask[:, None, None])[0, target].item()

    values = []
    for k in range(channels):
        others = [j for j in range(channels) if j != k]
        total = 0.0
        for size in range(channels):
            weight = math.factorial(size) * math.factorial(channels - size - 1)
            for subset in combinations(others, size):
                total += weight * (value((*subset, k)) - value(subset))
        values.append(total / math.factorial(channels))
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize("head", HEADS)
def test_coefficients_and_maps_are_the_golden_ones(tiny_cnn, liftcam_golden, head):
    images, targets = liftcam_golden["images"].double(), liftcam_golden[f"{head}_targets"]
    found = LIFTCAM().coefficients(tiny_cnn(head), images, targets)
    torch.testing.assert_close(found, liftcam_golden[f"{head}_lift"], rtol=0, atol=1e-9)
    maps = LIFTCAM()(tiny_cnn(head), images, targets)
    torch.testing.assert_close(maps, liftcam_golden[f"{head}_lift_map"], rtol=0, atol=1e-9)


@pytest.mark.parametrize("head", HEADS)
def test_float32_coefficients_stay_close_to_golden(tiny_cnn, liftcam_golden, head):
    images, targets = liftcam_golden["images"], liftcam_golden[f"{head}_targets"]
    found = LIFTCAM().coefficients(tiny_cnn(head, torch.float32), images, targets)
    expected = liftcam_golden[f"{head}_lift"]
    tolerance = 1e-4 * expected.abs().max().item()
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=tolerance)


def test_contribution_of_every_activation_is_the_golden_one(tiny_cnn, liftcam_golden):
    classifier = tiny_cnn("flat").requires_grad_(False)
    features, targets = liftcam_golden["activations"], liftcam_golden["flat_targets"]

    def scores(values):
        return classifier.head(values).gather(1, targets[:, None])[:, 0]

    found = deeplift(scores, features, torch.zeros_like(features))
    torch.testing.assert_close(found.values, liftcam_golden["flat_lift_maps"], rtol=0, atol=1e-9)
    torch.testing.assert_close(found.output, liftcam_golden["flat_f_full"])
    torch.testing.assert_close(found.reference, liftcam_golden["flat_f_zero"])


TOPS = {
    "relu in place": lambda: nn.Sequential(
        nn.Flatten(), nn.Linear(320, 8), nn.ReLU(inplace=True), nn.Linear(8, 4)
    ),
    "vgg": lambda: nn.Sequential(
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(80, 8),
        nn.ReLU(True),
        nn.Dropout(),
        nn.Linear(8, 8),
        nn.ReLU(True),
        nn.Linear(8, 4),
    ),
    "convolutions": lambda: nn.Sequential(
        nn.Conv2d(5, 6, 3),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Conv2d(6, 4, 1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    ),
    "smooth": lambda: nn.Sequential(
        nn.Flatten(), nn.Linear(320, 8), nn.Sigmoid(), nn.Linear(8, 6), nn.ELU(), nn.Linear(6, 4)
    ),
}


@pytest.mark.parametrize("name", TOPS)
def test_contributions_agree_with_captum(name):
    classifier, images = make(TOPS[name]())
    features = classifier.features(images).detach()
    targets = torch.tensor([1, 0, 3])
    expected = captum.attr.DeepLift(classifier.top).attribute(
        features, baselines=torch.zeros_like(features), target=targets
    )
    found = LIFTCAM().coefficients(classifier, images, targets)
    torch.testing.assert_close(found, expected.sum(dim=(2, 3)).detach(), rtol=0, atol=1e-9)


@pytest.mark.parametrize("top", [lambda: nn.Linear(5, 4), lambda: nn.Linear(320, 4)])
def test_an_affine_head_gives_exact_shapley_values(top):
    linear = top()
    first = [nn.AdaptiveAvgPool2d(1)] if linear.in_features == 5 else []
    classifier, images = make(nn.Sequential(*first, nn.Flatten(), linear))
    targets = torch.tensor([1, 0, 3])
    found = LIFTCAM().coefficients(classifier, images, targets)
    for i in range(3):
        expected = shapley(classifier, images[i : i + 1], targets[i])
        torch.testing.assert_close(found[i], expected, rtol=0, atol=1e-10)


class Functional(nn.Module):
    """Nothing but functions: ReLU, in-place arithmetic, pooling, a gate, a softmax."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(4, 5))

    def forward(self, features):
        gate = torch.sigmoid(features.mean(dim=(2, 3), keepdim=True))
        x = F.relu(features * gate - 0.1)
        x += 0.3
        x = F.max_pool2d(x, 3, 1, 1).amax(dim=(2, 3))
        return F.log_softmax(F.normalize(x) @ self.weight.T / 0.5, dim=1)


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.query_key_value = nn.LayerNorm(5), nn.Linear(5, 15)
        self.out, self.fc = nn.Linear(5, 5), nn.Linear(5, 4)

    def forward(self, features):
        tokens = features.flatten(2).transpose(1, 2)
        q, k, v = self.query_key_value(tokens + 0.2).chunk(3, dim=2)
        tokens = tokens + self.out(F.scaled_dot_product_attention(q, k, v))
        return self.fc(F.gelu(self.norm(tokens + 0.5)).mean(dim=1))


def same_sum(classifier, images):
    features, head = classifier.features(images), classifier.head
    targets = classifier(images).argmax(dim=1, keepdim=True)
    change = (head(features) - head(torch.zeros_like(features))).gather(1, targets)[:, 0]
    return LIFTCAM().coefficients(classifier, images).sum(dim=1), change.detach()


@pytest.mark.parametrize("name", TOPS)
def test_coefficients_sum_to_the_change_of_the_logit(name):
    found, expected = same_sum(*make(TOPS[name](), seed=1))
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("top", [Functional, Attention])
def test_sum_holds_for_gates_attention_and_normalization(top):
    # The quadrature of softmax and normalization is the error.
    found, expected = same_sum(*make(top()))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_sum_holds_for_a_transformer():
    torch.manual_seed(2)
    vit = timm.create_model(
        "vit_tiny_patch16_224",
        img_size=32,
        patch_size=8,
        depth=2,
        embed_dim=24,
        num_heads=2,
        num_classes=5,
    )
    vit = vit.double().eval()
    nn.init.normal_(vit.head.weight)
    classifier = split(vit, "blocks.1.norm1")
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(2, 3, 32, 32, generator=generator, dtype=torch.float64)
    features, head = classifier.encode(images)
    targets = head(features).argmax(dim=1, keepdim=True)
    change = (head(features) - head(torch.zeros_like(features))).gather(1, targets)[:, 0]
    found = LIFTCAM().coefficients(classifier, images).sum(dim=1)
    torch.testing.assert_close(found, change.detach(), rtol=1e-6, atol=1e-8)


def test_product_is_shared_by_the_mean_of_the_operands():
    x = torch.tensor([[3.0, 5.0]], dtype=torch.float64)
    r = torch.tensor([[1.0, 2.0]], dtype=torch.float64)
    found = deeplift(lambda v: v[:, 0] * v[:, 1], x, r)
    # (3 - 1) * (5 + 2) / 2 and (5 - 2) * (3 + 1) / 2
    torch.testing.assert_close(found.values, torch.tensor([[7.0, 6.0]], dtype=torch.float64))


def test_maximum_moves_to_the_place_of_the_larger_one():
    x = torch.tensor([[[1.0, 4.0, 0.0]], [[1.0, 0.0, 0.5]]], dtype=torch.float64)
    r = torch.tensor([[[2.0, 1.0, 0.0]], [[3.0, 0.0, 0.5]]], dtype=torch.float64)
    found = deeplift(lambda v: F.max_pool1d(v, 3)[:, 0, 0], x, r)
    expected = torch.tensor([[[0.0, 2.0, 0.0]], [[-2.0, 0.0, 0.0]]], dtype=torch.float64)
    torch.testing.assert_close(found.values, expected)


def test_rescale_by_hand_with_saturation():
    # y = 1 - relu(1 - x1 - x2) at (1, 1): the gradient is 0, each input still gets a half.
    x = torch.ones(1, 2, dtype=torch.float64)
    found = deeplift(lambda v: 1 - torch.relu(1 - v.sum(dim=1)), x, torch.zeros_like(x))
    torch.testing.assert_close(found.values, torch.full_like(x, 0.5))


def test_an_input_equal_to_its_reference_contributes_nothing():
    x = torch.tensor([[2.0, 0.0]], dtype=torch.float64)
    found = deeplift(lambda v: v.sigmoid().sum(dim=1), x, torch.zeros_like(x))
    assert found.values[0, 1] == 0
    torch.testing.assert_close(found.values[0, 0], x[0, 0].sigmoid() - 0.5)


def test_different_ways_for_input_and_reference_are_refused():
    def branches(values):
        return values.sum(dim=1) if values.sum() > 1 else values.exp().sum(dim=1)

    with pytest.raises(ValueError, match="another way"):
        deeplift(branches, torch.ones(1, 2), torch.zeros(1, 2))


def test_a_head_that_cannot_be_followed_is_refused():
    class SideEffect(nn.Module):
        def forward(self, features):
            pooled = features.mean(dim=(2, 3))
            pooled.relu_()  # the result is dropped, its effect on the argument used
            pooled[:, 0] = 3
            return pooled.sigmoid()

    classifier, images = make(SideEffect())
    with pytest.raises(ValueError, match="cannot be followed"):
        LIFTCAM()(classifier, images)


def test_classifier_is_left_as_found(tiny_cnn, images):
    classifier = tiny_cnn("flat").train()
    LIFTCAM()(classifier, images)
    assert classifier.training
    assert all(weight.requires_grad and weight.grad is None for weight in classifier.parameters())


def test_map_does_not_depend_on_batch_mates(tiny_cnn, images):
    classifier = tiny_cnn("flat")
    together = LIFTCAM()(classifier, images)
    for i in range(4):
        torch.testing.assert_close(LIFTCAM()(classifier, images[i : i + 1])[0], together[i])


def test_zero_activations_give_zeros(tiny_cnn, images):
    classifier = tiny_cnn("flat")
    with torch.no_grad():
        classifier.conv3.bias.fill_(-1e4)
    saliency = LIFTCAM()(classifier, images)
    torch.testing.assert_close(saliency, torch.zeros_like(saliency))


WEIGHT = torch.linspace(-1, 1, 36).double().view(12, 3)
ROWWISE = {
    "layer_norm": lambda x: F.layer_norm(x, (3,)),
    "group_norm": lambda x: F.group_norm(x.transpose(1, 2), 3),
    "attention": lambda x: F.scaled_dot_product_attention(x, x.sin(), x.cos()),
    "module of attention": lambda x: F.multi_head_attention_forward(
        *[x.transpose(0, 1)] * 3, 3, 1, WEIGHT[:9], WEIGHT[0].repeat(3), None, None, False, 0.0,
        WEIGHT[9:], WEIGHT[1], need_weights=False)[0].transpose(0, 1),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWWISE)
def test_a_recorded_path_is_the_same_in_one_call(name, monkeypatch):
    """All nodes of the quadrature are rows of one call there, so that graphs stay small."""
    module = sys.modules[deeplift.__module__]
    x = torch.randn(4, 5, 3, generator=torch.Generator().manual_seed(0)).double()
    weights = torch.linspace(0, 1, 15).double()

    def function(x):
        return ROWWISE[name](x).flatten(1) @ weights

    expected = deeplift(function, x, 0.1 * x.roll(1, 0))
    stacked = []
    once = module._stacked
    monkeypatch.setattr(module, "_stacked", lambda *a: stacked.append(a[0].name) or once(*a))
    with recording():
        found = deeplift(function, x, 0.1 * x.roll(1, 0))
    assert len(stacked) == 1
    torch.testing.assert_close(found.values, expected.values)


def test_small_changes_cost_no_precision():
    """Secants of a smooth function over a tiny step are rounding; its derivative is not."""
    references = torch.linspace(0.5, 2, 200)[None]
    inputs = references * (1 + torch.logspace(-6, -2, 200))[None]

    def multipliers(x, r):
        return deeplift(lambda x: F.gelu(x).sum(1), x, r).values / (x - r)

    exact = multipliers(inputs.double(), references.double())
    found = multipliers(inputs, references).double()
    torch.testing.assert_close(found, exact, rtol=2e-3, atol=0)
