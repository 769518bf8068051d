"""Randomized networks: which layers become random, and how similar the maps then are."""

import csv

import pytest
import torch
from torch import nn

from learned_saliency.attribution import FakeCAM, GradCAM, VanillaGradient
from learned_saliency.metrics import MapSimilarity
from learned_saliency.pipeline.cli.errors import UserError
from learned_saliency.pipeline.evaluation.studies import Randomization
from learned_saliency.pipeline.evaluation.studies.random_layers import (
    in_groups,
    layers_in_order,
    random_state,
    random_steps,
    replaced,
)
from tests.support.studies import Setting, rows_of, small_batch, small_module, small_network, states


class Data:
    """Data module with one image."""

    def __init__(self, side=16):
        self.images = small_batch(1)["image"][..., :side, :side]

    def dataloader(self, split):
        data = type("Set", (), {"__getitems__": lambda _, rows: {"image": self.images}})
        return type("Loader", (), {"dataset": data()})


def prepared(module, **options):
    study = Randomization(**options)
    study.check(Setting(module).config)
    study.check_module(module)
    study.check_data(Data())
    return study


class Odd(nn.Module):
    """Layers that are named against the order in which they run, attention, and a token."""

    def __init__(self):
        super().__init__()
        self.token = nn.Parameter(torch.tensor([1.0, 3.0, 5.0]))
        self.last = nn.Linear(4, 2)
        self.norm = nn.BatchNorm1d(4)
        self.attention = nn.MultiheadAttention(4, 1, batch_first=True)
        self.first = nn.Linear(3, 4)
        self.unused = nn.ReLU()

    def forward(self, images):
        tokens = self.first((images + self.token[:, None, None]).flatten(2).transpose(1, 2))
        return self.last(self.norm(self.attention(tokens, tokens, tokens)[0].mean(1)))


def test_layers_are_ordered_by_their_runs_and_drawn_by_the_seed():
    network = Odd().eval()
    order = layers_in_order(network, torch.randn(2, 3, 4, 4))
    assert order == ["last", "norm", "attention.out_proj", "attention", "first", ""]
    before = {name: value.clone() for name, value in network.state_dict().items()}
    state = random_state(network, order, seed=3)
    assert state.keys() == before.keys()
    again = random_state(network, order, seed=3)
    other = random_state(network, order, seed=4)
    for name, value in state.items():
        torch.testing.assert_close(value, again[name], rtol=0, atol=0)
    assert not torch.equal(state["last.weight"], other["last.weight"])
    assert not torch.equal(state["token"], before["token"])
    torch.manual_seed(3)
    torch.testing.assert_close(state["last.weight"], nn.Linear(4, 2).weight, rtol=0, atol=0)
    for name, value in network.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)


def test_groups_go_from_the_last_layer_down():
    assert in_groups(list("fedcba"), 3) == [["f"], ["e", "d"], ["c", "b", "a"]]
    assert in_groups(list("ba"), 6) == [["b"], ["a"]]
    assert in_groups(list("cba"), 1) == [["c", "b", "a"]]
    steps = random_steps([["c"], ["b", "a"]], independent=True)
    assert [step.layers for step in steps] == [["c"], ["c", "b", "a"], ["c"], ["b", "a"]]
    assert [step.name for step in steps][1:3] == ["cascading/a", "independent/c"]


def test_weights_are_put_back_whatever_happens():
    network = small_network()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    state = random_state(network, ["6"], 0)

    def stopped():
        with replaced(network, state):
            assert torch.equal(network[6].weight, state["6.weight"])
            assert torch.equal(network[0].weight, before["0.weight"])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    for name, value in network.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)


@torch.no_grad()
def test_similarities_are_those_of_maps_of_networks_with_random_layers(tmp_path):
    methods = {"gradcam": GradCAM(), "gradient": VanillaGradient()}
    module, batch = small_module(methods), small_batch()
    found = prepared(module, seed=5).run(
        Setting(module, rows_of(batch, 0, 1), rows_of(batch, 2, 3, 4, 5))
    )
    state = random_state(module.classifier.model, ["6", "2", "0"], 5)
    trained = {n: m(module.classifier, batch["image"], batch["label"]) for n, m in methods.items()}
    expected = {}
    for step, layers in {
        ("cascading", "6"): "6",
        ("cascading", "2"): "62",
        ("cascading", "0"): "620",
        ("independent", "6"): "6",
        ("independent", "2"): "2",
        ("independent", "0"): "0",
    }.items():
        other = small_module(methods)
        other.classifier.model.load_state_dict(
            {
                k: state[k] if k[0] in layers else v
                for k, v in other.classifier.model.state_dict().items()
            }
        )
        for name, method in methods.items():
            maps = method(other.classifier, batch["image"], batch["label"])
            metric = MapSimilarity()
            metric.update(trained[name], maps)
            expected[name, *step] = {k: float(v) for k, v in metric.compute().items()}
    for name in methods:
        last = expected[name, "cascading", "0"]
        for key in ("rank_correlation", "ssim", "hog", "flat"):
            assert found.results[name][f"randomized_{key}"] == pytest.approx(last[key], abs=1e-3)
    for name, write in found.files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        write(path)
    with (tmp_path / "randomization.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 12
    for row in rows:
        values = expected[row["method"], row["randomized"], row["lowest"]]
        assert float(row["ssim"]) == pytest.approx(values["ssim"], abs=1e-5)
        rank = values["rank_correlation"]  # scaling a map rounds, which makes some ties
        assert float(row["rank_correlation"]) == pytest.approx(rank, abs=1e-3)
    assert [row["layers"] for row in rows[:6]] == ["1", "2", "3", "1", "1", "1"]


@torch.no_grad()
def test_named_blocks_controls_and_shares():
    module, batch = small_module({"fakecam": FakeCAM(), "gradcam": GradCAM()}), small_batch()
    module.methods["flat"] = lambda classifier, images, targets: torch.zeros_like(images[:, 0])
    options = {"layers": ["6", "0"], "independent": False}
    whole = Setting(module, batch)
    found = prepared(module, **options).run(whole).results
    assert found["fakecam"]["randomized_ssim"] == pytest.approx(1)  # it looks at no network
    assert found["flat"]["randomized_flat"] == 1
    assert found["flat"]["randomized_ssim"] != found["flat"]["randomized_ssim"]  # NaN
    assert set(whole.scores["gradcam"]) == {"cascading/6", "cascading/0"}
    shares = [Setting(module, rows_of(batch, 0, 3)), Setting(module, rows_of(batch, 1, 2, 4, 5))]
    for setting in shares:
        prepared(module, **options).run(setting)
    first, second = (states(share.scores) for share in shares)
    for name, value in states(whole.scores).items():
        torch.testing.assert_close(
            first[name] + second[name], value, msg=name, rtol=1e-4, atol=1e-4
        )


def test_what_does_not_fit_is_told_before_any_work():
    module = small_module({"gradcam": GradCAM()})
    study = Randomization(layers=["6", "1"])  # a ReLU
    with pytest.raises(UserError, match="no layer with weights is named 1"):
        study.check_module(module)
    with pytest.raises(UserError, match="lies within another"):
        Randomization(layers=["6", "6"]).check_module(module)
    study = Randomization()
    study.check_module(module)
    with pytest.raises(UserError, match="at least 11 pixels"):
        study.check_data(Data(side=8))
    for options in ({"steps": 0}, {"layers": []}):
        with pytest.raises(ValueError, match="at least"):
            Randomization(**options)
