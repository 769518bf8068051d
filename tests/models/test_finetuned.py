"""Tests of a fine-tuning in two phases: what each phase trains, and with which weights."""

import pytest
import torch

from learned_saliency.models import ACoL, CAMClassifier, FineTuned, LinearProbe, MultiScaleBackbone

WIDTHS = {"channels": [8, 8, 16, 16], "stem_width": 8}


def backbone(**options):
    torch.manual_seed(0)
    return MultiScaleBackbone("resnet10t", **WIDTHS, **options)


def step(network):
    """Take a step of SGD by what needs a gradient; return what changed, statistics too."""
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network.train()
    trained = [weight for weight in network.parameters() if weight.requires_grad]
    network(images).square().sum().backward()
    torch.optim.SGD(trained, lr=0.1, momentum=0.9).step()
    return {name for name, value in network.state_dict().items() if (value != before[name]).any()}


def test_the_first_phase_changes_the_last_layer_alone_and_the_second_everything():
    probe = LinearProbe(backbone=backbone(), num_classes=3)
    assert step(probe) == {"fc.weight", "fc.bias"}
    tuned = FineTuned(probe)
    assert tuned.fc is probe.fc
    changed = step(tuned)
    parts = {name.split(".")[2] for name in changed if name.startswith("backbone")}
    assert {"conv1", "bn1", *(f"layer{i}" for i in range(1, 5))} <= parts
    assert {"fc.weight", "backbone.network.bn1.running_mean"} <= changed


def test_phases_see_the_logits_of_the_plain_classifier():
    images = torch.randn(2, 3, 32, 32)
    torch.manual_seed(1)
    plain = CAMClassifier(backbone(), 3).eval()
    probe = LinearProbe(backbone=backbone(), num_classes=3)
    probe.load_state_dict(plain.state_dict())
    assert not probe.train().backbone.network.training
    torch.testing.assert_close(probe(images), plain(images), rtol=0, atol=0)
    torch.testing.assert_close(FineTuned(probe).eval()(images), plain(images), rtol=0, atol=0)


def test_the_second_phase_trains_what_the_backbone_was_configured_to_train():
    network = FineTuned(LinearProbe(backbone=backbone(trainable="stages:1"), num_classes=3))
    trained = {name for name, weight in network.named_parameters() if weight.requires_grad}
    assert {"fc.weight", "fc.bias"} < trained
    stages = {name.split(".")[2] for name in trained if name.startswith("backbone")}
    assert stages == {"layer4"}
    frozen = FineTuned(LinearProbe(backbone=backbone(frozen=True), num_classes=3))
    assert {n for n, w in frozen.named_parameters() if w.requires_grad} == {"fc.weight", "fc.bias"}
    assert frozen.backbone.frozen


def test_a_backbone_with_new_layers_is_refused_for_the_first_phase():
    with pytest.raises(ValueError, match=r"new layers.*backbone\.neck_channels=\[\]"):
        LinearProbe(backbone=backbone(neck_channels=[8]), num_classes=3)


def test_a_classifier_with_another_last_layer_is_refused():
    with pytest.raises(ValueError, match="fine-tuned, and ACoL has another"):
        FineTuned(ACoL(backbone(), 3))


def test_parts_of_another_classifier_are_refused_for_the_first_phase():
    with pytest.raises(ValueError, match="has no branch_width: leave the word first_stage out"):
        LinearProbe(backbone=backbone(), num_classes=3, branch_width=8)
