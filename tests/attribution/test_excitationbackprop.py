"""Excitation backpropagation against plain loops over units, and conservation of probability.

By hand it was compared with TorchRay 1.0.0.2: its maps of SqueezeNet 1.1 (``features.5``) and of
VGG-11 with batch normalization (``features.13``), contrastive ones too, are equal in double
precision.
Additions with a negative summand are where the two differ, as the class says.
"""

import pytest
import timm
import torch
import torchvision
from torch import nn
from torch.nn import functional as F

from learned_saliency.attribution import ExcitationBackprop, split


class Small(nn.Module):
    """Convolution, normalization, addition, concatenation, pooling, and two linear layers."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 3, 1)
        self.norm = nn.BatchNorm2d(3)
        self.inner = nn.Conv2d(3, 3, 1)
        self.hidden, self.last = nn.Linear(6, 5), nn.Linear(5, 4)

    def features(self, images):
        return self.first(images).relu()

    def head(self, features):
        added = F.relu_(self.norm(self.inner(features)) + features)
        both = torch.cat([added, features], 1)
        pooled = F.adaptive_avg_pool2d(F.max_pool2d(both, 2), 1).flatten(1)
        return self.last(F.relu6(self.hidden(pooled)))

    def forward(self, images):
        return self.head(self.features(images))


@pytest.fixture
def small():
    torch.manual_seed(0)
    network = Small().eval().double()
    network.norm.running_mean.normal_()
    network.norm.weight.data.uniform_(0.5, 2)
    network.hidden.weight.data *= 20  # some ReLU6 are saturated
    return network


def share(weights, values, probability):
    """Hand the probabilities of outputs j to inputs i by their parts of sum_i w+_ji x+_i."""
    handed = torch.zeros_like(values)
    for j, winning in enumerate(probability):
        parts = [max(w, 0) * max(x, 0) for w, x in zip(weights[j], values, strict=True)]
        if sum(parts) > 0:
            handed += winning * torch.tensor(parts, dtype=torch.float64) / sum(parts)
    return handed


def by_hand(network, image, target, sign=1):
    """Compute P of the features (3, 4, 4), unit by unit."""
    features = network.features(image[None])[0].detach()
    inner = network.norm(network.inner(features[None]))[0].detach()
    both = torch.cat([(inner + features).relu(), features])
    pooled, places = F.max_pool2d(both[None], 2, return_indices=True)
    hidden = F.relu6(network.hidden(pooled.mean((2, 3))))[0].detach()

    first = torch.zeros(4, dtype=torch.float64)
    first[target] = 1
    probability = share(sign * network.last.weight.detach(), hidden, first)
    probability = share(network.hidden.weight.detach(), pooled[0].mean((1, 2)), probability)
    cells = [
        p * one / one.sum() if one.sum() > 0 else 0 * one
        for p, one in zip(probability, pooled[0], strict=True)
    ]
    spread = F.max_unpool2d(torch.stack(cells)[None], places, 2)[0]
    added, direct = spread[:3], spread[3:].clone()
    for y in range(4):
        for x in range(4):
            left, right = inner[:, y, x].relu(), features[:, y, x]
            whole = (left + right).clamp(min=1e-300)
            direct[:, y, x] += added[:, y, x] * right / whole
            weights = network.inner.weight[:, :, 0, 0].detach()
            direct[:, y, x] += share(weights, right, added[:, y, x] * left / whole)
    return direct


IMAGES = torch.rand(3, 3, 4, 4, generator=torch.Generator().manual_seed(2)).double() - 0.4
TARGETS = torch.tensor([0, 3, 1])


def test_map_is_that_of_loops_over_units(small):
    maps = ExcitationBackprop().raw_maps(small, IMAGES, TARGETS)
    for found, image, target in zip(maps, IMAGES, TARGETS, strict=True):
        torch.testing.assert_close(found, by_hand(small, image, target).sum(0))


def test_contrast_is_positive_difference_to_the_dual_class(small):
    maps = ExcitationBackprop(contrastive=True).raw_maps(small, IMAGES, TARGETS)
    for found, image, target in zip(maps, IMAGES, TARGETS, strict=True):
        dual = by_hand(small, image, target, sign=-1)
        torch.testing.assert_close(
            found, (by_hand(small, image, target) - dual).sum(0).relu(), atol=1e-12, rtol=1e-6
        )
    assert (maps > 0).any()


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    ("make", "layer"),
    [
        (lambda: torchvision.models.squeezenet1_1(num_classes=5), "features.5"),
        (lambda: torchvision.models.resnet18(num_classes=5), "layer2"),
        (lambda: torchvision.models.mobilenet_v2(num_classes=5), "features.10"),
        (lambda: timm.create_model("tf_efficientnet_lite0", num_classes=5), "blocks.3"),
    ],
)
@pytest.mark.parametrize("place", ["layer", "image"])
def test_probabilities_add_up_to_one(make, layer, place):
    torch.manual_seed(0)
    network = make().eval()
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    maps = ExcitationBackprop(place=place).raw_maps(split(network, layer), images)
    assert maps.shape[1:] == images.shape[2:] if place == "image" else maps.shape[1] < 32
    assert (maps >= 0).all()
    torch.testing.assert_close(maps.sum((1, 2)), torch.ones(2), rtol=0, atol=0.01)


def test_a_class_of_one_logit_wins_by_weights_of_its_sign():
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 1)
    ).double()
    classifier = split(network, "1")
    images = torch.rand(2, 3, 6, 6, generator=torch.Generator().manual_seed(0)).double()
    features = network[:2](images).detach()
    for target, sign in enumerate((-1, 1)):
        weights = (sign * network[4].weight.detach()).relu()[:, :, None, None]
        expected = (weights * features).sum(1)
        expected = expected / expected.sum((1, 2), keepdim=True)
        targets = torch.full((2,), target)
        found = ExcitationBackprop().raw_maps(classifier, images, targets)
        torch.testing.assert_close(found, expected)


def test_networks_without_rules_and_bad_options_are_refused():
    vit = timm.create_model("vit_tiny_patch16_224", img_size=32, num_classes=4, depth=2).eval()
    with pytest.raises(ValueError, match=r"no rule for the function .* GradCAM takes any$"):
        ExcitationBackprop()(split(vit, "blocks.1.norm1"), torch.rand(1, 3, 32, 32))
    with pytest.raises(ValueError, match="place must be one of"):
        ExcitationBackprop(place="pixels")
    with pytest.raises(ValueError, match="explains the logit, not the probability"):
        ExcitationBackprop(target="probability")
