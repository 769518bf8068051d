"""Networks of one's own behind predict.py and evaluate.py: what they return, take and load."""

import sys
import types
import warnings

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from learned_saliency.pipeline.cli import UserError, compose_checked
from learned_saliency.pipeline.prediction.loading import build_model
from learned_saliency.pipeline.runs import read_checkpoint


class Small(nn.Module):
    """Two layers; `form` shapes what is returned, `size` is the only one that is taken."""

    def __init__(self, classes=3, channels=3, form=lambda logits: logits, image_size=None):
        super().__init__()
        torch.manual_seed(0)
        self.features = nn.Sequential(nn.Conv2d(channels, 4, 3, 2), nn.ReLU())
        self.head, self.form, self.image_size = nn.Linear(4, classes), form, image_size

    def forward(self, images):
        if self.image_size is not None and images.shape[-1] != self.image_size:
            raise AssertionError("a size of its own")
        return self.form(self.head(self.features(images).mean((2, 3))))


@pytest.fixture
def build(monkeypatch):
    """Builds the predictor of a network of one's own, without warnings."""

    def build(network, *words):
        module = types.ModuleType("mine_for_test")
        module.make = lambda **options: network(**options) if callable(network) else network
        monkeypatch.setitem(sys.modules, "mine_for_test", module)
        given = ["classifier=mine_for_test:make", "layer=features", "input.size=32", *words]
        config = compose_checked(given, "predict", complete=False)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*random weights|.*cannot be traced")
            return build_model(config)

    return build


def fails(**options):
    raise KeyError("abc")


@pytest.mark.parametrize(
    ("network", "told"),
    [
        (lambda: Small(form=lambda x: (x, x)), "classifier: the network returns a tuple of 2"),
        (lambda: Small(form=lambda x: {"a": x, "b": x}), "returns a dictionary of a, b"),
        (lambda: Small(form=lambda x: x[..., None, None].expand(-1, -1, 2, 2)), r"\(1, 3, 2, 2\)"),
        (
            lambda: Small(channels=1),
            r"images of 3 channels and 32 x 32.*have 1 channels.*input\.channels",
        ),
        (lambda: Small(image_size=64), r"a size of its own; it declares the size 64.*input\.size"),
        (fails, r"mine_for_test:make: 'abc' \(KeyError\)"),
        (lambda: "no network", "returns str, not an nn.Module"),
    ],
)
def test_what_a_network_does_not_do_is_one_sentence(build, network, told):
    with pytest.raises(UserError, match=told) as error:
        build(network)
    assert "\n" not in str(error.value)


def test_a_dictionary_with_logits_works(build):
    image = torch.rand(3, 32, 32)
    (packed,) = build(lambda: Small(form=lambda x: {"loss": None, "logits": x}))(image)
    (plain,) = build(Small)(image)
    assert packed.predicted == plain.predicted
    torch.testing.assert_close(packed.map, plain.map)


def constant(logit):
    network = Small(1)
    nn.init.zeros_(network.head.weight)
    nn.init.constant_(network.head.bias, logit)
    return network


@pytest.mark.parametrize("logit", [-1.0, 0.5])
def test_one_logit_is_a_sigmoid(build, logit, tmp_path):
    (tmp_path / "names").write_text("healthy\nill\n")
    model = build(lambda: constant(logit), f"class_names={tmp_path}/names")
    (found,) = model(torch.rand(3, 32, 32))
    p = float(torch.tensor(logit).sigmoid())
    shown = {score.name: score.probability for score in found.predicted}
    assert shown == pytest.approx({"healthy": 1 - p, "ill": p})
    assert found.predicted[0].name == ("ill" if logit > 0 else "healthy")


def test_three_names_for_one_logit_are_too_many(build, tmp_path):
    (tmp_path / "names").write_text("a\nb\nc\n")
    with pytest.raises(UserError, match=r"3 class names, but the classifier knows 2 classes"):
        build(lambda: constant(1.0), f"class_names={tmp_path}/names")


def test_layouts_of_layers_are_recognized_or_named(build):
    network = Small()
    mixing = nn.Flatten(), nn.Linear(3 * 32 * 32, 64), nn.Unflatten(1, (4, 4, 4))
    network.features = nn.Sequential(*mixing)
    with pytest.raises(UserError, match=r"layer=features: .*neither other.*layer_layout=\.\.\."):
        build(lambda: network)
    build(lambda: network, "layer_layout=channels_first")
    with pytest.raises(UserError, match=r"layer_layout=rows: .* one of channels_first"):
        build(lambda: network, "layer_layout=rows")


def test_wrapped_weights_load_with_a_report(build, tmp_path):
    weights = {f"module.{name}": weight + 1 for name, weight in Small().state_dict().items()}
    torch.save({"state_dict": weights, "epoch": 3}, tmp_path / "a.pth")
    with pytest.warns(UserWarning, match=r"the prefix 'module\.' was stripped; left out: epoch\."):
        model = build(Small, f"weights={tmp_path}/a.pth")
    loaded = model.module.classifier.model.head.bias
    torch.testing.assert_close(loaded, Small().head.bias + 1)
    with pytest.raises(UserError, match=r"a\.pth: for 3 classes, but the network has 5"):
        build(lambda: Small(5), f"weights={tmp_path}/a.pth")


def test_foreign_weights_in_a_checkpoint_s_place_are_told_where_they_go(tmp_path):
    save_file(Small().state_dict(), tmp_path / "a.safetensors")
    torch.save(Small().state_dict(), tmp_path / "a.pth")
    for name in ("a.safetensors", "a.pth"):
        with pytest.raises(UserError, match=rf"{name}: .*classifier= and weights="):
            read_checkpoint(tmp_path / name)
