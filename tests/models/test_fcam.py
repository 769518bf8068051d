import copy
import sys

import pytest
import torch
import yaml
from torch import nn
from torch.nn import functional

from learned_saliency.models import FCAM, CAMClassifier, MultiScaleBackbone
from tests.support.paths import CONFIGS

DEEP = [256, 128, 64, 32, 16]
NECK = {"channels": [8] * 4, "neck_channels": [9], "keep_neck_input": True}
SMALL_CONVNEXT = {"dims": (8,) * 4, "depths": (1,) * 4}
SMALL_VGG = {"mlp_ratio": 0.01}  # spares the random numbers of a classifier that is cut off


def images(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(name="model")
def make_model():
    torch.manual_seed(5)
    backbone = MultiScaleBackbone(
        "resnet10t", unstrided_stages=1, channels=[8, 8, 16, 24], stem_width=8
    )
    return FCAM(CAMClassifier(backbone, num_classes=4), widths=(8, 8, 8, 4, 4))


def step(model, batch):
    """One step of the decoder on a partial cross-entropy of two pixels an image."""
    model.train()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    targets = torch.full((len(batch), *batch.shape[-2:]), -1)
    targets[:, 5, 7], targets[:, -3, 2] = 1, 0
    loss = functional.cross_entropy(model(batch).scores, targets, ignore_index=-1)
    loss.backward()
    optimizer.step()
    return loss


def test_one_pass_gives_what_classifier_and_decoder_give_alone(model):
    model.eval()
    batch = images(2, 3, 64, 64)
    output = model(batch)
    levels = model.classifier.levels(batch)
    torch.testing.assert_close(output.logits, model.classifier(batch))
    torch.testing.assert_close(output.features, levels[-1])
    torch.testing.assert_close(output.scores, model.decoder(levels, (64, 64)))


def test_the_backbone_runs_once(model):
    calls = []
    model.classifier.backbone.register_forward_hook(lambda *_: calls.append(1))
    model(images(2, 3, 64, 64))
    assert len(calls) == 1


def test_a_training_step_changes_the_decoder_and_nothing_of_the_classifier(model):
    before = copy.deepcopy(model.state_dict())
    loss = step(model, images(2, 3, 64, 64))
    assert loss.isfinite()
    for name, value in model.state_dict().items():
        if name.startswith("classifier."):  # parameters and batch statistics
            torch.testing.assert_close(value, before[name], rtol=0, atol=0)
    for name, parameter in model.decoder.named_parameters():
        assert parameter.grad is not None
        assert not torch.equal(parameter, before[f"decoder.{name}"]), name
    assert all(parameter.grad is None for parameter in model.classifier.parameters())


def test_the_classifier_is_frozen_in_every_mode(model):
    assert not any(module.training for module in model.classifier.modules())
    model.train()
    assert not any(module.training for module in model.classifier.modules())
    assert all(module.training for module in model.decoder.modules())
    model.eval()
    assert not any(module.training for module in model.modules())
    assert not any(parameter.requires_grad for parameter in model.classifier.parameters())
    assert all(parameter.requires_grad for parameter in model.decoder.parameters())


def test_only_the_scores_carry_a_gradient(model):
    output = model.train()(images(2, 3, 64, 64))
    assert not output.logits.requires_grad
    assert not output.features.requires_grad
    assert output.scores.requires_grad


@pytest.mark.parametrize("size", [(97, 83), (64, 65)])
def test_odd_sizes_and_a_batch_of_one_train_without_nan(model, size):
    batch = images(1, 3, *size)
    assert step(model, batch).isfinite()
    output = model(batch)
    assert output.scores.shape == (1, 2, *size)
    assert output.scores.isfinite().all()


def test_constant_images_and_double_precision_give_finite_maps(model):
    model = model.double().train()
    output = model(torch.zeros(1, 3, 64, 64, dtype=torch.float64))
    assert output.scores.dtype == torch.float64
    assert output.scores.isfinite().all()


def test_one_images_map_does_not_depend_on_its_batch_mates(model):
    model.eval()
    batch = images(3, 3, 64, 64)
    torch.testing.assert_close(model(batch).scores[1:2], model(batch[1:2]).scores)


def test_foreground_is_the_second_channel_of_the_softmax():
    scores = torch.tensor([[0.0, 2.0], [1.0, -1000.0]]).T.reshape(1, 2, 1, 2)
    # channel 0: 0 and 1, channel 1: 2 and -1000 at the two pixels
    expected = torch.tensor([[[1 / (1 + torch.e**-2), 0.0]]])
    torch.testing.assert_close(FCAM.foreground(scores), expected)
    with pytest.raises(ValueError, match=r"\(B, 2, H, W\), got \(1, 1, 2\)"):
        FCAM.foreground(scores[:, 0])


@pytest.mark.parametrize(
    ("name", "options", "widths"),
    [
        ("resnet18", {"unstrided_stages": 2, "channels": [8] * 4}, [256, 128, 64, 32, 16]),
        ("vgg11", {"out_indices": [1, 2, 4], "unstrided_stages": 1} | SMALL_VGG, [256, 128, 64]),
        ("vgg11", SMALL_VGG, [256, 128, 64, 32, 16]),  # the finest level is as big as the image
        ("convnext_atto", SMALL_CONVNEXT, [256, 128, 64, 32, 16]),  # finest level at 1/4
        ("resnet10t", NECK, [256, 128, 64, 32, 16, 16]),
    ],
)
def test_default_widths_reach_the_image(name, options, widths):
    with torch.no_grad():
        model = FCAM(CAMClassifier(MultiScaleBackbone(name, **options), 2)).eval()
        output = model(images(1, 3, 64, 64))
    assert [layer[0].out_channels for layer in model.decoder.layers] == widths
    assert output.scores.shape == (1, 2, 64, 64)


@pytest.mark.parametrize("widths", [(8, 8, 8), (8,) * 6, ()])
def test_widths_that_do_not_fit_the_levels_are_refused(model, widths):
    with pytest.raises(ValueError, match="take 4 to 5 decoder widths"):
        FCAM(model.classifier, widths=widths)


@pytest.mark.parametrize(
    ("config", "channels", "widths", "sizes", "millions"),
    [
        ("resnet50", [64, 256, 512, 1024, 2048], DEEP, [112, 56, 28, 28, 28], 23.9),
        ("vgg16", [128, 256, 1024], DEEP[:3], [112, 56, 28], 19.6),
        # 192 where Tab. F.2 has 80, see the config
        ("inception_v3", [64, 192, 288, 768, 1024], DEEP, [112, 56, 28, 28, 28], 25.6),
    ],
)
def test_the_papers_networks_train_at_224(monkeypatch, config, channels, widths, sizes, millions):
    # Truncated random numbers take Inception seconds that plain ones do not.
    module = sys.modules["timm.models.inception_v3"]
    monkeypatch.setattr(module, "trunc_normal_", nn.init.normal_)
    options = yaml.safe_load((CONFIGS / "backbone" / f"{config}.yaml").read_text())
    options["in_chans"] = 3  # which refers to the data set
    assert (options.pop("_target_"), options.pop("_convert_")) == (
        "learned_saliency.models.MultiScaleBackbone",
        "all",
    )
    if config == "vgg16":
        options |= SMALL_VGG
    classifier = CAMClassifier(MultiScaleBackbone(**options), num_classes=200)
    parameters = sum(parameter.numel() for parameter in classifier.parameters())
    assert parameters / 1e6 == pytest.approx(millions, abs=0.1)  # #PCL of Tab. F.4
    dilations = {m.dilation for m in classifier.modules() if isinstance(m, nn.Conv2d)}
    assert dilations == {(1, 1)}

    model = FCAM(classifier)
    seen = []
    model.decoder.register_forward_pre_hook(lambda _, inputs: seen.extend(inputs[0]))
    assert step(model, images(1, 3, 224, 224)).isfinite()
    assert [layer[0].out_channels for layer in model.decoder.layers] == widths  # Tab. F.2
    assert [tuple(level.shape[1:]) for level in seen] == [
        (width, size, size) for width, size in zip(channels, sizes, strict=True)
    ]
    assert classifier.backbone.channels == channels
    assert classifier.backbone.reductions == [224 // size for size in sizes]
    assert all(parameter.grad is not None for parameter in model.decoder.parameters())
