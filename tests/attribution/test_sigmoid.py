"""Classifiers whose classes do not exclude each other: each is a two-class softmax (0, y_c)."""

import copy
from types import SimpleNamespace

import pytest
import pytorch_grad_cam as peer
import timm
import torch
from omegaconf import OmegaConf
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn

from learned_saliency import attribution
from learned_saliency.attribution import (
    CAM,
    TARGETS,
    FinerCAM,
    GradCAM,
    MaskObjective,
    ScoredClassifier,
    SharedFeatures,
    split,
)
from learned_saliency.attribution.core.targets import check_centered
from learned_saliency.ops import Activation, activation_of
from tests.support.paths import ROOT

SIGMOID = Activation.SIGMOID
CLASSES = 3
IMAGES = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(3), dtype=torch.double)

#: Post-hoc methods of any classifier, with as few runs as they take.
METHODS = {
    "AblationCAM": {},
    "DeepSHAPCAM": {},
    "EigenCAM": {},
    "ExcitationBackprop": {},
    "ExtremalPerturbation": {"iterations": 2, "levels": 2, "sigma": 4.0, "step": 4},
    "FakeCAM": {},
    "Feedback": {"rounds": 1},
    "FullGrad": {},
    "GradCAM": {},
    "GradCAMPlusPlus": {},
    "HiResCAM": {},
    "GuidedBackprop": {},
    "ISCAM": {"steps": 2},
    "InformationBottleneck": {"steps": 2, "samples": 2},
    "IntegratedGradients": {"steps": 3},
    "KernelSHAPCAM": {"samples": 20},
    "LIFTCAM": {},
    "LIMECAM": {"samples": 20},
    "LRPCAM": {},
    "LayerCAM": {},
    "MeaningfulPerturbation": {"iterations": 2, "scale": 4},
    "Occlusion": {"window": 8, "stride": 8},
    "OptiCAM": {"iterations": 3},
    "RISE": {"masks": 20, "cells": 4},
    "ReciproCAM": {},
    "RefineCAM": {},
    "SHAPCAM": {"orderings": 4},
    "SSCAM": {"samples": 2},
    "ScoreCAM": {},
    "ShapleyCAM": {},
    "SmoothGrad": {"samples": 2},
    "SmoothGradCAMPlusPlus": {"samples": 2},
    "VanillaGradient": {},
    "VarGrad": {"samples": 2},
    "XGradCAM": {},
}


@pytest.mark.parametrize("count", [1, 2])
def test_values_are_no_classes_to_compare(count):
    values, targets = torch.rand(3, count), torch.zeros(3, dtype=torch.int64)
    for target in ("logit", "probability"):
        found = TARGETS[target](values, targets, Activation.IDENTITY)
        torch.testing.assert_close(found, values[:, 0])
    with pytest.raises(ValueError, match="the network tells values"):
        TARGETS["margin"](values, targets, Activation.IDENTITY)
    with pytest.raises(ValueError, match="values have no probabilities"):
        TARGETS["log_probability"](values, targets, Activation.IDENTITY)


def test_values_have_no_common_part():
    with pytest.raises(ValueError, match="which values do not"):
        check_centered(torch.rand(3, 2), Activation.IDENTITY)


class Network(nn.Module):
    """Two convolutions, global average pooling and two linear layers."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(2)
        self.first, self.relu = nn.Conv2d(3, 6, 3, stride=2, padding=1), nn.ReLU()
        self.second, self.act = nn.Conv2d(6, 5, 3, stride=2, padding=1), nn.ReLU()
        self.pool, self.flat = nn.AdaptiveAvgPool2d(1), nn.Flatten()
        self.hidden, self.mid = nn.Linear(5, 8), nn.ReLU()
        self.out = nn.Linear(8, CLASSES)
        nn.init.normal_(self.out.weight, std=2)
        self.double().eval()

    def forward(self, images):
        maps = self.act(self.second(self.relu(self.first(images))))
        return self.out(self.mid(self.hidden(self.flat(self.pool(maps)))))


def of_one_class(c):
    """Make the classifier of two exclusive classes with the logits 0 and y_c."""
    network = Network()
    weight, bias = network.out.weight[c], network.out.bias[c]
    network.out = nn.Linear(8, 2).double()
    with torch.no_grad():
        network.out.weight.copy_(torch.stack([0 * weight, weight]))
        network.out.bias.copy_(torch.stack([0 * bias, bias]))
    return split(network.eval(), "act")


def multilabel():
    return split(Network(), "act", activation="sigmoid")


@pytest.mark.parametrize("name", METHODS)
def test_maps_of_a_class_are_those_of_absent_and_present(name):
    classifier, present = multilabel(), torch.ones(2, dtype=torch.int64)
    for word in getattr(attribution, name).allowed_targets:
        method = getattr(attribution, name)(target=word, **METHODS[name])
        c = len(word) % CLASSES
        found = method(classifier, IMAGES, torch.full((2,), c))
        torch.testing.assert_close(found, method(of_one_class(c), IMAGES, present))


def test_the_other_methods_are_tried_elsewhere_or_look_at_no_score():
    methods = OmegaConf.to_container(OmegaConf.load(ROOT / "configs/attribution/all.yaml"))
    known = {options["_target_"].rpartition(".")[2] for options in methods.values()}
    linear = {"CAM", "FinerCAM"}  # the logit of a linear head, below
    calm = {name for name in known if name.startswith("CALM")}  # these need exclusive classes
    trained, composed = {"Amortized"}, {"Ensemble", "SupersetAggregation"}
    transformers = {"AttnLRP", "LeGrad", "RawAttention", "Rollout", "TIBAV", "ViTReciproCAM"}
    assert known - set(METHODS) == linear | calm | trained | composed | transformers


@pytest.mark.parametrize("name", ["AttnLRP", "LeGrad", "TIBAV", "ViTReciproCAM"])
def test_maps_of_a_class_of_a_transformer_are_those_of_absent_and_present(name):
    torch.manual_seed(0)
    options = {"img_size": 16, "patch_size": 8, "embed_dim": 12, "depth": 2, "num_heads": 2}
    network = timm.create_model("vit_tiny_patch16_224", num_classes=CLASSES, **options).eval()
    nn.init.normal_(network.head.weight)
    twin, layer = copy.deepcopy(network), "blocks.1.norm1"
    twin.head = nn.Linear(12, 2)
    with torch.no_grad():
        twin.head.weight.copy_(torch.stack([0 * network.head.weight[1], network.head.weight[1]]))
        twin.head.bias.copy_(torch.stack([0 * network.head.bias[1], network.head.bias[1]]))
    classifier, images = split(network, layer, activation="sigmoid"), IMAGES.float()
    for word in getattr(attribution, name).allowed_targets:
        method = getattr(attribution, name)(target=word)
        found = method(classifier, images, torch.tensor([1, 1]))
        wanted = method(split(twin, layer), images, torch.tensor([1, 1]))
        torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("word", TARGETS)
def test_scores_are_those_of_absent_and_present(word):
    logits = torch.randn(50, 7, generator=torch.Generator().manual_seed(1), dtype=torch.double)
    for c in range(7):
        two = torch.stack([torch.zeros(50, dtype=torch.double), logits[:, c]], dim=1)
        wanted = TARGETS[word](two, torch.ones(50, dtype=torch.int64))
        classes = torch.full((50,), c)
        torch.testing.assert_close(TARGETS[word](logits, classes, SIGMOID), wanted)
        objective = MaskObjective(selector=word)
        torch.testing.assert_close(objective.select(logits, classes, SIGMOID), wanted)


def test_probabilities_are_those_that_a_peer_is_given():
    network = Network()
    wrapped = nn.Sequential(network, nn.Sigmoid())
    with peer.GradCAM(model=wrapped, target_layers=[network.act]) as oracle:
        wanted = torch.from_numpy(oracle(IMAGES, [ClassifierOutputTarget(1)] * 2))
    found = GradCAM(target="probability")(multilabel(), IMAGES, torch.tensor([1, 1]))
    torch.testing.assert_close(found, wanted.double(), atol=1e-5, rtol=0)


def test_the_activation_is_handed_on_by_all_that_wraps_a_classifier():
    classifier = multilabel()
    assert activation_of(SharedFeatures(classifier, IMAGES)) is SIGMOID
    assert activation_of(ScoredClassifier(classifier, lambda logits: logits)) is SIGMOID
    assert activation_of(classifier.of_rows(torch.tensor([0]))) is SIGMOID
    network = Network()
    assert activation_of(split(network, "act")) is Activation.SOFTMAX
    network.activation = SIGMOID
    assert activation_of(split(network, "act")) is SIGMOID
    assert activation_of(split(network, "act", activation="softmax")) is Activation.SOFTMAX
    with pytest.raises(ValueError, match="not a valid Activation"):
        split(network, "act", activation="relu")


def test_an_attribute_of_the_same_name_is_no_declaration():
    network = Network()
    network.activation = nn.Sigmoid()
    assert activation_of(network) is Activation.SOFTMAX
    assert activation_of(split(network, "act")) is Activation.SOFTMAX
    assert activation_of(SimpleNamespace(activation="sigmoid")) is Activation.SOFTMAX


def test_a_single_logit_is_one_class_of_a_sigmoid_and_two_of_a_softmax():
    network = Network()
    network.out = nn.Linear(8, 1).double()
    one, two = split(network, "act", activation=SIGMOID), split(network, "act")
    with torch.no_grad():
        assert one(IMAGES).shape == one.head(one.features(IMAGES)).shape == (2, 1)
        torch.testing.assert_close(one(IMAGES).sigmoid()[:, 0], two(IMAGES).softmax(1)[:, 1])
    for word in TARGETS:
        found = GradCAM(target=word)(one, IMAGES, torch.tensor([0, 0]))
        torch.testing.assert_close(found, GradCAM(target=word)(two, IMAGES, torch.tensor([1, 1])))


def test_centered_logits_are_refused():
    with pytest.raises(ValueError, match="exclude each other, which those of a sigmoid do not"):
        GradCAM(center=True)(multilabel(), IMAGES)
    classifier = split(Network(), "act", activation="sigmoid")
    classifier.cams = lambda features, targets: features.mean(1)
    classifier.cams_are_probabilities = False
    with pytest.raises(ValueError, match="exclude each other"):
        CAM(center=True)(classifier, IMAGES)


def test_finer_cam_weighs_by_the_sigmoids():
    classifier = multilabel()
    method = FinerCAM(weighting="probability", similar=2)
    images, targets = IMAGES[:1], torch.tensor([0])
    features = classifier.features(images).detach().requires_grad_()
    logits = classifier.head(features)
    p = logits.sigmoid()[0]
    own, others = logits[0, 0], logits[0, 1:]
    score = ((own - 0.6 * others) * p[1:]).sum() / p[1:].sum()
    (gradient,) = torch.autograd.grad(score, features)
    wanted = gradient.mean((2, 3))
    torch.testing.assert_close(method.coefficients(classifier, images, targets), wanted)
