"""Agreement with pytorch-grad-cam 1.5 on torchvision networks with random weights.

Its documented differences, and how each is taken out here:

- Epsilons: 1e-7 in its min-max scaling and XGrad-CAM, 1e-6 in the denominator of Grad-CAM++. They
  matter where gradients are small, so the networks' last layer is scaled up until they do not. Nor
  may it take much: what rounding leaves of nearly equal logits would be scaled up, too.
- It scales a map before and after resizing, in float32 with OpenCV; the same up to rounding.
- Score-CAM: it resizes masks with corners aligned; the module it uses is replaced.
- Ablation-CAM: it ablates to (minimum - 1e7) instead of zero unless the minimum is zero; layers
  after a ReLU are compared, and this is asserted.
- It reads the activations after a run of the whole network, so a layer followed by an in-place
  ReLU gives it the rectified ones; layers that are not are compared.
"""

import pytest
import pytorch_grad_cam as peer
import torch
import torchvision
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn

from learned_saliency import attribution

TARGETS = torch.tensor([1, 4])
PAIRS = {
    "GradCAM": peer.GradCAM,
    "GradCAMPlusPlus": peer.GradCAMPlusPlus,
    "XGradCAM": peer.XGradCAM,
    "HiResCAM": peer.HiResCAM,
    "LayerCAM": peer.LayerCAM,
    "ScoreCAM": peer.ScoreCAM,
    "AblationCAM": peer.AblationCAM,
}


@pytest.fixture(scope="module")
def networks():
    torch.manual_seed(0)
    resnet = torchvision.models.resnet18(num_classes=6).eval()
    vgg = narrow_vgg11().eval()
    with torch.no_grad():
        resnet.fc.weight *= 1e4
        vgg.classifier[6].weight *= 10
    return {"resnet18": resnet, "vgg11": vgg}


@pytest.fixture(scope="module")
def batch():
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def narrow_vgg11():
    """VGG-11 with the layers of torchvision's, of fewer channels, for the sake of time."""
    widths = [16, "M", 32, "M", 64, 64, "M", 64, 64, "M", 64, 64, "M"]
    with torch.device("meta"):  # the large layers are replaced
        network = torchvision.models.VGG(nn.Identity(), init_weights=False)
    network.features = torchvision.models.vgg.make_layers(widths)
    for index, sizes in {0: (64 * 7 * 7, 128), 3: (128, 128), 6: (128, 6)}.items():
        network.classifier[index] = nn.Linear(*sizes)
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):  # PyTorch's own fade from layer to layer
            nn.init.kaiming_normal_(module.weight)
    return network


def peer_maps(name, network, layer, images):
    module = network.get_submodule(layer)
    with PAIRS[name](model=network, target_layers=[module]) as method:
        maps = method(images, [ClassifierOutputTarget(int(target)) for target in TARGETS])
    return torch.from_numpy(maps)


@pytest.mark.parametrize(("name", "layer"), [("resnet18", "layer4"), ("vgg11", "features.19")])
@pytest.mark.parametrize("method", list(PAIRS)[:5])
def test_gradient_methods_agree(networks, batch, name, layer, method):
    network = networks[name]
    classifier = attribution.split(network, layer)
    maps = getattr(attribution, method)()(classifier, batch, TARGETS)
    expected = peer_maps(method, network, layer, batch)
    assert expected.amax((1, 2)).amin() > 0.9
    torch.testing.assert_close(maps, expected, rtol=0, atol=2e-4)


@pytest.mark.parametrize(("name", "layer"), [("resnet18", "layer1"), ("vgg11", "features.1")])
@pytest.mark.parametrize("method", ["ScoreCAM", "AblationCAM"])
def test_gradient_free_methods_agree(networks, batch, name, layer, method, monkeypatch):
    monkeypatch.setattr(nn, "UpsamplingBilinear2d", HalfPixelUpsampling)
    network, images = networks[name], batch[:, :, :32, :32].contiguous()
    classifier = attribution.split(network, layer)
    with torch.no_grad():
        assert classifier.features(images).amin() == 0
    maps = getattr(attribution, method)()(classifier, images, TARGETS)
    expected = peer_maps(method, network, layer, images)
    assert expected.amax((1, 2)).amin() > 0.9
    torch.testing.assert_close(maps, expected, rtol=0, atol=1e-4)


class HalfPixelUpsampling(nn.Upsample):
    """Bilinear upsampling with half-pixel centers in place of aligned corners."""

    def __init__(self, size):
        super().__init__(size=size, mode="bilinear", align_corners=False)
