"""Backward rules: the usual ones give the derivative, others change it where they are named."""

import pytest
import timm
import torch
import torchvision
from torch import nn
from torch.nn import functional as F

from learned_saliency.attribution import VanillaGradient, split
from learned_saliency.attribution.core.rules import BackwardRules

IMAGES = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
NAMES = frozenset(
    {"relu", "gelu", "silu", "softmax", "mul", "__mul__", "add", "__add__", "__iadd__"}
    | {"conv2d", "linear", "batch_norm", "layer_norm", "matmul", "__matmul__"}
    | {"scaled_dot_product_attention", "max_pool2d", "adaptive_avg_pool2d", "mean", "sum"}
)


def plain(call, gradient):
    return call.pull_back(gradient)


def doubled(call, gradient):
    return [2 * handed for handed in call.pull_back(gradient)]


def derivative(network, images, rules):
    leaf = images.clone().requires_grad_()
    with BackwardRules(rules) as mode:
        score = network(leaf)[:, 1].sum()
    return score.detach(), torch.autograd.grad(score, leaf)[0], mode.seen


@pytest.mark.parametrize(
    ("make", "size"),
    [
        (lambda: torchvision.models.resnet18(num_classes=4), 32),
        (lambda: torchvision.models.squeezenet1_1(num_classes=4), 64),
        (
            lambda: timm.create_model("vit_tiny_patch16_224", img_size=32, num_classes=4, depth=2),
            32,
        ),
        (lambda: timm.create_model("tf_efficientnet_lite0", num_classes=4), 32),
    ],
)
def test_usual_rules_give_the_derivative_and_leave_the_output(make, size):
    torch.manual_seed(0)
    network = make().eval().requires_grad_(False).double()
    images = torch.rand(2, 3, size, size, dtype=torch.float64)
    score, expected, _ = derivative(network, images, {})
    ruled, found, seen = derivative(network, images, dict.fromkeys(NAMES, plain))
    assert sum(seen.values()) > 10
    torch.testing.assert_close(ruled, score)
    torch.testing.assert_close(found, expected)


def test_a_rule_changes_every_call_of_its_function_alone():
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.ReLU(inplace=True),
        nn.Conv2d(4, 2, 3),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    ).requires_grad_(False)
    _, expected, _ = derivative(network, IMAGES, {})
    _, once, seen = derivative(network, IMAGES, {"relu": doubled})
    _, twice, _ = derivative(network, IMAGES, {"conv2d": doubled})
    assert seen == {"relu": 1}
    torch.testing.assert_close(once, 2 * expected)
    torch.testing.assert_close(twice, 4 * expected)


@pytest.mark.parametrize(
    "rectify",
    [
        torch.relu,
        F.relu,
        F.relu_,
        lambda x: F.relu(x, inplace=True),
        lambda x: x.relu(),
        lambda x: x.relu_(),
    ],
)
def test_all_ways_to_write_a_function_are_one(rectify):
    images = IMAGES.flatten(1)[:, :5] - 0.5

    def network(images):
        return rectify(images * 1)

    _, found, seen = derivative(network, images, {"relu": doubled})
    assert seen == {"relu": 1}
    expected = torch.zeros_like(images)
    expected[:, 1] = 2.0 * (images[:, 1] > 0)
    torch.testing.assert_close(found, expected)


def test_a_rule_sees_other_arguments_and_can_replace_them():
    layer = nn.Linear(3, 2).requires_grad_(False)

    def absolute(call, gradient):
        weight = call.argument(1, "weight")
        return call.pull_back(gradient, others={(1, "weight"): weight.abs(), (2, "bias"): None})

    rows = torch.rand(2, 3)
    _, found, _ = derivative(layer, rows, {"linear": absolute})
    torch.testing.assert_close(found, layer.weight[1].abs().expand(2, 3))
    _, by_name, _ = derivative(
        lambda x: F.linear(x, bias=layer.bias, weight=layer.weight), rows, {"linear": absolute}
    )
    torch.testing.assert_close(by_name, found)


def test_numbers_are_wide_in_rules_under_autocast():
    network = nn.Sequential(nn.Conv2d(3, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    network.requires_grad_(False)
    types = []

    def noting(call, gradient):
        types.extend([gradient.dtype, call.taken[0].dtype, call.argument(1, "weight").dtype])
        return call.pull_back(gradient)

    with torch.autocast("cpu", torch.bfloat16):
        _, found, _ = derivative(network, IMAGES, {"conv2d": noting})
    assert set(types) == {torch.float32}
    _, expected, _ = derivative(network, IMAGES, {})
    torch.testing.assert_close(found, expected, rtol=0.01, atol=1e-5)


def test_functions_of_several_tensors_are_refused():
    with pytest.raises(TypeError, match="chunk gives tuple, a rule needs one tensor"):
        derivative(lambda x: x.flatten(1).chunk(2, 1)[0], IMAGES, {"chunk": plain})


def test_functions_that_have_neither_rule_nor_permission_are_refused():
    def network(images):
        scaled = images.flatten(1)[:, :4].exp()  # no rule
        return scaled.relu()

    mode = BackwardRules({"relu": plain}, derivatives=())
    with pytest.raises(ValueError, match="there is no rule for the function 'exp'"), mode:
        network(IMAGES.clone().requires_grad_())
    _, expected, _ = derivative(network, IMAGES, {})
    leaf = IMAGES.clone().requires_grad_()
    with BackwardRules({"relu": plain}, derivatives={"exp"}) as mode:
        network(IMAGES)  # what does not depend on the input is not asked
        score = network(leaf)[:, 1]
    torch.testing.assert_close(torch.autograd.grad(score.sum(), leaf)[0], expected)
    assert mode.seen == {"relu": 1}


def test_a_rule_knows_which_tensors_its_call_takes():
    seen = []

    def noting(call, gradient):
        seen.append((call.takes(leaf), call.takes_at(0, "input"), call.takes_at(1, "other")))
        return call.pull_back(gradient)

    leaf = torch.rand(2, 3, requires_grad=True)
    with BackwardRules({"matmul": noting}):
        score = torch.matmul(torch.rand(4, 2), torch.matmul(leaf, torch.rand(3, 2))).sum()
    torch.autograd.grad(score, leaf)
    assert seen == [(False, False, True), (True, True, False)]


def test_rules_go_with_the_network_of_a_method(tiny_cnn, images):
    classifier = split(tiny_cnn("flat"), "conv3")
    leaf = images.clone().requires_grad_()
    for weight in classifier.parameters():
        weight.requires_grad_(False)
    with torch.enable_grad(), BackwardRules({"relu": plain}):
        score = classifier(leaf)[:, 3].sum()
    (found,) = torch.autograd.grad(score, leaf)
    method = VanillaGradient(blur_sigma=0)
    expected = method.raw_maps(classifier, images, torch.full((4,), 3))
    torch.testing.assert_close(found.abs().amax(1), expected)
