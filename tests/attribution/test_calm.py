"""CALM's further maps against plain formulas on p(y, z|x), Sec. 4.1.3 of paper 001."""

import pytest
import torch

from learned_saliency.attribution import (
    CAM,
    CALMConditional,
    CALMCounterfactual,
    CALMJoint,
    CALMSaliency,
    CALMSubset,
    SharedFeatures,
    normalize,
    resize,
)
from learned_saliency.models import CALM, CAMClassifier
from tests.support.networks import TinyBackbone

LABELS = torch.tensor([0, 3, 4, 3])


@pytest.fixture
def network():
    torch.manual_seed(0)
    return CALM(CAMClassifier(TinyBackbone(), 5)).double().eval()


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(4, 3, 24, 16, generator=generator, dtype=torch.float64)


@pytest.fixture
def joint(network, images):
    """p(y, z|x) in the paper's words: a softmax over classes times a normalized softplus."""
    with torch.no_grad():
        features = network.features(images)
        g = network.class_branch(features).softmax(1)
        active = torch.log1p(network.location_branch(features).exp())
        return g * active / active.sum(dim=(1, 2, 3), keepdim=True)  # (4, 5, h, w)


def formula(name, joint, labels):
    rows = torch.arange(len(joint))
    own = joint[rows, labels]
    return {
        "joint": lambda: own,
        "conditional": lambda: own / joint.sum(1),
        "saliency": lambda: joint.sum(1),
        "subset": lambda: joint[:, 1] + joint[:, 4],
        "two": lambda: joint[:, 1] - joint[:, 4],
        "one": lambda: own - joint[:, 2],
        "positive": lambda: (joint[:, 1] - joint[:, 4]).clamp(min=0),
        "negative": lambda: (joint[:, 4] - joint[:, 1]).clamp(min=0),
        "absolute": lambda: (joint[:, 1] - joint[:, 4]).abs(),
    }[name]()


METHODS = {
    "joint": CALMJoint(),
    "conditional": CALMConditional(),
    "saliency": CALMSaliency(),
    "subset": CALMSubset([1, 4]),
    "two": CALMCounterfactual([1, 4], "difference"),
    "one": CALMCounterfactual([2], "difference"),
    "positive": CALMCounterfactual([1, 4]),
    "negative": CALMCounterfactual([1, 4], "negative"),
    "absolute": CALMCounterfactual([1, 4], "absolute"),
}


@pytest.mark.parametrize("name", METHODS)
def test_maps_are_plain_formulas_on_the_joint_distribution(network, images, joint, name):
    method = METHODS[name]
    expected = formula(name, joint, LABELS)
    torch.testing.assert_close(method.raw_maps(network, images, LABELS), expected)
    maps = method(network, images, LABELS)
    torch.testing.assert_close(maps, normalize(resize(expected, images.shape[-2:])))
    shared = SharedFeatures(network, images)
    torch.testing.assert_close(method(shared, images, LABELS), maps)


def test_without_names_the_other_class_is_the_most_probable_one(network, images, joint):
    method = CALMCounterfactual(part="difference")
    found = method.raw_maps(network, images)
    first, second = joint.sum(dim=(2, 3)).topk(2).indices.unbind(1)
    rows = torch.arange(4)
    torch.testing.assert_close(found, joint[rows, first] - joint[rows, second])
    given = method.raw_maps(network, images, second)  # the predicted class is the other one then
    torch.testing.assert_close(given, -found)


def test_all_classes_are_the_saliency_and_the_attribution_sums_to_the_probability(network, images):
    everything = CALMSubset(range(5)).raw_maps(network, images)
    torch.testing.assert_close(everything, CALMSaliency().raw_maps(network, images))
    torch.testing.assert_close(everything.sum((1, 2)), torch.ones(4, dtype=torch.float64))
    attribution = CALMJoint().raw_maps(network, images, LABELS).sum((1, 2))
    probs = network(images).detach().softmax(1)[torch.arange(4), LABELS]
    torch.testing.assert_close(attribution, probs)
    assert CALMJoint().gives_probabilities(network)
    assert not CALMConditional().gives_probabilities(network)
    torch.testing.assert_close(
        CALMJoint().raw_maps(network, images, LABELS), CAM().raw_maps(network, images, LABELS)
    )


def test_a_pair_without_difference_gives_no_map(network, images):
    network.class_branch.weight.data.zero_()
    network.class_branch.bias.data.zero_()
    assert not CALMCounterfactual([1, 4])(network, images).any()


def test_what_does_not_fit_is_refused(network, images):
    other = CAMClassifier(TinyBackbone(), 5).double().eval()
    for method in (*METHODS.values(), CALMSubset()):
        with pytest.raises(ValueError, match="a run of model=calm"):
            method(other, images)
    for method, told in (
        (CALMSubset(), "classes that are to be named"),
        (CALMSubset([5]), r"must be in \[0, 5\), got 5"),
        (CALMCounterfactual([1, -1]), r"must be in \[0, 5\), got -1"),
    ):
        with pytest.raises(ValueError, match=told):
            method(network, images)
    for given, told in (
        ({"classes": [1, 2, 3]}, "one or two different ones"),
        ({"classes": [2, 2]}, "one or two different ones"),
        ({"part": "both"}, "part must be one of"),
    ):
        with pytest.raises(ValueError, match=told):
            CALMCounterfactual(**given)
    with pytest.raises(ValueError, match="explains the logit"):
        CALMJoint(target="margin")
