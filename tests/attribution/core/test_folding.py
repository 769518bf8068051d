"""BatchNorm folded into convolutions: which pairs are found, and that nothing changes by it."""

import pytest
import timm
import torch
from torch import nn

from learned_saliency.attribution import (
    LIFTCAM,
    FoldingError,
    GradCAM,
    OptiCAM,
    ScoreCAM,
    VanillaGradient,
    fold_batchnorm,
    split,
    split_levels,
)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def images(count=3, size=16):
    return torch.randn(count, 3, size, size, dtype=torch.float64)


def trained(network):
    """Give the BatchNorms of a network statistics and weights that differ by channel."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            if module.running_mean is not None:
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2)
            if module.weight is not None:
                module.weight.data.uniform_(-1.5, 1.5)
                module.bias.data.normal_()
    return network.double().eval()


def classified(*layers, channels=4):
    """A classifier of these layers, which give so many channels; the explained layer is ``0``."""
    body = nn.Sequential(*layers)
    head = [nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 5)]
    return split(trained(nn.Sequential(body, *head)), "0")


def small(name):
    """A narrow network of timm."""
    options = {
        "resnet10t": {"channels": (8, 8, 16, 16)},
        "densenet121": {"growth_rate": 4, "block_config": (2, 2)},
    }
    return trained(timm.create_model(name, num_classes=5, **options.get(name, {})))


class Block(nn.Module):
    """A convolution and a BatchNorm, put together by a function of both and the images."""

    def __init__(self, forward, norm=None):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = norm or nn.BatchNorm2d(4)
        self.other = nn.BatchNorm2d(4)
        self.put_together = forward

    def forward(self, given):
        return self.put_together(self, given)


PAIRS = {
    "plain": [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)],
    "without bias": [nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4)],
    "without weights": [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, affine=False)],
    "grouped": [nn.Conv2d(3, 6, 3, groups=3), nn.BatchNorm2d(6), nn.Conv2d(6, 4, 1)],
    "looked at": [Block(lambda b, x: b.norm(y := b.conv(x)) * y.shape[1] + y.dim())],
    "used twice": [Block(lambda b, x: b.norm(b.conv(x)) + b.norm(b.conv(x.flip(3))))],
    "transposed": [nn.ConvTranspose2d(3, 4, 3, stride=2), nn.BatchNorm2d(4)],
    "transposed, grouped": [
        nn.Conv2d(3, 4, 1),
        nn.ReLU(),
        nn.ConvTranspose2d(4, 6, 3, groups=2, bias=False),
        nn.BatchNorm2d(6),
        nn.Conv2d(6, 4, 1),
    ],
    "reflected border": [
        nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"),
        nn.BatchNorm2d(4),
    ],
    "with activation": [
        nn.Conv2d(3, 4, 3, bias=False),
        timm.layers.BatchNormAct2d(4, act_layer=nn.SiLU),
    ],
    "with activation in place": [
        nn.Conv2d(3, 4, 3, bias=False),
        timm.layers.BatchNormAct2d(4, inplace=True),
        nn.Conv2d(4, 4, 1),
    ],
}


@pytest.mark.parametrize("layers", PAIRS.values(), ids=PAIRS)
def test_a_pair_becomes_one_convolution_of_the_same_result(layers):
    classifier = classified(*layers)
    for block in layers:
        block.other = nn.Identity()
    given, state = images(), {k: v.clone() for k, v in classifier.state_dict().items()}
    before = classifier.features(given), classifier(given)
    norms = sum(isinstance(m, nn.BatchNorm2d) for m in classifier.modules())
    with fold_batchnorm(classifier, given) as folded:
        assert folded.count == norms == 1
        assert not any(isinstance(m, nn.BatchNorm2d) for m in classifier.modules())
        after = classifier.features(given), classifier(given)
    torch.testing.assert_close(after, before, rtol=1e-12, atol=1e-12)
    assert classifier.state_dict().keys() == state.keys()
    torch.testing.assert_close(dict(classifier.state_dict()), state, rtol=0, atol=0)
    assert torch.equal(classifier(given), before[1])


class Activated(nn.BatchNorm2d):
    """A BatchNorm that does more than it says."""

    def forward(self, given):
        return super().forward(given).tanh()


class Standardized(nn.Conv2d):
    """A convolution whose weights are computed in each run."""

    def forward(self, given):
        return nn.functional.conv2d(given, self.weight / self.weight.norm(), self.bias)


UNFIT = {
    "read twice": Block(lambda b, x: b.norm(y := b.conv(x)) + y),
    "shape and values read": Block(lambda b, x: b.norm(y := b.conv(x)) * y.mean()),
    "two BatchNorms": Block(lambda b, x: b.norm(b.conv(x)) + b.other(b.conv(x.flip(3)))),
    "two convolutions": Block(lambda b, x: b.norm(b.conv(x)) + b.norm(x.repeat(1, 2, 1, 1)[:, :4])),
    "something between": Block(lambda b, x: b.norm(b.conv(x).relu())),
    "weights without their module": Block(
        lambda b, x: nn.functional.batch_norm(
            b.conv(x), b.norm.running_mean, b.norm.running_var, b.norm.weight, b.norm.bias
        )
    ),
    "by the batch": Block(
        lambda b, x: b.norm(b.conv(x)), nn.BatchNorm2d(4, track_running_stats=False)
    ),
    "an unknown activation": Block(lambda b, x: b.norm(b.conv(x)), Activated(4)),
}


@pytest.mark.parametrize("block", UNFIT.values(), ids=UNFIT)
def test_what_is_no_pair_is_refused_and_left(block):
    classifier, given = classified(block), images()
    before = classifier(given)
    with pytest.raises(FoldingError):
        fold_batchnorm(classifier, given)
    assert torch.equal(classifier(given), before)
    assert isinstance(block.norm, nn.BatchNorm2d)


def test_computed_shared_and_hooked_weights_are_left():
    computed = classified(Standardized(3, 4, 3), nn.BatchNorm2d(4))
    shared = nn.Conv2d(3, 3, 1)
    twin = nn.Conv2d(3, 3, 1)
    twin.weight = shared.weight
    tied = classified(shared, nn.BatchNorm2d(3), twin, nn.BatchNorm2d(3), channels=3)
    hooked = classified(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    hooked.model[0][0].register_forward_hook(lambda module, given, result: result + 1)
    for classifier in (computed, tied, hooked):
        with pytest.raises(FoldingError, match="no convolution's result goes into a BatchNorm"):
            fold_batchnorm(classifier, images())


def test_a_network_without_batchnorm_is_told():
    with pytest.raises(FoldingError, match="the network has no BatchNorm"):
        fold_batchnorm(classified(nn.Conv2d(3, 4, 3)), images())
    by_batch = classified(Block(lambda b, x: b.norm(b.conv(x)), UNFIT["by the batch"].norm))
    with pytest.raises(FoldingError, match="statistics that training has fixed"):
        fold_batchnorm(by_batch, images())


@pytest.mark.parametrize("tracing", [True, False])
def test_the_explained_layer_and_levels_stay_as_they_are(tracing):
    network, given = small("resnet10t"), images(size=32)
    for layer in ("layer3.0.conv2", "layer3.0.bn2", "layer3"):
        classifier = split(network, layer, tracing=tracing)
        before = classifier.features(given)
        with fold_batchnorm(classifier, given) as folded:
            total = sum(isinstance(m, nn.BatchNorm2d) for m in network.modules())
            assert total == (1 if layer.endswith("conv2") else 0)
            assert folded.count > 10
            torch.testing.assert_close(classifier.features(given), before, rtol=1e-9, atol=1e-9)


def test_levels_that_are_read_stay_as_they_are():
    given = images(size=32).float()
    leveled = split_levels(small("resnet10t").float(), "layer3", ["conv1.0", "layer1"])
    before = leveled.levels(given)
    with fold_batchnorm(leveled, given, [leveled.levels]) as folded:
        assert isinstance(leveled.model.conv1[1], nn.BatchNorm2d)
        assert folded.count > 10
        torch.testing.assert_close(leveled.levels(given), before, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "layer"),
    [("resnet10t", "layer4"), ("lcnet_035", "blocks"), ("densenet121", "features")],
)
def test_maps_by_gradients_and_rescale_rules_are_those_of_the_network(name, layer):
    classifier, given = split(small(name), layer), images(2, size=32)
    methods = [GradCAM(), LIFTCAM(), VanillaGradient()]
    methods += [ScoreCAM(), OptiCAM(iterations=3)] if name == "resnet10t" else []
    before = [method(classifier, given) for method in methods]
    with fold_batchnorm(classifier, given):
        after = [method(classifier, given) for method in methods]
    torch.testing.assert_close(after, before, rtol=1e-9, atol=1e-9)


def test_networks_with_further_inputs_and_without_halves_are_folded():
    network, given = classified(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).model, images(4)
    factors = torch.rand(4, dtype=torch.float64)

    def call(model, pixels, factor):
        return model(pixels) * factor[:, None]

    for classifier in (split(network, "0", call=call).bind(factor=factors), network):
        before = classifier(given)
        with fold_batchnorm(classifier, given) as folded:
            assert folded.count == 1
            torch.testing.assert_close(classifier(given), before, rtol=1e-12, atol=1e-12)


def test_a_fold_that_changes_numbers_is_undone(monkeypatch):
    classifier = classified(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    norm, weight = classifier.model[0][1], classifier.model[0][0].weight
    monkeypatch.setattr("learned_saliency.attribution.core.folding._ROUNDING", 0.0)
    with pytest.raises(FoldingError, match="gives other numbers, by"):
        fold_batchnorm(classifier.float(), images().float())
    assert classifier.model[0][1] is norm
    assert classifier.model[0][0].weight is weight


def test_modes_and_flags_stay_as_they_were():
    classifier = classified(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    classifier.train()
    classifier.model[0][0].weight.requires_grad_(False)
    with fold_batchnorm(classifier, images()):
        pass
    assert all(module.training for module in classifier.modules())
    flags = [weight.requires_grad for weight in classifier.parameters()]
    assert flags == [False] + [True] * (len(flags) - 1)


def test_a_network_is_whole_where_folding_fails_in_the_middle(monkeypatch):
    classifier = classified(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3)
    )
    before = [(name, id(tensor)) for name, tensor in classifier.named_parameters()]

    def fail(network):
        raise MemoryError

    monkeypatch.setattr("learned_saliency.attribution.core.folding._recut", fail)
    with pytest.raises(MemoryError):
        fold_batchnorm(classifier, images())
    assert [(name, id(tensor)) for name, tensor in classifier.named_parameters()] == before


def test_gradients_pass_a_network_that_was_folded_in_inference_mode():
    classifier = classified(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    given, targets = images(), torch.tensor([0, 1, 2])
    before = VanillaGradient()(classifier, given, targets)
    with torch.inference_mode():
        folded = fold_batchnorm(classifier, given.clone())
    after = VanillaGradient()(classifier, given, targets)
    assert folded.count == 1
    torch.testing.assert_close(after, before)
