"""Training on images with hidden cells."""

import pytest
import torch
import torch.nn.functional as F

from learned_saliency.models import CAMClassifier, HideAndSeek
from learned_saliency.trainers import HaSModule, unkept
from tests.support.networks import SGD, TinyBackbone

SIZES = [0, 56, 112]


@pytest.fixture
def module():
    torch.manual_seed(0)
    classifier = CAMClassifier(TinyBackbone(), 3)
    return HaSModule(network=classifier, hiding=HideAndSeek(SIZES), optimizer=SGD)


@pytest.fixture
def batch():
    images = torch.randn(6, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    return {"image": images, "label": torch.tensor([0, 1, 2, 1, 0, 2]), "image_id": list("abcdef")}


def test_a_step_learns_from_the_hidden_images(module, batch):
    module.log_losses = module.log_means = lambda *args, **kwargs: None
    torch.manual_seed(3)
    loss = module.training_step(batch, 0)
    torch.manual_seed(3)
    hidden = module.hiding(batch["image"])
    assert not torch.equal(hidden, batch["image"])
    torch.testing.assert_close(loss, F.cross_entropy(module.network(hidden), batch["label"]))


def test_its_gradient_reaches_seen_pixels_alone(module, batch):
    network = module.double().network
    images = batch["image"][:2, :, :6, :6].double().requires_grad_()

    def loss(pixels):
        torch.manual_seed(5)
        return module.losses(pixels, batch["label"][:2]).terms["classification"]

    network.eval()  # BatchNorm of few numbers has no smooth gradient
    assert torch.autograd.gradcheck(loss, images)
    (gradient,) = torch.autograd.grad(loss(images), images)
    torch.manual_seed(5)
    hidden = (module.hiding(torch.ones_like(images)) == 0).expand_as(gradient)
    assert hidden.any()
    assert (gradient[hidden] == 0).all()


def test_evaluation_sees_whole_images(module, batch):
    module.eval()
    found = module.explain(batch["image"], batch["label"])
    torch.testing.assert_close(found.logits, module.network(batch["image"]))
    assert module.losses(batch["image"], batch["label"]).logits.equal(found.logits)


def test_no_features_are_kept_of_images_that_are_altered(module):
    module.network.backbone.requires_grad_(False)
    assert unkept(module) == "it learns from images that are altered anew in every step"
