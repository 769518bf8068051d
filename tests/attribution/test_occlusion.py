"""Occlusion against captum, and by hand."""

import captum.attr
import pytest
import torch
from torch import nn

from learned_saliency.attribution import Occlusion

TARGETS = torch.tensor([0, 5, 2, 5])


@pytest.mark.parametrize(
    ("window", "stride", "baseline", "width"),
    [(8, 4, 0.0, 32), (7, 5, 0.3, 29), (9, 9, 0.0, 29), (29, 3, 0.0, 29)],
)
def test_map_is_captums(tiny_cnn, images, window, stride, baseline, width):
    classifier, given = tiny_cnn("mlp"), images[..., :width]
    method = Occlusion(window=window, stride=stride, baseline=baseline, batch_size=7)
    found = method.raw_maps(classifier, given, TARGETS)
    expected = captum.attr.Occlusion(classifier).attribute(
        given, (3, window, window), strides=(3, stride, stride), baselines=baseline, target=TARGETS
    )[:, 0]  # which captum rounds to float32
    torch.testing.assert_close(found, expected.double(), rtol=1e-5, atol=1e-6)


def test_a_pixel_has_the_mean_drop_of_the_windows_that_cover_it():
    class Sum(nn.Module):
        def features(self, images):
            return images

        def head(self, features):
            weights = torch.tensor([1.0, 10.0, 100.0, 1000.0, 10000.0])
            return (features[:, :1, 0] * weights).sum(2).repeat(1, 2)

        def forward(self, images):
            return self.head(self.features(images))

    method = Occlusion(window=2, stride=2)
    assert method.windows(1, 5).tolist() == [[0, 0, 2, 2], [0, 2, 2, 4], [0, 4, 2, 6]]
    found = method.raw_maps(Sum(), torch.ones(1, 3, 1, 5), torch.tensor([0]))
    assert found.tolist() == [[[11.0, 11.0, 1100.0, 1100.0, 10000.0]]]
    found = Occlusion(window=2, stride=1).raw_maps(Sum(), torch.ones(1, 3, 1, 5))
    assert found.tolist() == [[[11.0, 60.5, 605.0, 6050.0, 11000.0]]]


def test_windows_run_once_for_all_classes(tiny_cnn, images):
    heard, classifier = [], tiny_cnn("mlp")
    method = Occlusion(
        window=10, stride=10, batch_size=16, progress=lambda *step: heard.append(step)
    )
    classes = torch.tensor([[3, 0, 9], [1, 1, 2], [8, 4, 0], [5, 6, 7]])
    maps = method.of_classes(classifier, images, classes)
    assert heard == [(step, 4) for step in range(1, 5)]  # 4 images of 4 x 4 windows
    alone = [method(classifier, images, column) for column in classes.unbind(1)]
    torch.testing.assert_close(maps, torch.stack(alone, dim=1), rtol=1e-7, atol=1e-7)


def test_a_window_as_large_as_the_image_makes_a_constant_map(tiny_cnn, images):
    assert len(Occlusion().windows(12, 12)) == 1
    assert len(Occlusion().windows(224, 224)) == 169
    assert not Occlusion()(tiny_cnn("mlp"), images, TARGETS).any()


@pytest.mark.parametrize("options", [{"window": 0}, {"stride": 0}, {"window": 4, "stride": 5}])
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match="expected window"):
        Occlusion(**options)
