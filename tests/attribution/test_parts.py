"""Maps of images that are seen part by part, against maps of the same images as a whole."""

import inspect

import pytest
import torch
from torch import nn

from learned_saliency import attribution
from learned_saliency.attribution import CAM, GradCAM, MeanActivations, PostHocMethod
from learned_saliency.models import CALM, CAMClassifier
from tests.support.networks import TinyBackbone


class Pooled(nn.Module):
    """A classifier that pools its features by their mean; with or without a hidden layer."""

    def __init__(self, hidden):
        super().__init__()
        self.backbone = TinyBackbone()
        layers = [nn.Linear(6, 8), nn.Softplus(), nn.Linear(8, 3)] if hidden else [nn.Linear(6, 3)]
        self.mlp = nn.Sequential(*layers)

    def features(self, images):
        return self.backbone(images)[-1]

    def head(self, features):
        return self.mlp(features.mean((2, 3)))

    def forward(self, images):
        return self.head(self.features(images))


def joinable():
    """Classes of methods that explain an image part by part, and take no further arguments."""
    found = {}
    for name in attribution.__all__:
        kind = getattr(attribution, name)
        if not (inspect.isclass(kind) and issubclass(kind, PostHocMethod)):
            continue
        try:
            method = kind()
        except TypeError:
            continue
        if method.part_obstacle(Pooled(False)) is None:
            found[name] = kind
    return found


JOINABLE = joinable()


def test_the_methods_of_linear_weights_are_among_them():
    assert {"CAM", "GradCAM", "LIFTCAM", "LayerCAM", "XGradCAM", "AblationCAM"} <= set(JOINABLE)
    assert not {"ScoreCAM", "OptiCAM", "RISE", "EigenCAM"} & set(JOINABLE)


@pytest.mark.parametrize(
    ("name", "hidden"),
    [
        (name, hidden)
        for name in sorted(JOINABLE)
        for hidden in (False, True)[: 2 - (name == "CAM")]
    ],
)
@torch.no_grad()
def test_a_part_has_the_maps_of_the_whole_up_to_a_factor(name, hidden):
    torch.manual_seed(3)
    network, images = Pooled(hidden).eval(), torch.randn(1, 3, 24, 40)
    options = (
        {"rectify": False} if "rectify" in inspect.signature(JOINABLE[name]).parameters else {}
    )
    method, targets = JOINABLE[name](**options), torch.tensor([1])
    whole = MeanActivations(network, network.features(images).mean((2, 3)), images)
    torch.testing.assert_close(whole(images), network(images))
    expected = method.raw_maps(network, images, targets)
    found = method.of_parts(whole, targets)(network, images)
    if expected.abs().max() == 0:  # what a rectifier leaves of it
        assert found.abs().max() == 0
        return
    factor = float((found * expected).sum() / expected.square().sum())
    assert factor > 0
    torch.testing.assert_close(
        found / factor, expected, rtol=1e-3, atol=1e-4 * expected.abs().max()
    )


def test_own_maps_of_a_classifier_need_no_means():
    torch.manual_seed(0)
    network, images = CAMClassifier(TinyBackbone(), 3).eval(), torch.randn(2, 3, 16, 16)
    method, whole = CAM(), MeanActivations(network, torch.zeros(1, 1), images[:1])
    assert not method.reads_means(network)
    assert GradCAM().reads_means(network)
    found = method.of_parts(whole, torch.tensor([2]))(network, images)
    torch.testing.assert_close(found, method.raw_maps(network, images, torch.tensor([2, 2])))


def test_probabilities_of_cells_are_refused():
    network = CALM(CAMClassifier(TinyBackbone(), 3))
    assert "compares all cells" in CAM().part_obstacle(network)
    with pytest.raises(ValueError, match="compares all cells"):
        CAM().of_parts(MeanActivations(network, torch.zeros(1, 1), torch.zeros(1)), torch.zeros(1))


@pytest.mark.parametrize("word", ["range", "max"])
def test_a_part_is_scaled_by_the_extremes_of_the_whole(word):
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(2, 9, 11, generator=generator)
    low, high = (
        function(maps, dim=(-2, -1), keepdim=True) for function in (torch.amin, torch.amax)
    )
    method = GradCAM(normalization=word)
    part = method.to_unit(maps[:, 2:5, 3:4], low, high)
    torch.testing.assert_close(part, method.to_unit(maps)[:, 2:5, 3:4])
