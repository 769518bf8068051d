"""Training on mixed images."""

import pytest
import torch
import torch.nn.functional as F

from learned_saliency.models import CAMClassifier, CutMix
from learned_saliency.trainers import CutMixModule, unkept
from tests.support.networks import SGD, TinyBackbone


@pytest.fixture
def module():
    torch.manual_seed(0)
    classifier = CAMClassifier(TinyBackbone(), 3)
    return CutMixModule(network=classifier, mixing=CutMix(), optimizer=SGD)


@pytest.fixture
def batch():
    images = torch.randn(6, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    return {"image": images, "label": torch.tensor([0, 1, 2, 1, 0, 2]), "image_id": list("abcdef")}


def test_a_step_learns_the_mixed_labels_of_the_mixed_images(module, batch):
    module.log_losses = module.log_means = lambda *args, **kwargs: None
    torch.manual_seed(3)
    loss = module.training_step(batch, 0)
    torch.manual_seed(3)
    mixed = module.mixing(batch["image"])
    assert 0 < mixed.share < 1
    labels = F.one_hot(batch["label"], 3).float()
    labels = mixed.share * labels + (1 - mixed.share) * labels[mixed.partners]
    torch.testing.assert_close(loss, F.cross_entropy(module.network(mixed.images), labels))


def test_its_gradient_is_that_of_a_tiny_network(module, batch):
    module.double().network.eval()  # BatchNorm of few numbers has no smooth gradient
    images = batch["image"][:2, :, :6, :6].double().requires_grad_()

    def loss(pixels):
        torch.manual_seed(5)
        return module.losses(pixels, batch["label"][:2]).terms["classification"]

    assert torch.autograd.gradcheck(loss, images)


def test_evaluation_sees_images_as_they_are(module, batch):
    module.eval()
    found = module.explain(batch["image"], batch["label"])
    torch.testing.assert_close(found.logits, module.network(batch["image"]))
    terms, logits = module.losses(batch["image"], batch["label"])
    assert torch.equal(logits, found.logits)
    torch.testing.assert_close(terms["classification"], F.cross_entropy(logits, batch["label"]))


def test_no_features_are_kept_of_images_that_are_altered(module):
    module.network.backbone.requires_grad_(False)
    assert unkept(module) == "it learns from images that are altered anew in every step"
