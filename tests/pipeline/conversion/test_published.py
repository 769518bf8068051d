"""Weights under the names of the published code make the same network here.

The oracles are torchvision's networks, by which the published code names its backbones, and small
decoders with the published modules' names and layers, written from the papers.
"""

import argparse
import copy
import json

import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional as F
from torchvision.models import vgg

from learned_saliency.models import CALM, CASM, FCAM, CAMClassifier, MultiScaleBackbone
from learned_saliency.pipeline.cli.compose import compose_checked
from learned_saliency.pipeline.cli.errors import UserError
from learned_saliency.pipeline.conversion.convert import convert
from learned_saliency.pipeline.conversion.published import (
    convert_published,
    count_classes,
    read_published,
)
from learned_saliency.pipeline.runs.checkpoints import load_module, read_checkpoint

CLASSES = 7


@pytest.fixture(autouse=True, scope="module")
def _seeded():
    """Make random weights the same whatever ran before: some have no cell with h above 0."""
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def images():
    return torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def randomized(network):
    """The network in evaluation mode with BatchNorm statistics that matter."""
    torch.manual_seed(1)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_(0, 0.1)
            layer.running_var.uniform_(0.5, 2)
            layer.weight.data.uniform_(0.5, 1.5)
            layer.bias.data.normal_(0, 0.1)
    return network.eval()


@pytest.fixture(scope="module")
def resnet():
    return randomized(torchvision.models.resnet18(num_classes=CLASSES))


def classifier(name="resnet18", **options):
    torch.manual_seed(2)
    return CAMClassifier(MultiScaleBackbone(name, **options), CLASSES).eval()


def converted(state, network):
    """The network with published weights, all of which it needs."""
    conversion = convert_published(state, network)
    assert conversion.complete, conversion.summary()
    network.load_state_dict(conversion.state, strict=False)
    return network.eval(), conversion


def body(resnet, images):
    """Outputs of the stem and of the four stages of torchvision's network."""
    stem = F.relu(resnet.bn1(resnet.conv1(images)))
    levels = [stem, resnet.layer1(resnet.maxpool(stem))]
    for name in ("layer2", "layer3", "layer4"):
        levels.append(getattr(resnet, name)(levels[-1]))
    return levels


def as_calm(resnet):
    """CALM's file: torchvision's names, 1x1 convolutions, those of several devices."""
    state = {k: v for k, v in resnet.state_dict().items() if not k.startswith("fc.")}
    generator = torch.Generator().manual_seed(3)
    state["conv_last.weight"] = resnet.fc.weight.detach()[:, :, None, None]
    state["conv_last.bias"] = resnet.fc.bias.detach()
    state["attention.0.weight"] = torch.randn(1, 512, 1, 1, generator=generator) * 0.1
    state["attention.0.bias"] = torch.ones(1)
    return state


def test_a_plain_classifier_gives_torchvisions_logits(resnet, images):
    network, conversion = converted(resnet.state_dict(), classifier())
    assert len(conversion.matched) == len(resnet.state_dict())
    assert conversion.matched["fc.weight"] == "fc.weight"
    assert not conversion.unexpected
    with torch.no_grad():
        torch.testing.assert_close(network(images), resnet(images))


@torch.no_grad()
def test_calm_gives_the_published_probabilities_and_map(resnet, images):
    state = as_calm(resnet)
    network, conversion = converted(state, CALM(classifier(), activation="relu"))
    assert conversion.matched["location_branch.weight"] == "attention.0.weight"
    features = body(resnet, images)[-1]
    g = F.conv2d(features, state["conv_last.weight"], state["conv_last.bias"]).softmax(1)
    h = F.conv2d(features, state["attention.0.weight"], state["attention.0.bias"]).relu()
    joint = g * h / h.sum(dim=(2, 3), keepdim=True)
    torch.testing.assert_close(network(images).exp(), joint.sum(dim=(2, 3)))
    torch.testing.assert_close(network.cams(network.features(images)), joint)


def test_calms_cam_is_a_linear_layer(resnet, images):
    network, conversion = converted(as_calm(resnet), classifier())
    assert conversion.unexpected == ["attention.0.weight", "attention.0.bias"]
    with torch.no_grad():
        torch.testing.assert_close(network(images), resnet(images))


class CASMDecoder(nn.Module):
    """Names and layers of CASM's published decoder."""

    def __init__(self, channels):
        super().__init__()
        for k, width in enumerate(channels, start=1):
            layers = [nn.Conv2d(width, 64, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU()]
            self.add_module(f"conv1x1_{k}", nn.Sequential(*layers))
        self.final = nn.Sequential(nn.Conv2d(64 * 5, 1, 3, padding=1), nn.Sigmoid())

    def forward(self, levels, size):
        first, *others = levels
        parts = [first]
        for k, level in enumerate(others, start=1):
            maps = getattr(self, f"conv1x1_{k}")(level)
            parts.append(F.interpolate(maps, first.shape[-2:], mode="bilinear"))
        return F.interpolate(self.final(torch.cat(parts, 1)), size, mode="nearest")[:, 0]


@torch.no_grad()
def test_casm_gives_the_published_mask(resnet, images, tmp_path):
    torch.manual_seed(4)
    decoder = randomized(CASMDecoder([64, 128, 256, 512]))
    content = {
        "epoch": 60,
        "state_dict_classifier": resnet.state_dict(),
        "state_dict_decoder": {f"module.{k}": v for k, v in decoder.state_dict().items()},
        "optimizer_decoder": {"state": {}, "param_groups": []},
        "args": argparse.Namespace(lr=0.001, name="L100"),
    }
    torch.save(content, tmp_path / "casm.chk")
    state = read_published([tmp_path / "casm.chk"])
    assert count_classes(state) == CLASSES
    network, conversion = converted(state, CASM(classifier(), interpolation="nearest"))
    assert not conversion.unexpected
    levels = body(resnet, images)
    expected = decoder([resnet.maxpool(levels[0]), *levels[1:]], images.shape[-2:])
    found = network(images)
    torch.testing.assert_close(found.saliency, expected)
    torch.testing.assert_close(found.logits, resnet(images))


class FCAMBlock(nn.Module):
    """Names and layers of a block of F-CAM's published decoder."""

    def __init__(self, inputs, width):
        super().__init__()
        for name, channels in (("conv1", inputs), ("conv2", width)):
            convolution = nn.Conv2d(channels, width, 3, padding=1, bias=False)
            self.add_module(name, nn.Sequential(convolution, nn.BatchNorm2d(width), nn.ReLU()))

    def forward(self, maps):
        return self.conv2(self.conv1(maps))


@pytest.mark.parametrize("unstrided", [0, 2])
@torch.no_grad()
def test_fcam_gives_the_published_map(resnet, images, tmp_path, unstrided):
    resnet = copy.deepcopy(resnet)
    for stage in ("layer4", "layer3")[:unstrided]:
        first = getattr(resnet, stage)[0]
        first.conv1.stride = first.downsample[0].stride = (1, 1)
    torch.manual_seed(5)
    widths, skips = [32, 16, 16, 8, 8], [256, 128, 64, 64, 0]
    inputs = [512, *widths[:-1]]
    blocks = nn.ModuleList(
        FCAMBlock(i + s, w) for i, s, w in zip(inputs, skips, widths, strict=True)
    )
    decoder, head = randomized(blocks), nn.Conv2d(8, 2, 3, padding=1)
    body_state = {k: v for k, v in resnet.state_dict().items() if not k.startswith("fc.")}
    parts = {
        "encoder": body_state,
        "classification_head": {f"fc.{k}": v for k, v in resnet.fc.state_dict().items()},
        "decoder": {f"blocks.{k}": v for k, v in decoder.state_dict().items()},
        "segmentation_head": {f"0.{k}": v for k, v in head.state_dict().items()},
    }
    for name, part in parts.items():
        torch.save(part, tmp_path / f"{name}.pt")
    state = read_published([tmp_path])
    network, conversion = converted(state, FCAM(classifier(unstrided_stages=unstrided), widths))
    assert not conversion.unexpected
    *levels, maps = body(resnet, images)
    for block, skip in zip(decoder, [*reversed(levels), None], strict=True):
        maps = F.interpolate(maps, scale_factor=2, mode="nearest")
        if skip is not None and skip.shape != maps.shape:
            maps = F.interpolate(maps, skip.shape[-2:], mode="bilinear", align_corners=True)
        maps = block(maps if skip is None else torch.cat([maps, skip], 1))
    maps = F.interpolate(head(maps), images.shape[-2:], mode="bilinear", align_corners=True)
    found = network(images)
    torch.testing.assert_close(found.scores, maps, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.logits, resnet(images))


@torch.no_grad()
def test_vgg16_is_found_with_and_without_its_fourth_pool(images):
    torch.manual_seed(6)
    features = list(vgg.make_layers(vgg.cfgs["D"]))[:-1]
    conv6, last = nn.Conv2d(512, 1024, 3, padding=1), nn.Conv2d(1024, CLASSES, 1)
    for layers in (features, [*features[:23], *features[24:]]):
        whole = nn.Sequential(*layers)
        state = {f"features.{k}": v for k, v in whole.state_dict().items()}
        state |= {f"conv6.{k}": v for k, v in conv6.state_dict().items()}
        state |= {f"conv_last.{k}": v for k, v in last.state_dict().items()}
        unstrided = int(len(layers) < len(features))
        options = {"out_indices": [1, 2, 4], "neck_channels": [1024]}
        network, conversion = converted(
            state, classifier("vgg16", unstrided_stages=unstrided, **options)
        )
        assert not conversion.unexpected
        expected = last(conv6(whole(images[:1])).relu()).mean(dim=(2, 3))
        torch.testing.assert_close(network(images[:1]), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "neck",
    [
        ("A3_1b.0", "A3_2b.0", ""),
        ("SPG_A3_1b.0", "SPG_A3_2b.0", ""),
        ("SPG_A3_1b.1", "SPG_A3_2b.1", "encoder."),
    ],
)
def test_inception_is_found_in_all_three_codes(neck):
    """CALM's, the WSOL benchmark's, and F-CAM's, which names each layer twice."""
    options = {"out_indices": [0, 1, 2, 3], "neck_channels": [1024, 1024], "same_padding": True}
    network = classifier("inception_v3", unstrided_stages=1, keep_neck_input=True, **options)
    first, second, prefix = neck
    names = {"backbone.neck.0": first, "backbone.neck.2": second, "fc": "SPG_A4"}
    state = {}
    for ours, weight in network.state_dict().items():
        name = ours.replace("backbone.network.", "").replace(".block.", ".")
        for old, new in names.items():
            name = name.replace(f"{old}.", f"{new}.")
        state[name if name.startswith("SPG_A4") else prefix + name] = weight
        if prefix:
            state[f"encoder.features.3.{name.rpartition('.')[0]}.conv.{name[-6:]}"] = weight
    conversion = convert_published(state, network)
    assert conversion.complete, conversion.summary()
    assert not conversion.unexpected
    for name, weight in network.state_dict().items():
        assert torch.equal(conversion.state[name], weight), name


def test_the_report_names_what_does_not_fit(resnet):
    state = resnet.state_dict()
    del state["layer1.0.bn1.weight"]
    state["layer2.0.conv1.weight"] = torch.zeros(3, 3)
    state["mystery.weight"] = torch.zeros(1)
    network = classifier()
    before = {name: weight.clone() for name, weight in network.state_dict().items()}
    conversion = convert_published(state, network)
    assert not conversion.complete
    assert conversion.missing == ["backbone.network.layer1.0.bn1.weight"]
    assert conversion.unexpected == ["mystery.weight"]
    name = "backbone.network.layer2.0.conv1.weight"
    assert conversion.mismatched == [(name, "layer2.0.conv1.weight", [3, 3], [128, 64, 3, 3])]
    assert conversion.summary() == (
        f"{len(state) - 2} weights matched; 1 missing (backbone.network.layer1.0.bn1.weight); "
        f"1 of another shape ({name} [3, 3] for [128, 64, 3, 3]); 1 left over (mystery.weight)"
    )
    torch.testing.assert_close(dict(network.state_dict()), before, rtol=0, atol=0)


def test_old_files_without_counters_of_batches_are_complete(resnet):
    state = {k: v for k, v in resnet.state_dict().items() if "num_batches" not in k}
    assert convert_published(state, classifier()).complete


@torch.no_grad()
def test_a_converted_file_is_a_run(resnet, images, tmp_path):
    file = tmp_path / "last_checkpoint.pth.tar"
    state = {f"module.{name}": weight for name, weight in as_calm(resnet).items()}
    torch.save({"architecture": "resnet18", "epoch": 40, "state_dict": state}, file)
    words = [f"published={file}", "model=calm", "model.network.activation=relu", "data=wsol"]
    words += ["backbone=resnet18", "backbone.unstrided_stages=0", "backbone.pretrained=true"]
    words += [f"data.root={tmp_path}", f"data.metadata={tmp_path}", f"output_dir={tmp_path}/run"]
    made = convert(compose_checked(words, "convert"))
    assert made.written == [
        tmp_path / "run" / "checkpoints" / "best.ckpt",
        tmp_path / "run" / "conversion.json",
    ]
    report = json.loads(made.written[1].read_text())
    assert report["matched"]["class_branch.bias"] == "conv_last.bias"
    checkpoint = read_checkpoint(tmp_path / "run", "best.ckpt")
    assert checkpoint.class_names == [str(label) for label in range(CLASSES)]
    module = load_module(checkpoint).eval()
    expected, _ = converted(as_calm(resnet), CALM(classifier(), activation="relu"))
    torch.testing.assert_close(module.explain(images, None).logits, expected(images))
    with pytest.raises(UserError, match=r"does not fit model=casm .* missing \(decoder"):
        convert(compose_checked([*words[:1], "model=casm", *words[3:]], "convert"))
    names = "data.class_names=[a,b]"
    with pytest.raises(UserError, match="knows 7 classes, but data=wsol has 2"):
        convert(compose_checked([*words, names], "convert"))


def test_files_that_are_no_weights_are_told(tmp_path):
    with pytest.raises(UserError, match=r"x\.pth: there is no such file"):
        read_published([tmp_path / "x.pth"])
    with pytest.raises(UserError, match="holds none of encoder, classification_head"):
        read_published([tmp_path])
    for content in ({"a": 1}, [torch.zeros(1)], {}, {1: torch.zeros(1)}):
        torch.save(content, tmp_path / "x.pth")
        with pytest.raises(UserError, match="holds no state dict"):
            read_published([tmp_path / "x.pth"])
