"""FullGrad adds up to the logit; its map is the formula's, and pytorch-grad-cam's where alike."""

from collections import OrderedDict

import pytest
import pytorch_grad_cam
import timm
import torch
import torchvision
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn
from torch.nn import functional as F

from learned_saliency.attribution import FullGrad, normalize, resize, split
from learned_saliency.attribution.core.pixels import gradient_within
from learned_saliency.attribution.fullgrad import BiasGradients

TARGETS = torch.tensor([1, 3])
IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def with_biases(network):
    """Give batch normalization statistics and biases that matter."""
    generator = torch.Generator().manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for values in (module.running_mean, module.weight.data, module.bias.data):
                values += 0.3 * torch.randn(values.shape, generator=generator)
    return network.eval()


def total(classifier, images, targets):
    """Add up the gradient times the image and all gradients times biases."""
    sums = []

    def take(gradient, bias, axis):
        sums.append((gradient * bias).flatten(1).sum(1))

    with FullGrad()._query(classifier, images, targets) as query:
        rows = torch.arange(len(images))
        gradient, _ = gradient_within(query, rows, BiasGradients(take))
    return (gradient * images).sum((1, 2, 3)) + sum(sums), len(sums)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    ("make", "layer"),
    [
        (lambda: torchvision.models.squeezenet1_1(num_classes=5), "features"),
        (lambda: torchvision.models.resnet18(num_classes=5), "layer4"),
        (lambda: timm.create_model("tf_efficientnet_lite0", num_classes=5), "bn2"),  # ReLU6
        (lambda: torchvision.models.mobilenet_v3_small(num_classes=5), "features"),  # gates
    ],
)
def test_gradients_times_image_and_biases_add_up_to_the_logit(make, layer):
    torch.manual_seed(0)
    network = with_biases(make()).double()
    images = IMAGES[:, :, :48, :48].double()
    found, biases = total(split(network, layer), images, TARGETS)
    expected = network(images)[[0, 1], TARGETS].detach()
    torch.testing.assert_close(found, expected)
    assert biases > 15


class Plain(nn.Module):
    """Two convolutions with all kinds of biases: of a layer, normalization, constants, ReLU6."""

    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.second, self.last = nn.Conv2d(4, 2, 3, stride=2), nn.Linear(2, 5)

    def forward(self, images):
        hidden = self.norm(self.first(images)) + 0.25
        hidden = F.relu6(hidden, inplace=True)
        return self.last(F.relu_(self.second(hidden)).mean((2, 3)))


def psi(term, rescaled):
    sizes = term.abs()
    dims = (0, 1, 2) if rescaled == "layer" else (1, 2)
    low, high = sizes.amin(dims, keepdim=True), sizes.amax(dims, keepdim=True)
    shares = ((sizes - low) / (high - low).clamp(min=1e-300)).sum(0)
    return resize(shares[None], (12, 12))[0]


@pytest.mark.parametrize("rescaled", ["layer", "channel"])
@pytest.mark.parametrize("simple", [False, True])
def test_map_is_the_formula(rescaled, simple):
    torch.manual_seed(0)
    network = with_biases(Plain()).double()
    network.norm.weight.data *= 6
    images = IMAGES[:, :, :12, :12].double()
    maps = FullGrad(rescaled=rescaled, simple=simple)
    found = maps.raw_maps(split(network, "second"), images, TARGETS)

    image = images[0].requires_grad_()
    values = {"conv": network.first(image[None])}
    values["norm"] = network.norm(values["conv"])
    values["sum"] = values["norm"] + 0.25
    values["relu6"] = values["sum"].clamp(0, 6)
    values["second"] = network.second(values["relu6"])
    logit = network.last(values["second"].relu().mean((2, 3)))[0, TARGETS[0]]
    by_image, *gradients = torch.autograd.grad(logit, [image, *values.values()])
    norm = network.norm
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    biases = {
        "conv": network.first.bias[:, None, None],
        "norm": (norm.bias - scale * norm.running_mean)[:, None, None],
        "sum": 0.25,
        "relu6": 6.0 * (values["sum"][0] > 6),
        "second": network.second.bias[:, None, None],
    }
    expected = psi(by_image * image, rescaled)
    for bias, gradient in zip(biases.values(), gradients, strict=True):
        expected = expected + psi(gradient[0] if simple else gradient[0] * bias, rescaled)
    assert (values["sum"] > 6).any()
    torch.testing.assert_close(found[0], expected.detach())


def test_map_is_that_of_pytorch_grad_cam_where_it_sees_all_biases():
    """It rescales each channel; the last layer is scaled up, so that its 1e-7 is small."""
    torch.manual_seed(0)
    layers = torchvision.models.vgg.make_layers([16, "M", 32, "M", 32, 32], batch_norm=True)
    top = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 5))
    network = with_biases(nn.Sequential(OrderedDict(features=layers, top=top)))
    top[2].weight.data *= 1e6
    method = FullGrad(rescaled="channel")
    found = method(split(network, "features"), IMAGES, TARGETS)
    peer = pytorch_grad_cam.FullGrad(network, [])
    wanted = [ClassifierOutputTarget(int(target)) for target in TARGETS]
    expected = normalize(torch.from_numpy(peer(IMAGES.clone(), wanted)))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


def test_linear_layers_of_channels_last_are_summed_over_channels():
    torch.manual_seed(0)

    class Last(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.last = nn.Linear(3, 6), nn.Linear(6, 5)

        def forward(self, images):
            hidden = F.gelu(self.inner(images.permute(0, 2, 3, 1)))
            return self.last(hidden.mean((1, 2)))

    network = Last().double()
    images = IMAGES[:, :, :5, :7].double()
    mode_maps = FullGrad().raw_maps(split(network, "inner"), images, TARGETS)
    assert mode_maps.shape == (2, 5, 7)
    found, _ = total(split(network, "inner"), images, TARGETS)
    torch.testing.assert_close(found, network(images)[[0, 1], TARGETS].detach())


@pytest.mark.parametrize("options", [{"rescaled": "image"}, {"batch_size": 0}])
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match=r"must be one of|at least 1"):
        FullGrad(**options)


def test_attention_is_no_part_of_the_map_however_it_is_computed():
    torch.manual_seed(0)
    network = timm.create_model("vit_tiny_patch16_224", img_size=32, num_classes=4, depth=2).eval()
    images, targets = torch.randn(2, 3, 32, 32), torch.tensor([1, 3])
    classifier = split(network, "blocks.1.norm1")
    expected = FullGrad()(classifier, images, targets)
    for block in network.blocks:
        block.attn.fused_attn = False
    found = FullGrad()(split(network, "blocks.1.norm1"), images, targets)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


def test_layers_within_windows_are_left_out():
    torch.manual_seed(0)
    options = {"img_size": 32, "depths": (1, 1), "embed_dim": 12, "num_heads": (2, 2)}
    network = timm.models.swin_transformer.SwinTransformer(
        window_size=2, num_classes=4, **options
    ).eval()
    images, targets = torch.randn(2, 3, 32, 32), torch.tensor([1, 3])
    classifier = split(network, "layers.1")
    both = FullGrad()(classifier, images, targets)
    alone = FullGrad()(classifier, images[1:], targets[1:])
    torch.testing.assert_close(both[1:], alone, rtol=0, atol=1e-4)
