"""Maps divided by their maximum, instead of min-max normalized: paper 001, Eq. 2, first line."""

import pytest
import torch
from torch import nn

from learned_saliency import attribution
from learned_saliency.attribution import CAM, AblationCAM, GradCAM, HiResCAM, ScoreCAM, split
from learned_saliency.attribution.core.maps import normalize_by_maximum
from learned_saliency.pipeline.export.explained import ExplainedClassifier, RecordedClassifier
from tests.support.own_networks import convolutional

TARGETS = torch.tensor([3, 0, 9, 1])


def test_values_by_hand():
    maps = torch.tensor([[[-1.0, 2.0], [4.0, 0.0]], [[1.0, 2.0], [4.0, 3.0]]])
    expected = torch.tensor([[[0, 0.5], [1, 0]], [[0.25, 0.5], [1, 0.75]]])
    torch.testing.assert_close(normalize_by_maximum(maps), expected)
    torch.testing.assert_close(normalize_by_maximum(1e-20 * maps), expected)
    half = normalize_by_maximum(maps.bfloat16())
    assert half.dtype == torch.float32


@pytest.mark.parametrize("value", [-2.0, 0.0, 3.0])
def test_a_map_without_a_positive_value_and_a_constant_one_become_zeros(value):
    assert not normalize_by_maximum(torch.full((1, 3, 4), value)).any()
    if value < 0:
        assert not normalize_by_maximum(torch.tensor([[[value, 2 * value]]])).any()


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_a_broken_map_is_refused(broken):
    with pytest.raises(ValueError, match="NaN or infinite"):
        normalize_by_maximum(torch.tensor([[[1.0, broken]]]))


@pytest.mark.parametrize("method", [CAM, GradCAM, ScoreCAM, AblationCAM, HiResCAM])
def test_methods_divide_by_the_maximum_of_the_resized_map(tiny_cnn, images, method):
    classifier = tiny_cnn("linear")
    made = method(normalization="max", interpolation="bicubic")
    raw = method(interpolation="bicubic").raw_maps(classifier, images, TARGETS)[:, None]
    raw = nn.functional.interpolate(raw, (32, 32), mode="bicubic")[:, 0]
    high = raw.amax((1, 2), keepdim=True)
    assert high.gt(0).sum() > 1
    expected = torch.where(high > 0, raw.clamp(min=0) / high, 0.0)
    torch.testing.assert_close(made(classifier, images, TARGETS), expected)
    both = torch.stack([TARGETS, TARGETS.flip(0)], dim=1)
    torch.testing.assert_close(made.of_classes(classifier, images, both)[:, 0], expected)


def test_masked_images_of_several_classes_follow_the_option(tiny_cnn, images):
    classifier = tiny_cnn("linear")
    method = attribution.Occlusion(window=8, stride=8, normalization="max")
    maps = method.of_classes(classifier, images, torch.stack([TARGETS, TARGETS.flip(0)], dim=1))
    torch.testing.assert_close(maps[:, 0], method(classifier, images, TARGETS))
    plain = attribution.Occlusion(window=8, stride=8)(classifier, images, TARGETS)
    assert (maps[:, 0] - plain).abs().max() > 0.01


def test_cam_keeps_what_min_max_normalization_takes_away(tiny_cnn, images):
    """The least value is not 0 where all cells speak for the class, and 0 where some do not."""
    classifier = tiny_cnn("linear")
    classifier.cams = lambda features, targets: features.mean(1) + targets.view(-1, 1, 1) - 4
    maps = CAM(normalization="max")(classifier, images, torch.tensor([0, 9, 9, 0]))
    assert maps.amin((1, 2)).gt(0.5).tolist() == [False, True, True, False]
    assert maps.amax((1, 2)).tolist() == [0, 1, 1, 0]


def test_an_unknown_word_is_refused():
    with pytest.raises(ValueError, match="normalization must be one of"):
        GradCAM(normalization="sigmoid")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("CAM", {"normalization": "max"}),
        ("LayerCAM", {"normalization": "max"}),
        ("CAM", {"center": True}),
        ("GradCAM", {"center": True, "normalization": "max"}),
        ("FinerCAM", {"normalization": "max"}),
        ("FinerCAM", {"weighting": "probability", "classes": [0, 2]}),
    ],
)
def test_an_exported_graph_gives_the_same(name, options):
    method = getattr(attribution, name)(**options)
    classifier = split(convolutional().eval().requires_grad_(False), "last")
    live = ExplainedClassifier(classifier=classifier, methods={"it": method}).eval()
    images = 3 * torch.randn(5, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    images = nn.functional.interpolate(images, (32, 32), mode="bicubic")
    labels = torch.arange(5) % 3
    expected = live.explain(images, labels)
    assert expected.saliency.amax((1, 2)).sum() >= 2  # others have no positive evidence
    recorded = RecordedClassifier(live, 32, has_labels=True)
    for size in (1, 5):
        found = recorded.explain(images[:size], labels[:size])
        torch.testing.assert_close(found.saliency, expected.saliency[:size], rtol=1e-5, atol=2e-5)
