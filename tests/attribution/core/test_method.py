"""Promises of every method: checks, ranges, independence, and a classifier left as it was."""

import gc
from contextlib import suppress

import pytest
import torch
from torch import nn

from learned_saliency import attribution
from learned_saliency.attribution import (
    ChannelWeightedMethod,
    GradCAM,
    PostHocMethod,
    normalize,
    resize,
)

METHODS = [
    attribution.AblationCAM(),
    attribution.ExcitationBackprop(),
    attribution.FakeCAM(),
    attribution.Feedback(rounds=3, batch_size=3),
    attribution.FullGrad(batch_size=3),
    attribution.GradCAM(),
    attribution.GradCAMPlusPlus(),
    attribution.GuidedBackprop(batch_size=3),
    attribution.HiResCAM(),
    attribution.IntegratedGradients(steps=3, batch_size=5),
    attribution.LIFTCAM(),
    attribution.LRPCAM(),
    attribution.LayerCAM(),
    attribution.OptiCAM(iterations=3),
    attribution.SHAPCAM(orderings=2, batch_size=5),
    attribution.ScoreCAM(batch_size=5),
    attribution.SmoothGrad(samples=3, batch_size=5),
    attribution.SmoothGradCAMPlusPlus(samples=3, batch_size=5),
    attribution.VanillaGradient(),
    attribution.VarGrad(samples=3),
    attribution.XGradCAM(),
    attribution.ExtremalPerturbation(iterations=3, step=8, sigma=8.0, max_blur=4.0),
    attribution.MeaningfulPerturbation(iterations=3),
    attribution.Occlusion(window=12, stride=8, batch_size=5),
    attribution.RISE(masks=7, cells=2, batch_size=5),
]
RUNS_A_NETWORK = [m for m in METHODS if not isinstance(m, attribution.FakeCAM)]
WITH_GRADIENTS = [method for method in METHODS if method.needs_gradients]
every_method = pytest.mark.parametrize("method", METHODS, ids=lambda m: type(m).__name__)


@every_method
def test_map_depends_on_nothing_but_its_own_image_and_target(tiny_cnn, images, method):
    classifier = tiny_cnn("flat")
    targets = torch.tensor([0, 5, 2, 5])
    together = method(classifier, images, targets)
    assert together.shape == (4, 32, 32)
    for i in range(4):
        alone = method(classifier, images[i : i + 1], targets[i : i + 1])
        torch.testing.assert_close(together[i], alone[0], rtol=1e-8, atol=1e-8)


@every_method
def test_map_spans_zero_to_one_and_default_target_is_the_prediction(tiny_cnn, images, method):
    classifier = tiny_cnn("flat")
    maps = method(classifier, images)
    peaks = maps.amax((1, 2))  # zero where a map is constant: no evidence, cut off by the ReLU
    assert ((peaks == 1) | (peaks == 0)).all()
    assert (peaks == 1).sum() >= 2
    assert not maps.amin((1, 2)).any()
    assert not maps.requires_grad
    predicted = classifier(images).argmax(1)
    torch.testing.assert_close(maps, method(classifier, images, predicted))


@every_method
def test_classifier_and_inputs_are_left_as_found(tiny_cnn, images, method):
    classifier = Messy(tiny_cnn("flat"))
    before, given = snapshot(classifier), images.clone()
    weights = [weight.clone() for weight in classifier.parameters()]
    with torch.no_grad():
        method(classifier, images, torch.tensor([1, 2, 3, 4]))
        assert not torch.is_grad_enabled()
    assert snapshot(classifier) == before
    torch.testing.assert_close(images, given, rtol=0, atol=0)
    for weight, old in zip(classifier.parameters(), weights, strict=True):
        torch.testing.assert_close(weight, old, rtol=0, atol=0)


@pytest.mark.parametrize("method", RUNS_A_NETWORK, ids=lambda m: type(m).__name__)
def test_classifier_is_left_as_found_after_an_exception(tiny_cnn, images, method):
    classifier = Messy(tiny_cnn("flat"))
    before = snapshot(classifier)
    classifier.broken = True
    with pytest.raises(ArithmeticError, match="broken head"):
        method(classifier, images)
    assert snapshot(classifier) == before
    assert torch.is_grad_enabled()


@every_method
def test_constant_activations_and_images_give_finite_maps(tiny_cnn, method):
    """All zero and all one, where every map but Fake-CAM's must stay within range."""
    classifier = tiny_cnn("linear", torch.float32)
    for value in (0.0, 1.0):
        maps = method(classifier, torch.full((1, 3, 32, 32), value))
        assert torch.isfinite(maps).all()
        assert ((maps >= 0) & (maps <= 1)).all()


@every_method
def test_dead_activations_give_zeros(tiny_cnn, images, method):
    classifier = tiny_cnn("linear")
    with torch.no_grad():
        classifier.conv3.weight.zero_()
        classifier.conv3.bias.fill_(-1.0)
    maps = method(classifier, images)
    alone = (attribution.FakeCAM, attribution.RISE, attribution.ExtremalPerturbation)
    if not isinstance(method, alone):  # these show the masks themselves
        assert not maps.any()


@pytest.mark.parametrize("method", WITH_GRADIENTS, ids=lambda m: type(m).__name__)
def test_inference_mode_is_refused_where_gradients_are_needed(tiny_cnn, images, method):
    with torch.inference_mode(), pytest.raises(RuntimeError, match="inference_mode"):
        method(tiny_cnn("flat"), images)


@pytest.mark.parametrize("head", ["linear", "flat"])
def test_gradient_free_methods_run_in_inference_mode(tiny_cnn, images, head):
    for method in (attribution.AblationCAM(), attribution.ScoreCAM()):
        with torch.inference_mode():
            inside = method(tiny_cnn(head), images)
        torch.testing.assert_close(inside.clone(), method(tiny_cnn(head), images))


def test_images_made_in_inference_mode_are_explained_outside(tiny_cnn, images):
    with torch.inference_mode():
        made_inside = images.clone()
    maps = GradCAM()(tiny_cnn("flat"), made_inside)
    torch.testing.assert_close(maps, GradCAM()(tiny_cnn("flat"), images))


def test_backbone_runs_once(tiny_cnn, images):
    classifier = tiny_cnn("flat")
    calls = []
    classifier.conv1.register_forward_hook(lambda *_: calls.append(1))
    names = "AblationCAM GradCAM GradCAMPlusPlus HiResCAM XGradCAM LayerCAM LRPCAM FullGrad"
    for name in [*names.split(), "ExcitationBackprop", "GuidedBackprop"]:
        calls.clear()
        getattr(attribution, name)()(classifier, images)
        assert len(calls) == 1, name


@every_method
def test_half_precision_and_channels_last_stay_close(tiny_cnn, images, method):
    """bfloat16 keeps 8 bits: single pixels may differ by much more than the map as a whole."""
    reference = method(tiny_cnn("flat"), images).float()
    last = images.float().contiguous(memory_format=torch.channels_last)
    found = method(tiny_cnn("flat", torch.float32), last)
    half = method(tiny_cnn("flat", torch.bfloat16), images.bfloat16())
    assert half.dtype == torch.float32
    assert ((half >= 0) & (half <= 1)).all()
    if not isinstance(
        method, attribution.ExtremalPerturbation | attribution.MeaningfulPerturbation
    ):
        torch.testing.assert_close(found, reference, rtol=0, atol=1e-4)
        assert (half - reference).abs().mean() < 0.04  # the others follow rounding a long way


def test_a_thousand_calls_leave_nothing_behind():
    """No tensor, hook or gradient; every method, every other time with an exception inside."""
    classifier = Messy(Small())
    images, targets = torch.rand(2, 3, 2, 2), torch.tensor([0, 1])
    before = snapshot(classifier)

    def tensors_after_calls(rounds):
        for call in range(rounds * len(METHODS)):
            classifier.broken = call // len(METHODS) % 2 == 1
            with suppress(ArithmeticError):
                METHODS[call % len(METHODS)](classifier, images, targets)
        gc.collect()
        return sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())

    first = tensors_after_calls(10)
    assert tensors_after_calls(1000 // len(METHODS)) == first
    assert snapshot(classifier) == before


def test_targets_out_of_range_are_refused(tiny_cnn, images):
    for wrong in (10, -1):
        with pytest.raises(ValueError, match=r"in \[0, 10\)"):
            GradCAM()(tiny_cnn("flat"), images, torch.tensor([0, 1, 2, wrong]))


@pytest.mark.parametrize(
    ("images", "targets", "error"),
    [
        ([[1.0]], None, TypeError),
        (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), None, TypeError),
        (torch.zeros(3, 8, 8), None, ValueError),
        (torch.zeros(0, 3, 8, 8), None, ValueError),
        (torch.zeros(2, 3, 8, 8, device="meta"), None, ValueError),
        (torch.zeros(2, 3, 8, 8), torch.tensor([1]), ValueError),
        (torch.zeros(2, 3, 8, 8), torch.tensor([1.0, 2.0]), TypeError),
        (torch.zeros(2, 3, 8, 8), torch.tensor([True, False]), TypeError),
        (torch.zeros(2, 3, 8, 8), [1, 2], TypeError),
        (torch.full((2, 3, 32, 32), torch.nan), None, ValueError),
    ],
)
def test_wrong_arguments_are_refused(tiny_cnn, images, targets, error):
    with pytest.raises(error):
        GradCAM()(tiny_cnn("flat", torch.float32), images, targets)


def test_a_plain_module_is_refused_with_advice():
    with pytest.raises(TypeError, match=r"attribution\.split"):
        GradCAM()(nn.Linear(3, 2), torch.zeros(1, 3, 8, 8))


def test_interpolation_is_checked():
    with pytest.raises(ValueError, match="interpolation"):
        GradCAM(interpolation="area")


def test_rectify_is_the_only_difference_between_its_settings(tiny_cnn, images):
    class Given(ChannelWeightedMethod):
        def _coefficients(self, query):
            return -torch.ones_like(query.features[:, :, 0, 0])

    classifier = tiny_cnn("flat")
    assert not Given()(classifier, images).any()  # all negative
    with torch.no_grad():
        total = -classifier.features(images).sum(1)
    expected = normalize(resize(total, (32, 32)))
    torch.testing.assert_close(Given(rectify=False)(classifier, images), expected)


def test_methods_must_supply_their_map(tiny_cnn, images):
    for method in (PostHocMethod(), ChannelWeightedMethod()):
        with pytest.raises(NotImplementedError):
            method(tiny_cnn("flat"), images)


def test_normalize_by_hand():
    maps = torch.tensor([[[1.0, 3.0], [2.0, 5.0]], [[0.3, 0.3], [0.3, 0.3]]])
    expected = torch.tensor([[[0.0, 0.5], [0.25, 1.0]], [[0.0, 0.0], [0.0, 0.0]]])
    torch.testing.assert_close(normalize(maps), expected)


@pytest.mark.parametrize("wrong", [torch.nan, torch.inf, -torch.inf])
def test_normalize_refuses_what_is_not_finite(wrong):
    with pytest.raises(ValueError, match="NaN or infinite"):
        normalize(torch.tensor([[[0.0, wrong], [1.0, 2.0]]]))


@pytest.mark.parametrize("mode", ["bilinear", "bicubic", "nearest"])
def test_resized_constant_map_normalizes_to_zeros(mode):
    constants = torch.rand(64, 1, 1, generator=torch.Generator().manual_seed(0)).expand(64, 7, 7)
    assert not normalize(resize(constants, (224, 199), mode)).any()


def test_resize_uses_half_pixel_centers():
    row = resize(torch.tensor([[[0.0, 1.0]]]), (1, 4))
    torch.testing.assert_close(row, torch.tensor([[[0.0, 0.25, 0.75, 1.0]]]))


class Small(nn.Module):
    """Two channels, two classes: a call takes a millisecond."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2, self.flat1 = nn.Linear(3, 2), nn.Linear(2, 2), nn.Linear(2, 2)

    def features(self, images):
        return self.conv2(self.conv1(images.movedim(1, -1))).relu().movedim(-1, 1)

    def head(self, features):
        return self.flat1(features.mean((2, 3)))

    def forward(self, images):
        return self.head(self.features(images))


class Messy(nn.Module):
    """A classifier in mixed modes, with hooks, stored gradients and a frozen layer."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.broken = inner, False
        self.train()
        inner.conv1.eval()
        inner.conv2.weight.requires_grad_(False)
        inner.flat1.bias.grad = torch.ones_like(inner.flat1.bias)
        inner.conv1.register_forward_hook(lambda module, inputs, output: None)

    def features(self, images):
        return self.inner.features(images)

    def head(self, features):
        if self.broken:
            raise ArithmeticError("broken head")
        return self.inner.head(features)

    def forward(self, images):
        return self.head(self.features(images))


def snapshot(classifier):
    modules, weights = list(classifier.modules()), list(classifier.parameters())
    return (
        [module.training for module in modules],
        [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in modules],
        [weight.requires_grad for weight in weights],
        [None if weight.grad is None else weight.grad.sum().item() for weight in weights],
    )
