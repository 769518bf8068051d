"""Training of ACoL: its losses and its rates."""

import pytest
import torch
from torch.nn import functional

from learned_saliency.models import ACoL
from learned_saliency.trainers import ACoLModule
from tests.support.networks import SGD, TinyBackbone


@pytest.fixture
def module():
    torch.manual_seed(0)
    network = ACoL(TinyBackbone(), 3, branch_width=4)
    return ACoLModule(network=network, optimizer=SGD, head_lr_factor=10.0)


def test_the_loss_is_both_branches_cross_entropy_and_trains_every_weight(module):
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 1, 2, 1])
    module.eval()
    terms, logits = module.losses(images, labels)
    torch.testing.assert_close(logits, module.network(images))
    found = module.network.branches(module.network.features(images), labels)
    for name, scores in zip(("classification", "erased"), found, strict=True):
        expected = -scores.log_softmax(1)[range(4), labels].mean()
        torch.testing.assert_close(terms[name], expected)
    torch.testing.assert_close(terms["classification"], functional.cross_entropy(logits, labels))
    sum(terms.values()).backward()
    assert all(weight.grad is not None for weight in module.network.parameters())


def test_both_branches_learn_at_the_rate_of_new_layers(module):
    slow, fast = module.configure_optimizers()["optimizer"].param_groups
    assert (slow["lr"], fast["lr"]) == (0.1, 1.0)
    branches = [*module.network.branch_a.parameters(), *module.network.branch_b.parameters()]
    assert {id(weight) for weight in fast["params"]} == {id(weight) for weight in branches}
