"""OpenVINO's files give what the graph gives, in batches of any size."""

import json
import sys

import pytest
import torch

from learned_saliency.models import CAMClassifier
from learned_saliency.pipeline.cli.errors import UserError
from learned_saliency.pipeline.export.formats import FORMATS
from learned_saliency.pipeline.export.graph import ExportedModel, trace
from learned_saliency.trainers import CAMModule
from tests.support.networks import SGD, TinyBackbone


class Config:
    format = "openvino"


class Source:
    def __init__(self, model, size):
        self.model, self.size = model, size

    def program(self):
        return trace(self.model, self.size)


def test_openvino_equals_the_graph_in_batches_of_1_and_5(tmp_path):
    pytest.importorskip("openvino")
    torch.manual_seed(0)
    network = CAMClassifier(TinyBackbone((16, 32)), 3)
    model = ExportedModel(CAMModule(network=network, optimizer=SGD), "label")
    written = FORMATS["openvino"]
    facts = written.write(Source(model, 32), Config, tmp_path / "cam.xml")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cam.bin", "cam.xml"]
    assert json.loads(json.dumps(facts)) == {"weights": "cam.bin"}
    weights = sum(p.numel() for p in network.parameters())
    assert (tmp_path / "cam.bin").stat().st_size > 3.9 * weights  # none in half precision
    run = written.load(tmp_path / "cam.xml", Config)
    for size in (1, 5):
        images = torch.rand(size, 3, 32, 32)
        labels = torch.arange(size) % 3
        found = run(images, labels)
        with torch.no_grad():
            for name, value in model(images, labels).items():
                torch.testing.assert_close(found[name], value, rtol=0, atol=1e-5)


def test_a_missing_package_is_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(
        UserError, match=r"needs the package openvino: pip install -e '\.\[openvino"
    ):
        FORMATS["openvino"].check(Config)
