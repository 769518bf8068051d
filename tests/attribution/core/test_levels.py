"""Feature maps of several scales of networks that know nothing of this project."""

import copy

import pytest
import torch
import torchvision
from torch import nn

from learned_saliency.attribution import (
    GradCAM,
    LayerError,
    SharedFeatures,
    described_levels,
    split_levels,
)
from learned_saliency.models import (
    FeatureCache,
    MultiScaleClassifier,
    feature_key,
    is_frozen,
)

TV = torchvision.models
IMAGES = torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))


class Plain(nn.Module):
    """A network that torch.fx cannot trace, with an in-place ReLU and a module that runs twice."""

    def __init__(self, traceable=True):
        super().__init__()
        self.traceable = traceable
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.act = nn.ReLU(inplace=True)
        self.pool = nn.MaxPool2d(2)
        self.middle = nn.Conv2d(4, 6, 3, padding=1)
        self.last = nn.Conv2d(6, 8, 3, padding=1)
        self.fc = nn.Linear(8, 5)

    def forward(self, x):
        if not self.traceable and x.sum() > 1e9:
            return None
        x = self.act(self.stem(x))
        x = self.pool(self.middle(self.pool(x)))
        return {"logits": self.fc(self.last(x).mean((2, 3)))}


class Skipping(Plain):
    """Its head reads more than the layer's output."""

    def forward(self, x):
        x = self.middle(self.pool(self.act(self.stem(x))))
        return self.fc(self.last(x).mean((2, 3))) + x.mean((1, 2, 3))[:, None]


def vit():
    return TV.VisionTransformer(64, 16, 4, 2, 12, 24, num_classes=5)


def swin():
    return TV.SwinTransformer([4, 4], 12, [1, 1], [1, 2], [4, 4], num_classes=5)


NETWORKS = {
    "squeezenet": (lambda: TV.squeezenet1_1(num_classes=5), "features",
                   ["features.1", "features.4", "features.7"], [2, 4, 9, 21], [31, 15, 7]),
    "resnet": (lambda: TV.resnet18(num_classes=5), "layer4",
               ["relu", "layer1", "layer2", "layer3"], None, [32, 16, 8, 4]),
    "swin, channels last": (swin, "features", ["features.1"], [4, 8], [16]),
    "vision transformer": (vit, "encoder.layers.encoder_layer_3.ln_1",
                           [f"encoder.layers.encoder_layer_{i}" for i in range(3)],
                           [16] * 4, [4, 4, 4]),
    "not traceable": (lambda: Plain(traceable=False), "last",
                      ["act", "middle"], [1, 2, 4], [64, 32]),
}  # fmt: skip


def made(name, **options):
    build, layer, *_ = NETWORKS[name]
    torch.manual_seed(0)
    return split_levels(build(), layer, size=(64, 64), **options)


@pytest.mark.filterwarnings("ignore:Plain cannot be traced")
@pytest.mark.parametrize("name", NETWORKS)
def test_levels_are_what_the_layers_give_in_one_pass(name):
    _, layer, names, reductions, sizes = NETWORKS[name]
    classifier = made(name)
    assert isinstance(classifier, MultiScaleClassifier)
    found = [each for each, *_ in classifier.description["levels"]]
    assert found == names
    kept, passes = {}, []
    handles = [
        classifier.model.get_submodule(each).register_forward_hook(
            lambda module, inputs, output, each=each: kept.update({each: output.clone()})
        )
        for each in [*names, layer]
    ]
    with torch.no_grad():
        whole = classifier(IMAGES)
        for handle in handles:
            handle.remove()
        first = classifier.model.get_submodule(names[0])
        first.register_forward_hook(lambda *_: passes.append(1))
        levels = classifier.levels(IMAGES)
        assert torch.equal(classifier.head(levels[-1]), whole)
    assert len(passes) == 1
    for each, level in zip([*names, layer], levels, strict=True):
        if each.startswith("encoder"):
            expected = kept[each][:, 1:].transpose(1, 2).unflatten(2, (4, 4))
        else:
            expected = kept[each].permute(0, 3, 1, 2) if "swin" in name else kept[each]
        assert torch.equal(level, expected)
    assert [level.shape[1] for level in levels] == classifier.backbone.channels
    assert [level.shape[-1] for level in levels][:-1] == sizes
    assert reductions in (None, classifier.backbone.reductions)
    hooks = [hook for module in classifier.modules() for hook in module._forward_hooks]
    assert len(hooks) == 1  # the test's own


@pytest.mark.filterwarnings("ignore:Plain cannot be traced")
@pytest.mark.parametrize("name", NETWORKS)
def test_a_description_makes_the_same_classifier_again_without_a_pass(name):
    classifier = made(name)
    build = NETWORKS[name][0]
    with torch.device("meta"):
        laid_out = described_levels(build(), classifier.description, classifier.num_classes)
    wanted = {key: value.shape for key, value in classifier.state_dict().items()}
    assert {key: value.shape for key, value in laid_out.state_dict().items()} == wanted
    again = described_levels(build(), classifier.description, classifier.num_classes)
    again.load_state_dict(classifier.state_dict())
    with torch.no_grad():
        for one, other in zip(classifier.levels(IMAGES), again.levels(IMAGES), strict=True):
            assert torch.equal(one, other)
    assert again.description == classifier.description


def test_the_network_is_frozen_and_copies_are_independent():
    network = Plain()
    before = copy.deepcopy(network.state_dict())
    classifier = split_levels(network.train(), "last", size=(64, 64))
    classifier.train()
    assert not any(module.training for module in classifier.modules())
    assert not any(weight.requires_grad for weight in classifier.parameters())
    other = copy.deepcopy(classifier)
    other.model.stem.weight.data.zero_()
    levels, zeroed = classifier.levels(IMAGES), other.levels(IMAGES)
    assert not torch.equal(levels[0], zeroed[0])
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())


@pytest.mark.parametrize("tracing", [None, False])
def test_post_hoc_methods_take_the_features_of_the_pass_that_gave_the_levels(tracing):
    torch.manual_seed(0)
    classifier = split_levels(Skipping(), "last", size=(64, 64), tracing=tracing)
    levels = classifier.levels(IMAGES)
    assert not classifier.pure
    shared = SharedFeatures(classifier, IMAGES, levels[-1])
    classifier.levels(IMAGES.flip(0))  # another batch meanwhile
    torch.testing.assert_close(GradCAM()(shared, IMAGES), GradCAM()(classifier, IMAGES))
    with torch.no_grad():
        torch.testing.assert_close(shared(IMAGES), classifier(IMAGES))


def test_levels_may_be_named():
    classifier = split_levels(TV.resnet18(), "layer3", ["relu", "layer1.0"], size=(64, 64))
    assert classifier.backbone.channels == [64, 64, 256]
    assert classifier.backbone.reductions == [2, 4, 16]
    alone = split_levels(Plain(), "last", [], size=(64, 64))
    assert [level.shape[1] for level in alone.levels(IMAGES)] == [8]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["nowhere"], "there is no layer 'nowhere'"),
        (["stem"], "overwritten in place"),
        (["fc"], "before 'last' has its output"),
        (["pool"], "does not run once"),
        (["last"], "before 'last' has its output"),
    ],
)
def test_levels_that_cannot_be_are_refused(names, message):
    with pytest.raises(LayerError, match=message):
        split_levels(Plain(), "last", names, size=(64, 64))


def test_levels_are_named_from_fine_to_coarse():
    with pytest.raises(LayerError, match="from fine to coarse"):
        split_levels(TV.resnet18(), "layer4", ["layer2", "layer1"], size=(64, 64))


@pytest.mark.parametrize(
    "change",
    [{"layout": ["sideways", None]}, {"levels": [["nowhere", "tokens", 0]]}, {"channels": [1]}],
)
def test_a_damaged_description_is_refused(change):
    description = split_levels(Plain(), "last", size=(64, 64)).description | change
    with pytest.raises(ValueError, match=r"no layout|no layer|expected channels"):
        described_levels(Plain(), description, 5)


def test_levels_are_kept_where_the_head_reads_nothing_else(tmp_path):
    classifiers = [split_levels(net, "last", size=(64, 64)) for net in (Plain(), Plain())]
    keys = [feature_key(classifier.backbone, "") for classifier in classifiers]
    assert keys[0] != keys[1]  # other weights
    assert is_frozen(classifiers[0].backbone)
    with torch.no_grad():
        expected = classifiers[0](IMAGES)
        for _ in range(2):
            cache = FeatureCache(tmp_path, keys[0])
            cache.attach(classifiers[0].backbone)
            cache.expect(IMAGES)
            levels = classifiers[0].levels(IMAGES)
            assert torch.equal(classifiers[0].head(levels[-1]), expected)
            cache.detach()
    assert cache.hits == len(IMAGES)
    assert not is_frozen(split_levels(Skipping(), "last", size=(64, 64)).backbone)
