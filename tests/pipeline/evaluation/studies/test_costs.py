"""Costs: operations and memory against numbers worked out by hand."""

import csv

import pytest
import torch
from torch import nn

from learned_saliency.attribution import FakeCAM, GradCAM, OptiCAM
from learned_saliency.metrics import Figure
from learned_saliency.pipeline.evaluation.studies import Costs
from learned_saliency.pipeline.evaluation.studies import costs as costs_module
from learned_saliency.pipeline.evaluation.studies.costs import cost_of
from learned_saliency.pipeline.evaluation.studies.measuring import CountFlops, TensorMemory
from learned_saliency.pipeline.reports import table_rows
from tests.support.studies import Setting, small_batch, small_module

KIB = 1024  # bytes of 256 float32 numbers


def measured(run):
    with TensorMemory() as memory:
        run()
    return memory.peak / KIB


def test_memory_counts_what_is_alive_at_a_time():
    given = torch.zeros(256)

    def chain():
        x = given + 1
        for _ in range(5):
            x = x * 2  # the new one beside the old one
        return x

    assert measured(chain) == 2
    assert measured(lambda: [given + i for i in range(5)]) == 5
    assert measured(lambda: given.view(16, 16).t()) == 0  # views of what was there
    assert measured(lambda: (given + 1).view(16, 16).t()) == 1
    assert measured(lambda: given.add_(1)) == 0
    assert measured(lambda: (given + 1).add_(1).mul_(2)) == 1


def test_memory_counts_what_autograd_keeps():
    weight = torch.ones(256, requires_grad=True)

    def run():
        x = weight
        for _ in range(4):
            x = x.exp()  # keeps its result
        return x

    assert measured(run) == 4
    with torch.no_grad():
        assert measured(run) == 2


def test_operations_are_those_of_products_backward_included():
    layer, images = nn.Linear(20, 30), torch.zeros(4, 20, requires_grad=True)
    with CountFlops() as flops:
        layer(images)
    assert flops.total == 2 * 4 * 20 * 30
    with CountFlops() as flops:
        torch.autograd.grad(layer(images).sum(), images)
    assert flops.total == 2 * 2 * 4 * 20 * 30
    found = cost_of(lambda: layer(images), torch.device("cpu"), repeats=2)
    assert found.flops == 2 * 4 * 20 * 30
    assert 0 < found.seconds < 10


@torch.no_grad()
def test_costs_of_methods_are_told_in_their_units(tmp_path, monkeypatch):
    methods = {"fakecam": FakeCAM(), "gradcam": GradCAM(), "opticam": OptiCAM(iterations=5)}
    module, batch = small_module(methods), small_batch()
    monkeypatch.setattr(costs_module, "spread", lambda loader, count: batch)
    setting = Setting(module, batch)
    setting.data = type("Data", (), {"dataloader": lambda self, split: None})()
    found = Costs(images=6, repeats=1).run(setting)
    forwards = {name: values["forwards"] for name, values in found.results.items()}
    assert forwards["fakecam"] == 0
    assert 1 < forwards["gradcam"] < 1.2  # the head is a linear layer
    assert 6 < forwards["opticam"] < 16  # one for the features, five forward and backward
    memory = {name: values["peak_memory_mib"] for name, values in found.results.items()}
    features = 6 * 6 * 16 * 16 * 4 / 2**20  # those of the first convolution, beside their ReLU
    assert 2 * features <= memory["gradcam"] < 3 * features
    assert memory["fakecam"] < memory["gradcam"] < memory["opticam"]
    assert all(figure.higher_is_better is None for figure in found.figures.values())
    heads, *rows = table_rows(found.results, found.figures)
    assert heads[1:] == ["time, s", "cost, forwards", "memory, MiB"]
    assert float(rows[1][2]) == pytest.approx(forwards["gradcam"], rel=1e-3)
    found.files["costs.csv"](tmp_path / "costs.csv")
    with (tmp_path / "costs.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["method"] for row in rows] == list(methods)
    assert rows[0]["images"] == "6"
    assert "threads" in rows[0]["device"]


def test_figures_without_a_unit_are_shown_in_percent():
    assert Figure(True).shown(0.5) == "50.0"
    assert Figure(True, short="AD").head("average_drop") == "AD"
    assert Figure(None, unit="s").head("time") == "time, s"
    assert Figure(None, unit="s").shown(0.0123) == "0.0123"


def test_numbers_out_of_range_are_refused():
    for options in ({"images": 0}, {"repeats": 0}):
        with pytest.raises(ValueError, match="at least 1"):
            Costs(**options)
