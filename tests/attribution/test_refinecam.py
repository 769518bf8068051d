"""Refine-CAM against pytorch-grad-cam and torchcam, and its ways to find levels."""

import pytest
import pytorch_grad_cam as peer
import timm
import torch
import torchvision
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn
from torchcam import methods as torchcam

from learned_saliency.attribution import LayerCAM, RefineCAM, SharedFeatures, resize, split
from learned_saliency.attribution.refinecam import BASES

CLASSES = torch.tensor([1, 4])
LAYERS = ["layer2", "layer3"]
PEERS = {
    "gradcam": peer.GradCAM,
    "gradcampp": peer.GradCAMPlusPlus,
    "xgradcam": peer.XGradCAM,
    "hirescam": peer.HiResCAM,
    "layercam": peer.LayerCAM,
}


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    network = torchvision.models.resnet18(num_classes=6).eval()
    with torch.no_grad():
        network.fc.weight *= 1e4  # so that the peers' epsilons do not matter
    return network


@pytest.fixture(scope="module")
def batch():
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("base", list(BASES))
def test_maps_are_those_of_pytorch_grad_cam(network, batch, base):
    layers = [network.get_submodule(name) for name in (*LAYERS, "layer4")]
    method = peer.RefineCAM(network, layers, base_method=PEERS[base])
    expected = torch.from_numpy(method(batch, [ClassifierOutputTarget(int(c)) for c in CLASSES]))
    classifier = split(network, "layer4", tracing=False)
    found = RefineCAM(base=base, layers=LAYERS)(classifier, batch, CLASSES)
    assert found.amax((1, 2)).tolist() == [1, 1]
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-4)


def test_maps_are_those_of_torchcam(network, batch):
    """It normalizes before it resizes, to the finest level: both are done here by hand."""
    with torchcam.RefineCAM(network, [*LAYERS, "layer4"], base_method=torchcam.LayerCAM) as method:
        expected = method(CLASSES.tolist(), network(batch))[0]
    product = 1.0
    for name in (*LAYERS, "layer4"):
        raw = LayerCAM().raw_maps(split(network, name, tracing=False), batch, CLASSES)
        product = product * resize(LayerCAM().finish(raw, raw.shape[1:]), expected.shape[1:])
    torch.testing.assert_close(LayerCAM().finish(product, (8, 8)), expected, rtol=0, atol=1e-4)
    classifier = split(network, "layer4", tracing=False)
    found = RefineCAM(base="layercam", layers=LAYERS)(classifier, batch, CLASSES)
    smaller = nn.functional.avg_pool2d(found, 8)
    for ours, theirs in zip(smaller, expected, strict=True):
        assert torch.corrcoef(torch.stack([ours.flatten(), theirs.flatten()]))[0, 1] > 0.9


def test_levels_are_found_and_those_named_are_the_same(network, batch):
    classifier = split(network, "layer4", tracing=False)
    method = RefineCAM()
    found = method(SharedFeatures(classifier, batch), batch, CLASSES)
    names = [level.layer for level in method._known[network]["layer4"]]
    assert names[-1] == "layer4"
    torch.testing.assert_close(RefineCAM(layers=names[-3:-1])(classifier, batch, CLASSES), found)


class Counting(nn.Module):
    """Two levels, the second overwritten in place by what follows; counts its passes."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.one = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU())
            self.two, self.act = nn.Conv2d(4, 6, 3, 2, 1), nn.ReLU(inplace=True)
            self.fc = nn.Linear(6, 3)
        self.passes = 0

    def forward(self, images):
        self.passes += 1
        return self.fc(self.act(self.two(self.one(images))).mean((2, 3)))


def test_a_network_that_is_known_runs_once_and_a_level_may_be_overwritten(batch):
    network = Counting().train()
    classifier = split(network, "two", tracing=False)
    method = RefineCAM(finer=1, base="layercam")
    method(classifier, batch, CLASSES % 3)
    network.passes = 0
    together = method(classifier, batch, CLASSES % 3)
    assert network.passes == 1
    product = 1.0
    for name in ("one", "two"):
        raw = LayerCAM().raw_maps(split(network, name, tracing=False), batch, CLASSES % 3)
        product = product * LayerCAM().finish(raw, (64, 64))
    torch.testing.assert_close(together, LayerCAM().finish(product, (64, 64)))
    assert network.training
    assert all(p.grad is None and p.requires_grad for p in network.parameters())
    assert not any(m._forward_hooks for m in network.modules())
    alone = method(classifier, batch[1:], CLASSES[1:] % 3)
    torch.testing.assert_close(alone, together[1:])


def test_tokens_of_one_grid_are_levels_too():
    torch.manual_seed(0)
    options = {"img_size": 32, "patch_size": 8, "embed_dim": 12, "depth": 4, "num_heads": 2}
    network = timm.create_model("vit_tiny_patch16_224", num_classes=6, **options).eval()
    classifier, images = split(network, "blocks.3.norm1"), torch.randn(2, 3, 32, 32)
    maps = RefineCAM(base="gradcam", layers=["blocks.1", "blocks.2"])(classifier, images, CLASSES)
    kept = {}
    for name in ("blocks.1", "blocks.2", "blocks.3.norm1"):
        module = network.get_submodule(name)
        module.register_forward_hook(lambda m, i, o, name=name: kept.update({name: o}))
    logits = network(images)
    gradients = torch.autograd.grad(logits.gather(1, CLASSES[:, None]).sum(), list(kept.values()))
    product = 1.0
    for tokens, gradient in zip(kept.values(), gradients, strict=True):
        weights = gradient[:, 1:].mean(1, keepdim=True)
        raw = (weights * tokens[:, 1:]).sum(2).relu().view(2, 4, 4).detach()
        finish = RefineCAM().finish
        product = product * finish(raw, (32, 32))
    torch.testing.assert_close(maps, finish(product, (32, 32)))


class Levels(nn.Module):
    """A classifier with levels of its own, as those of this project."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def levels(self, images):
        n = self.network
        one = n.layer1(n.maxpool(n.relu(n.bn1(n.conv1(images)))))
        two = n.layer2(one)
        three = n.layer3(two)
        return [one, two, three, n.layer4(three)]

    def features(self, images):
        return self.levels(images)[-1]

    def head(self, features):
        return self.network.fc(features.mean((2, 3)))

    def forward(self, images):
        return self.head(self.features(images))


def test_a_classifier_with_levels_of_its_own_gives_the_same(network, batch):
    own = Levels(network)
    expected = RefineCAM(layers=LAYERS)(split(network, "layer4", tracing=False), batch, CLASSES)
    for classifier in (own, SharedFeatures(own, batch)):
        torch.testing.assert_close(
            RefineCAM()(classifier, batch, CLASSES), expected, rtol=1e-4, atol=1e-5
        )
    with pytest.raises(ValueError, match="gives its own levels"):
        RefineCAM(layers=LAYERS)(own, batch, CLASSES)


def test_a_classifier_without_levels_is_told(tiny_cnn, images, network, batch):
    with pytest.raises(ValueError, match=r"attribution\.split"):
        RefineCAM()(tiny_cnn("mlp"), images)
    with pytest.raises(ValueError, match="there is no layer 'layer9'"):
        RefineCAM(layers=["layer9"])(split(network, "layer4", tracing=False), batch)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"base": "cam"}, "base"), ({"finer": 0}, "finer"), ({"layers": []}, "layers")],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        RefineCAM(**options)
