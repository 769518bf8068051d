"""Shapley-CAM against the full Hessian, pytorch-grad-cam and Grad-CAM."""

import pytest
import pytorch_grad_cam as peer
import timm
import torch
from pytorch_grad_cam.utils.model_targets import ClassifierOutputReST, ClassifierOutputTarget
from torch import nn

from learned_saliency.attribution import GradCAM, ShapleyCAM, split
from learned_saliency.attribution.core.targets import TARGETS as SCORES

CLASSES = torch.tensor([1, 3])


class Smooth(nn.Module):
    """A network whose head bends: SiLU between two linear layers."""

    def __init__(self, act=nn.SiLU):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.body = nn.Sequential(nn.Conv2d(3, 6, 3, stride=2), nn.ReLU())
            self.first, self.act, self.second = nn.Linear(6, 16), act(), nn.Linear(16, 5)
        for linear in (self.first, self.second):
            linear.weight.data *= 6

    def forward(self, images):
        return self.second(self.act(self.first(self.body(images).mean((2, 3)))))


@pytest.fixture
def batch():
    return torch.randn(2, 3, 15, 15, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("target", list(SCORES))
def test_weights_are_those_of_the_full_hessian(batch, target):
    network = Smooth().double().eval()
    classifier = split(network, "body")
    images = batch[:, :, :9, :9].double()
    found = ShapleyCAM(target=target).coefficients(classifier, images, CLASSES)
    features = network.body(images).detach()
    for index in range(2):

        def score(values, index=index):
            logits = network.second(network.act(network.first(values.mean((1, 2)))))[None]
            return SCORES[target](logits, CLASSES[index : index + 1])[0]

        values = features[index]
        gradient = torch.autograd.functional.jacobian(score, values)
        hessian = torch.autograd.functional.hessian(score, values).flatten(3).flatten(0, 2)
        second = (hessian @ values.flatten()).view_as(values)
        torch.testing.assert_close(found[index], (gradient - second / 2).mean((1, 2)))


def test_maps_are_those_of_pytorch_grad_cam(batch):
    network = Smooth().eval()
    classifier = split(network, "body")
    with peer.ShapleyCAM(network, [network.body]) as method:
        expected = method(batch, [ClassifierOutputTarget(int(c)) for c in CLASSES])
        rest = method(batch, [ClassifierOutputReST(int(c)) for c in CLASSES])
    expected, rest = torch.from_numpy(expected), torch.from_numpy(rest)
    maps = ShapleyCAM()(classifier, batch, CLASSES)
    assert (maps - GradCAM()(classifier, batch, CLASSES)).abs().max() > 0.01
    torch.testing.assert_close(maps, expected, rtol=0, atol=1e-4)
    scored = split(network, "body", outputs=lambda y: y + y.log_softmax(1))
    torch.testing.assert_close(ShapleyCAM()(scored, batch, CLASSES), rest, rtol=0, atol=1e-4)


def test_a_piecewise_linear_head_gives_grad_cam(batch):
    classifier = split(Smooth(nn.ReLU).eval(), "body")
    found = ShapleyCAM().coefficients(classifier, batch, CLASSES)
    torch.testing.assert_close(found, GradCAM().coefficients(classifier, batch, CLASSES))


def test_attention_behind_the_layer_has_a_second_derivative_too():
    torch.manual_seed(0)
    options = {"img_size": 32, "patch_size": 8, "embed_dim": 12, "depth": 2, "num_heads": 2}
    network = timm.create_model("vit_tiny_patch16_224", num_classes=5, **options).eval()
    classifier = split(network, "blocks.1.norm1")
    images = torch.randn(2, 3, 32, 32)
    maps = ShapleyCAM()(classifier, images, CLASSES)
    assert maps.amax((1, 2)).tolist() == [1, 1]


class Once(torch.autograd.Function):
    """A doubling without a second derivative."""

    @staticmethod
    def forward(ctx, given):
        return 2 * given

    @staticmethod
    def backward(ctx, gradient):
        raise RuntimeError("derivative for aten::once is not implemented")


class Single(nn.Module):
    def forward(self, given):
        return Once.apply(given)


def test_a_head_without_a_second_derivative_is_told(batch):
    classifier = split(Smooth(Single).eval(), "body", tracing=False)
    with pytest.raises(ValueError, match="GradCAM needs only the first"):
        ShapleyCAM()(classifier, batch, CLASSES)


def test_a_map_does_not_depend_on_its_batch_and_the_classifier_is_left(batch):
    network = Smooth().train()
    classifier = split(network, "body")
    together = ShapleyCAM()(classifier, batch, CLASSES)
    alone = ShapleyCAM()(classifier, batch[1:], CLASSES[1:])
    torch.testing.assert_close(together[1:], alone)
    assert network.training
    assert all(p.requires_grad and p.grad is None for p in network.parameters())
