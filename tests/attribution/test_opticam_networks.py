"""Networks under Opti-CAM: left as found, of any kind, with shared features."""

import pytest
import timm
import torch

from learned_saliency.attribution import OptiCAM, SharedFeatures, split


@pytest.fixture
def classifier(tiny_cnn):
    return tiny_cnn("linear")


def test_only_u_gets_a_gradient_and_the_model_is_left_as_found(classifier, images):
    classifier.train()
    classifier.conv2.eval()
    classifier.fc.weight.requires_grad_(False)
    classifier.conv1.weight.grad = torch.ones_like(classifier.conv1.weight)
    modes = [module.training for module in classifier.modules()]
    flags = [weight.requires_grad for weight in classifier.parameters()]
    before = [weight.detach().clone() for weight in classifier.parameters()]
    copy = images.clone()
    with torch.no_grad():
        saliency = OptiCAM(iterations=3)(classifier, images)
    assert not saliency.requires_grad
    assert [module.training for module in classifier.modules()] == modes
    assert [weight.requires_grad for weight in classifier.parameters()] == flags
    torch.testing.assert_close(list(classifier.parameters()), before)
    torch.testing.assert_close(images, copy)
    grads = {n: w.grad for n, w in classifier.named_parameters() if w.grad is not None}
    assert list(grads) == ["conv1.weight"]
    assert bool((grads["conv1.weight"] == 1).all())


def test_images_that_require_gradients_get_none(classifier, images):
    images.requires_grad_()
    OptiCAM(iterations=2)(classifier, images)
    assert images.grad is None


def test_inference_mode_is_refused_and_inference_tensors_are_not(classifier, images):
    with torch.inference_mode():
        inner = images.clone()
        with pytest.raises(RuntimeError, match="inference_mode"):
            OptiCAM()(classifier, images)
    method = OptiCAM(iterations=3)
    torch.testing.assert_close(method(classifier, inner), method(classifier, images))


def test_transformer_tokens_become_maps():
    torch.manual_seed(5)
    vit = timm.create_model(
        "vit_tiny_patch16_224",
        img_size=32,
        patch_size=8,
        depth=2,
        embed_dim=24,
        num_heads=2,
        num_classes=5,
    ).double()
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(2, 3, 32, 32, generator=generator, dtype=torch.float64)
    result = OptiCAM(iterations=20).optimize(split(vit, "blocks.1.norm1"), images)
    assert result.saliency.shape == (2, 32, 32)
    assert result.u.shape == (2, 24)
    assert bool((result.objective[-1] > result.objective[0]).all())


def test_shared_features_give_the_same_maps(classifier, images):
    method = OptiCAM(iterations=4)
    shared = SharedFeatures(classifier, images)
    torch.testing.assert_close(method(shared, images), method(classifier, images))


def test_a_network_that_gives_nan_is_reported(by_hand):
    classifier, image = by_hand
    classifier.forward = lambda images: images.sum((1, 2, 3))[:, None] * float("nan")
    with pytest.raises(ValueError, match="NaN"):
        OptiCAM()(classifier, image, torch.tensor([0]))
