"""Metrics of classifiers whose classes do not exclude each other, against two classes (0, y_c)."""

import pytest
import torch
from torch import nn

from learned_saliency.metrics import (
    Localization,
    blurred_hits,
    kept_probabilities,
    masked_probability,
    removal_hits,
)
from learned_saliency.metrics.mask_localization import right_classes
from learned_saliency.ops import Activation
from learned_saliency.trainers.measurements import FIGURES
from learned_saliency.trainers.trial import Trial

SIGMOID = Activation.SIGMOID
GENERATOR = torch.Generator().manual_seed(4)
IMAGES = torch.rand(3, 3, 32, 32, generator=GENERATOR, dtype=torch.double)
MAPS = torch.rand(3, 32, 32, generator=GENERATOR, dtype=torch.double)
BOXES = [torch.tensor([[4, 4, 20, 25]])] * 3
MASK = (torch.arange(32) > 15).to(torch.uint8).expand(3, 32, 32)


class Linear(nn.Module):
    """A linear classifier of the mean colors of 4 x 4 fields."""

    def __init__(self, weight, bias, activation):
        super().__init__()
        self.weight, self.bias, self.activation = weight, bias, activation

    def forward(self, images):
        fields = nn.functional.avg_pool2d(images, 8).flatten(1) - 0.5
        return fields @ self.weight.T + self.bias


WEIGHT = 4 * torch.randn(3, 48, generator=GENERATOR, dtype=torch.double)
BIAS = torch.randn(3, generator=GENERATOR, dtype=torch.double)
MANY = Linear(WEIGHT, BIAS, SIGMOID).eval()


def of_one_class(c):
    weight = torch.stack([torch.zeros_like(WEIGHT[c]), WEIGHT[c]])
    bias = torch.stack([torch.zeros(()).double(), BIAS[c]])
    return Linear(weight, bias, Activation.SOFTMAX).eval()


def trial(classifier, targets):
    return Trial(
        classifier,
        IMAGES,
        MAPS,
        targets,
        explain=lambda images: images.mean(1).clamp(0, 1),
        truth={"boxes": BOXES, "mask": MASK},
        seed=1,
    )


@pytest.mark.parametrize("name", FIGURES)
def test_faithfulness_of_a_class_is_that_of_absent_and_present(name):
    ones = torch.ones(3, dtype=torch.int64)
    observe = FIGURES[name].observe
    for c in (0, 2):
        found = observe(trial(MANY, torch.full((3,), c)))
        wanted = observe(trial(of_one_class(c), ones))
        assert len(found) == len(wanted)
        for own, other in zip(found, wanted, strict=True):
            torch.testing.assert_close(own, other)


def test_probabilities_of_masked_images_are_those_of_absent_and_present():
    ones, c = torch.ones(3, dtype=torch.int64), torch.tensor([1, 1, 1])
    with torch.no_grad():
        found = kept_probabilities(MANY, IMAGES, MAPS, c, MANY(IMAGES))
        twin = of_one_class(1)
        wanted = kept_probabilities(twin, IMAGES, MAPS, ones, twin(IMAGES))
        torch.testing.assert_close(found, wanted)
        p = MANY(IMAGES).sigmoid()[:, 1]
        found = masked_probability(MANY, IMAGES, MAPS[None], c, p)
        torch.testing.assert_close(found, masked_probability(twin, IMAGES, MAPS[None], ones, p))


def test_a_class_is_right_where_it_is_told_present():
    ones = torch.ones(3, dtype=torch.int64)
    for c in range(3):
        labels = torch.full((3,), c)
        assert torch.equal(
            blurred_hits(MANY, IMAGES, labels), blurred_hits(of_one_class(c), IMAGES, ones)
        )
        found = removal_hits(MANY, IMAGES, MAPS, labels)
        assert torch.equal(found, removal_hits(of_one_class(c), IMAGES, MAPS, ones))
    logits = torch.tensor([[3.0, 0.1, -2.0]] * 4)
    labels = torch.tensor([0, 1, 2, -1])
    assert right_classes(logits, labels, SIGMOID).tolist()[:3] == [1, 1, 0]
    assert right_classes(logits, labels, SIGMOID).isnan().tolist() == [False] * 3 + [True]


def test_top1_asks_whether_the_class_is_told_present():
    maps = torch.zeros(4, 32, 32)
    maps[:, 4:26, 4:21] = 1.0
    logits = torch.tensor([[3.0, 0.1, -2.0]] * 4)
    metric = Localization()
    metric.update(maps, [BOXES[0]] * 4, logits, torch.tensor([0, 1, 2, -1]), SIGMOID)
    found = metric.compute()
    assert float(found["max_box_acc"]) == 1
    assert float(found["top1_loc"]) == pytest.approx(2 / 3)
    assert float(found["top5_loc"]) == 1
