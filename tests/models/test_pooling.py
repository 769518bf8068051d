"""Poolings of class maps: plain loops of the papers' equations, derivatives, refusals."""

import math

import pytest
import torch
from torch import nn

from learned_saliency.models import (
    CAMClassifier,
    GlobalAverage,
    GlobalMaximum,
    LogSumExp,
    Wildcat,
    head_with_gradients,
)
from tests.support.networks import TinyBackbone

B, K, C, H, W = 3, 6, 4, 3, 5
POOLINGS = {
    "gap": GlobalAverage,
    "max": GlobalMaximum,
    "lse": lambda: LogSumExp(2.5),
    "wildcat": lambda: Wildcat(modalities=3, highest=4, lowest=0.2, lowest_weight=0.7),
}


@pytest.fixture(name="generator")
def make_generator():
    return torch.Generator().manual_seed(5)


@pytest.fixture(name="classifier", params=POOLINGS)
def make_classifier(request, generator):
    classifier = CAMClassifier(TinyBackbone((5, K)), C, pooling=POOLINGS[request.param]())
    for parameter in classifier.parameters():
        nn.init.normal_(parameter, generator=generator)
    return classifier.eval()


def average(cells):
    return sum(cells) / len(cells)


def smooth_maximum(cells):
    return math.log(average([math.exp(2.5 * cell) for cell in cells])) / 2.5


def highest_and_lowest(cells):
    """4 highest cells; of 15 cells the lowest fifth are 3."""
    ranked = sorted(cells)
    return average(ranked[-4:]) + 0.7 * average(ranked[:3])


LOOPS = {"gap": average, "max": max, "lse": smooth_maximum, "wildcat": highest_and_lowest}


@pytest.mark.parametrize("name", POOLINGS)
def test_pooling_is_the_papers_equation(name, generator):
    maps = torch.randn(B, C, H, W, generator=generator, dtype=torch.float64)
    found = POOLINGS[name]()(maps)
    for image in range(B):
        for label in range(C):
            cells = [float(cell) for cell in maps[image, label].flatten()]
            assert float(found[image, label]) == pytest.approx(LOOPS[name](cells), abs=1e-12)


@pytest.mark.parametrize("name", POOLINGS)
def test_derivative_is_that_of_autograd(name, generator):
    maps = torch.randn(B, C, H, W, generator=generator, dtype=torch.float64, requires_grad=True)
    pooling = POOLINGS[name]()
    (expected,) = torch.autograd.grad(pooling(maps).sum(), maps)
    torch.testing.assert_close(pooling.derivative(maps.detach()), expected)
    torch.testing.assert_close(pooling.derivative(maps[:, 0].detach()), expected[:, 0])
    assert torch.autograd.gradcheck(pooling, maps)


def test_cells_that_are_equal_share_the_maximums_derivative():
    maps = torch.tensor([[[[1.0, 3.0], [3.0, 0.0]]]], requires_grad=True)
    (expected,) = torch.autograd.grad(GlobalMaximum()(maps).sum(), maps)
    assert expected.flatten().tolist() == [0.0, 0.5, 0.5, 0.0]
    torch.testing.assert_close(GlobalMaximum().derivative(maps.detach()), expected)


def test_log_sum_exp_lies_between_mean_and_maximum_without_overflow():
    maps = torch.tensor([[[[200.0, -300.0], [50.0, 0.0]]]])
    assert float(LogSumExp(10.0)(maps)) == pytest.approx(200 - math.log(4) / 10)
    wide = maps.double()
    assert float(LogSumExp(1e-6)(wide)) == pytest.approx(float(wide.mean()), abs=0.1)
    assert float(LogSumExp(1e4)(maps)) == pytest.approx(200.0, abs=1e-3)


def test_logits_are_pooled_of_the_maps(classifier, generator):
    features = torch.randn(B, K, H, W, generator=generator)
    pooled = classifier.pooling(classifier.cams(features))
    torch.testing.assert_close(classifier.head(features), pooled)
    torch.testing.assert_close(classifier.head(features[1:2]), pooled[1:2])
    torch.testing.assert_close(classifier.head(features.flip(3)), pooled)


def test_gradients_of_the_head_are_those_of_autograd(classifier, generator):
    features = torch.randn(B, K, H, W, generator=generator, dtype=torch.float64)
    classifier = classifier.double()
    targets = torch.tensor([3, 0, 2])
    leaf = features.clone().requires_grad_()
    (expected,) = torch.autograd.grad(classifier.head(leaf)[range(B), targets].sum(), leaf)
    torch.testing.assert_close(classifier.head_gradients(features, targets), expected)
    found = head_with_gradients(classifier, features)
    torch.testing.assert_close(found.targets, classifier.head(features).argmax(1))
    assert torch.autograd.gradcheck(classifier.head, leaf)


def test_global_average_is_to_the_bit_what_it_was(generator):
    classifier = CAMClassifier(TinyBackbone((5, K)), C)
    features = torch.randn(B, K, H, W, generator=generator)
    targets = torch.tensor([3, 0, 2])
    for numbers, dtype in ((features, torch.float32), (features.bfloat16(), torch.bfloat16)):
        head = classifier.to(dtype)
        assert torch.equal(head.head(numbers), head.fc(numbers.mean(dim=(2, 3))))
    classifier = classifier.float()
    gradients = classifier.fc.weight[targets] / (H * W)
    found = classifier.head_gradients(features, targets)
    assert torch.equal(found, gradients[:, :, None, None].expand_as(features))


def test_modalities_are_maps_whose_mean_is_taken(generator):
    """The mean of the weights gives the maps, the logits and the gradients of the mean of maps."""
    classifier = CAMClassifier(TinyBackbone((5, K)), C, pooling=Wildcat(modalities=3)).double()
    features = torch.randn(B, K, H, W, generator=generator, dtype=torch.float64)
    assert classifier.fc.weight.shape == (3 * C, K)
    weight, bias = classifier.fc.weight, classifier.fc.bias
    every = nn.functional.conv2d(features, weight[:, :, None, None], bias)
    maps = torch.stack([every[:, 3 * c : 3 * c + 3].mean(dim=1) for c in range(C)], dim=1)
    torch.testing.assert_close(classifier.cams(features), maps)
    found = torch.autograd.grad(classifier.head(features).square().sum(), [weight, bias])
    loss = classifier.pooling(maps).square().sum()
    torch.testing.assert_close(found, torch.autograd.grad(loss, [weight, bias]))


def test_the_last_layer_of_a_known_network_goes_to_every_modality(monkeypatch, generator):
    head = nn.Linear(K, C)
    whole = type("Whole", (), {"get_classifier": lambda self: head})
    monkeypatch.setattr("timm.create_model", lambda *args, **kwargs: whole())
    pooling = Wildcat(modalities=3)
    classifier = CAMClassifier(TinyBackbone((5, K)), C, pretrained_head="resnet18", pooling=pooling)
    features = torch.randn(B, K, H, W, generator=generator)
    expected = nn.functional.conv2d(features, head.weight[:, :, None, None], head.bias)
    torch.testing.assert_close(classifier.cams(features), expected)
    head = nn.Linear(K, 3 * C)
    with pytest.raises(ValueError, match=r"weights \(12, 6\), the classifier's \(4, 6\)"):
        CAMClassifier(TinyBackbone((5, K)), C, pretrained_head="resnet18", pooling=pooling)


@pytest.mark.parametrize("name", ["max", "lse", "wildcat"])
def test_pooling_is_wide_in_half_precision_and_under_autocast(name, generator):
    classifier = CAMClassifier(TinyBackbone((5, K)), C, pooling=POOLINGS[name]())
    features = torch.randn(B, K, H, W, generator=generator)
    expected = classifier.head(features)
    with torch.autocast("cpu", torch.bfloat16):
        found = classifier.head(features)
        gradients = classifier.head_gradients(features, torch.tensor([0, 1, 2]))
    assert gradients.dtype == found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    half = classifier.bfloat16().head(features.bfloat16())
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, expected, rtol=0.05, atol=0.05)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LogSumExp(0.0), "r must be above 0, got 0.0"),
        (lambda: Wildcat(modalities=0), "modalities must be at least 1, got 0"),
        (lambda: Wildcat(highest=2.5), "highest must be a fraction .* got 2.5"),
        (lambda: Wildcat(lowest=0), "lowest must be a fraction .* got 0"),
        (lambda: Wildcat(lowest_weight=-1.0), "lowest_weight must be at least 0, got -1.0"),
        (
            lambda: Wildcat(highest=16)(torch.zeros(1, C, H, W)),
            "head.wildcat.highest=16 takes more cells than the 15 of a class map",
        ),
    ],
)
def test_options_out_of_range_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_fraction_of_few_cells_is_one_cell():
    assert float(Wildcat(lowest_weight=0.0)(torch.tensor([[[[1.0, 2.0]]]]))) == 2.0


def test_a_graph_gives_the_same(classifier, generator):
    images = torch.randn(2, 3, 16, 12, generator=generator)
    batch = torch.export.Dim("batch", min=1)
    program = torch.export.export(classifier, (images,), dynamic_shapes=({0: batch},))
    torch.testing.assert_close(program.module()(images[:1]), classifier(images[:1]))
