"""Extremal perturbations against a plain loop of torch's parts, image by image."""

import math

import pytest
import torch
from scipy import ndimage
from torch import nn

from learned_saliency.attribution import ExtremalPerturbation, extremal
from learned_saliency.attribution.core.smoothing import SmoothMaximum

TARGETS = torch.tensor([0, 5, 2, 5])
SMALL = {"step": 4, "sigma": 6.0, "max_blur": 5.0, "levels": 4}


def pyramid_of(image, kind):
    shares = [level / 3 for level in range(4)]
    if kind == "fade":
        return [share * image for share in shares]
    blurred = [
        [ndimage.gaussian_filter(c, 5 * (1 - s), mode="constant", radius=math.ceil(20 * (1 - s)))
         for c in image]
        for s in shares[:3]
    ]  # fmt: skip
    return [*(torch.stack([torch.from_numpy(c) for c in one]) for one in blurred), image]


def seen_through(levels, mask):
    """Take each pixel of an image from its level, by hats around the levels."""
    hats = [(1 - (3 * mask - level).abs()).clamp(min=0) for level in range(4)]
    return sum(hat * image for hat, image in zip(hats, levels, strict=True))


def plain_loop(classifier, image, label, coarse, area, variant, kind):
    """Optimize the coarse mask of one image and area with torch's SGD and a full sort."""
    coarse = coarse.clone().requires_grad_()
    sgd = torch.optim.SGD([coarse], lr=0.01, momentum=0.9, dampening=0.9)
    smoothing, levels = SmoothMaximum(image.shape[1:], 4, 6.0), pyramid_of(image, kind)
    for step in range(12):
        masks, whole = smoothing(coarse[None])
        scores = []
        for mask in (masks[0], 1 - masks[0]):
            seen = seen_through(levels, mask)
            seen = seen.flip(2) if step % 2 == 0 else seen
            scores.append(classifier(seen[None])[0, label])
        kept, rest = scores
        gain = {"preserve": kept, "delete": -rest, "dual": kept - rest}[variant]
        ordered = whole.flatten().sort().values
        wanted = (torch.arange(len(ordered)) >= int(len(ordered) * (1 - area))).double()
        loss = 300 * 1.0035**step * (ordered - wanted).square().mean() - gain
        sgd.zero_grad()
        loss.backward()
        sgd.step()
        coarse.data.clamp_(0, 1)
    return smoothing(coarse.detach()[None])[0][0]


@pytest.mark.parametrize(
    ("variant", "kind"), [("preserve", "blur"), ("delete", "blur"), ("dual", "fade")]
)
def test_map_is_that_of_a_plain_loop(tiny_cnn, images, monkeypatch, variant, kind):
    classifier = tiny_cnn("flat")
    generator = torch.Generator().manual_seed(0)  # a mask of ones has values that tie
    first = torch.rand(2, 8, 8, generator=generator, dtype=torch.float64)
    minimize = ExtremalPerturbation._minimize

    def from_first(self, coarse, *rest):
        assert (coarse == 1).all()
        return minimize(self, first.repeat(len(coarse) // 2, 1, 1), *rest)

    monkeypatch.setattr(ExtremalPerturbation, "_minimize", from_first)
    options = {"areas": [0.1, 0.3], "variant": variant, "perturbation": kind, "batch_size": 5}
    method = ExtremalPerturbation(iterations=12, **options, **SMALL)
    found = method.raw_maps(classifier, images, TARGETS)
    for image, label, one in zip(images, TARGETS.tolist(), found, strict=True):
        parts = [
            plain_loop(classifier, image, label, start, area, variant, kind)
            for start, area in zip(first, (0.1, 0.3), strict=True)
        ]
        torch.testing.assert_close(one, sum(parts) / 2, rtol=0, atol=1e-9)


class Corner(nn.Module):
    """Two logits, for and against brightness in the upper left quarter."""

    def features(self, images):
        return images

    def head(self, features):
        bright = 20 * features[:, :, :8, :8].mean((1, 2, 3))
        return torch.stack([bright, -bright], dim=1)

    def forward(self, images):
        return self.head(self.features(images))


@pytest.mark.parametrize("variant", extremal.VARIANTS)
def test_masks_settle_at_their_area_where_the_class_is(variant):
    options = SMALL | {"perturbation": "fade", "variant": variant, "flip": False}
    method = ExtremalPerturbation(iterations=300, areas=[0.2], **options)
    for label, bright in ((0, 1.0), (1, -1.0)):
        images = torch.full((1, 3, 16, 16), bright)
        mask = method.raw_maps(Corner(), images, torch.tensor([label]))[0]
        assert mask[:8, :8].mean() > 0.9
        assert mask[12:, 12:].mean() < 0.1
    smoothing = SmoothMaximum((16, 16), 4, 6.0)
    seen = []
    method._area_penalty = lambda masks: seen.append(masks) or plain_penalty(masks)

    def plain_penalty(masks):
        return ExtremalPerturbation._area_penalty(method, masks)

    method.raw_maps(Corner(), images, torch.tensor([label]))
    assert seen[-1].mean().item() == pytest.approx(0.2, abs=0.03)
    assert seen[-1].shape == smoothing(torch.zeros(1, *smoothing.cells))[1].shape


def test_the_largest_values_are_those_of_a_stable_sort():
    values = torch.randint(4, (3, 50), generator=torch.Generator().manual_seed(0)).float()
    for count in (1, 7, 25, 50):
        order = values.sort(dim=1, stable=True).indices
        expected = torch.zeros_like(values).scatter(1, order[:, 50 - count :], 1.0)
        torch.testing.assert_close(extremal.largest(values, count), expected)


def test_the_map_is_blurred_by_a_share_of_the_shorter_side(tiny_cnn, images):
    classifier = tiny_cnn("flat")
    plain = ExtremalPerturbation(iterations=3, **SMALL).raw_maps(classifier, images, TARGETS)
    smooth = ExtremalPerturbation(iterations=3, smooth=0.1, **SMALL)
    found = smooth.raw_maps(classifier, images, TARGETS)
    for one, given in zip(found, plain, strict=True):
        expected = ndimage.gaussian_filter(given, 3.2, mode="constant", radius=13)
        torch.testing.assert_close(one, torch.from_numpy(expected))


def test_classes_of_an_image_are_optimized_together_as_alone(tiny_cnn, images):
    classifier, heard = tiny_cnn("flat"), []
    method = ExtremalPerturbation(iterations=4, areas=[0.1, 0.2], batch_size=6, **SMALL)
    classes = torch.tensor([[3, 0], [1, 1], [8, 4], [5, 6]])
    method.progress = lambda *step: heard.append(step)
    maps = method.of_classes(classifier, images, classes)
    assert heard == [(step, 12) for step in range(1, 13)]  # 8 classes, 3 with 2 areas at a time
    alone = [method(classifier, images, column) for column in classes.unbind(1)]
    torch.testing.assert_close(maps, torch.stack(alone, dim=1), rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize(
    "options",
    [
        {"areas": []},
        {"areas": [0.1, 1.0]},
        {"variant": "keep"},
        {"perturbation": "noise"},
        {"levels": 1},
        {"step": 0},
        {"sigma": 0.0},
        {"max_blur": 0.0},
        {"smooth": -0.1},
        {"iterations": 0},
    ],
)
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match=r"expected|must be"):
        ExtremalPerturbation(**options)


def test_the_way_back_is_as_exact_under_autocast(tiny_cnn, images):
    method = ExtremalPerturbation(iterations=3, areas=[0.2], **SMALL)
    classifier = tiny_cnn("mlp", torch.float32)
    expected = method(classifier, images.float(), TARGETS)
    with torch.autocast("cpu", torch.bfloat16):
        found = method(classifier, images.float(), TARGETS)
    torch.testing.assert_close(found, expected, rtol=0, atol=0.05)
