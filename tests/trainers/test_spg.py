"""Training of SPG: what its losses reach, and its rates."""

import pytest
import torch

from learned_saliency.losses import SPGLoss
from learned_saliency.models import SPG
from learned_saliency.trainers import SPGModule
from tests.support.networks import SGD, TinyBackbone


@pytest.fixture
def module():
    torch.manual_seed(0)
    network = SPG(TinyBackbone((4, 5, 6)), 3, guide_width=4)
    return SPGModule(network=network, loss=SPGLoss(), optimizer=SGD, head_lr_factor=10.0)


def test_the_losses_read_the_true_classs_map_and_train_every_weight(module):
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 1, 2, 1])
    module.eval()
    terms, logits = module.losses(images, labels)
    torch.testing.assert_close(logits, module.network(images))
    found = module.network.branches(images)
    cams = torch.stack(
        [
            maps[label]
            for maps, label in zip(module.network.cams(found.features), labels, strict=True)
        ]
    )
    expected = module.loss(found.logits, cams, found[2:], labels, (32, 32))
    torch.testing.assert_close(terms, expected._asdict())
    sum(terms.values()).backward()
    assert all(weight.grad is not None for weight in module.network.parameters())
    module.zero_grad()
    terms, _ = module.losses(images, labels)
    (terms["deep"] + terms["shallow"] + terms["last"]).backward()
    assert module.network.fc.weight.grad is None  # the guide is what it is
    assert module.network.backbone.network[-1][0].weight.grad.abs().sum() > 0


def test_branches_learn_at_the_rate_of_new_layers(module):
    slow, fast = module.configure_optimizers()["optimizer"].param_groups
    assert (slow["lr"], fast["lr"]) == (0.1, 1.0)
    backbone = {id(weight) for weight in module.network.backbone.parameters()}
    assert {id(weight) for weight in slow["params"]} == backbone
    assert len(fast["params"]) == len(list(module.network.parameters())) - len(backbone)
