"""Gradient methods against captum, and their identities."""

import captum.attr
import cv2
import pytest
import torch

from learned_saliency.attribution import IntegratedGradients, SmoothGrad, VanillaGradient, VarGrad
from learned_saliency.ops import blur

TARGETS = torch.tensor([0, 5, 2, 5])


def attributions(method, classifier, images):
    with method._query(classifier, images, TARGETS[: len(images)]) as query:
        return method.attributions(query)


def test_vanilla_gradient_is_captums_saliency(tiny_cnn, images):
    classifier = tiny_cnn("flat")
    leaf = images.clone().requires_grad_()
    expected = captum.attr.Saliency(classifier).attribute(leaf, TARGETS, abs=False)
    torch.testing.assert_close(attributions(VanillaGradient(), classifier, images), expected)


@pytest.mark.parametrize("baseline", [0.0, 0.4])
def test_integrated_gradients_are_captums(tiny_cnn, images, baseline):
    classifier = tiny_cnn("flat")
    expected = captum.attr.IntegratedGradients(classifier).attribute(
        images, baseline, TARGETS, n_steps=10, method="riemann_middle"
    )
    method = IntegratedGradients(steps=10, baseline=baseline, batch_size=7)
    torch.testing.assert_close(attributions(method, classifier, images), expected)


def test_integrated_gradients_add_up(tiny_cnn, images):
    classifier, image = tiny_cnn("flat"), images[:1]
    with torch.no_grad():
        change = classifier(image) - classifier(torch.zeros_like(image))
    total = attributions(IntegratedGradients(steps=500), classifier, image).sum((1, 2, 3))
    torch.testing.assert_close(total, change[:, TARGETS[0]], rtol=1e-2, atol=0)


def test_smoothgrad_and_vargrad_are_moments_over_noisy_copies(tiny_cnn, images):
    classifier = tiny_cnn("flat")
    noise = torch.randn(6, 3, 32, 32, generator=torch.Generator().manual_seed(2)).double()
    span = images.amax((1, 2, 3), keepdim=True) - images.amin((1, 2, 3), keepdim=True)
    vanilla = [
        captum.attr.Saliency(classifier).attribute(
            (images + 0.2 * span * sample).requires_grad_(), TARGETS, abs=False
        )
        for sample in noise
    ]
    options = {"samples": 6, "noise_level": 0.2, "seed": 2, "batch_size": 5}
    mean = attributions(SmoothGrad(**options), classifier, images)
    torch.testing.assert_close(mean, torch.stack(vanilla).mean(0))
    variance = attributions(VarGrad(**options), classifier, images)
    torch.testing.assert_close(variance, torch.stack(vanilla).var(0, correction=0))


def test_averages_of_saliency_are_moments_of_the_largest_color(tiny_cnn, images):
    classifier = tiny_cnn("flat")

    def saliency(variant):
        leaf = variant.clone().requires_grad_()
        return captum.attr.Saliency(classifier).attribute(leaf, TARGETS).amax(1, keepdim=True)

    plain = {"averages": "saliency", "batch_size": 5}
    torch.testing.assert_close(
        attributions(VanillaGradient(**plain), classifier, images), saliency(images)
    )

    path = torch.stack([saliency(images * (step + 0.5) / 4) for step in range(4)])
    torch.testing.assert_close(
        attributions(IntegratedGradients(steps=4, **plain), classifier, images), path.mean(0)
    )

    noise = torch.randn(6, 3, 32, 32, generator=torch.Generator().manual_seed(2)).double()
    span = images.amax((1, 2, 3), keepdim=True) - images.amin((1, 2, 3), keepdim=True)
    copies = torch.stack([saliency(images + 0.25 * span * sample) for sample in noise])
    options = plain | {"samples": 6, "noise_level": 0.25, "seed": 2}
    mean = attributions(SmoothGrad(**options), classifier, images)
    torch.testing.assert_close(mean, copies.mean(0))
    variance = attributions(VarGrad(**options), classifier, images)
    torch.testing.assert_close(variance, copies.var(0, correction=0))


def test_map_is_the_largest_color_blurred(tiny_cnn, images):
    classifier = tiny_cnn("flat")
    raw = attributions(VanillaGradient(), classifier, images).abs().amax(1)
    expected = blur(raw, 2.0)
    low, high = expected.amin((1, 2), keepdim=True), expected.amax((1, 2), keepdim=True)
    maps = VanillaGradient(blur_sigma=2.0)(classifier, images, TARGETS)
    torch.testing.assert_close(maps, (expected - low) / (high - low))


@pytest.mark.parametrize("sigma", [0.0, 0.7, 3.0])
def test_blur_is_opencvs(sigma):
    maps = torch.rand(2, 20, 31, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    side = 2 * int(-(-3 * sigma // 1)) + 1
    for blurred, image in zip(blur(maps, sigma), maps, strict=True):
        expected = image.numpy()
        if sigma:
            expected = cv2.GaussianBlur(
                expected, (side, side), sigma, borderType=cv2.BORDER_REPLICATE
            )
        torch.testing.assert_close(blurred, torch.from_numpy(expected), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(
    ("method", "options"),
    [
        (VanillaGradient, {"blur_sigma": -1.0}),
        (VanillaGradient, {"batch_size": 0}),
        (SmoothGrad, {"averages": "magnitude"}),
        (IntegratedGradients, {"steps": 0}),
        (SmoothGrad, {"samples": 0}),
        (VarGrad, {"noise_level": -0.1}),
    ],
)
def test_options_out_of_range_are_refused(method, options):
    with pytest.raises(ValueError, match=r"expected|at least|one of"):
        method(**options)
