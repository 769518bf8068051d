"""The graph of an export, before it is written in a format."""

import pytest
import torch

from learned_saliency.models import CAMClassifier, MultiScaleBackbone
from learned_saliency.pipeline.cli import UserError
from learned_saliency.pipeline.export.formats.onnx import write_onnx
from learned_saliency.pipeline.export.graph import ExportedModel, trace
from learned_saliency.trainers import CAMModule
from tests.support.networks import SGD


@pytest.fixture
def hiera():
    options = {"embed_dim": 8, "num_heads": 1, "stages": (1,) * 4, "img_size": 64}
    backbone = MultiScaleBackbone("hiera_tiny_224", **options)
    return CAMModule(network=CAMClassifier(backbone, 3), optimizer=SGD)


def test_attention_in_five_dimensions_is_written_step_by_step(hiera):
    """ONNX has an operator for four dimensions alone; the module is left as it was found."""
    program = trace(ExportedModel(hiera, "predicted"), 64)
    operators = {str(node.target) for node in program.graph.nodes}
    assert not any("scaled_dot_product_attention" in name for name in operators)
    assert any("softmax" in name for name in operators)
    flags = {m.fused_attn for m in hiera.modules() if hasattr(m, "fused_attn")}
    assert flags == {True}


def test_what_onnx_cannot_express_is_told_in_one_sentence(hiera, tmp_path, monkeypatch):
    pytest.importorskip("onnx")

    def refuse(*_args, **_options):
        raise torch.onnx.OnnxExporterError("Failed to convert.\nNext steps:") from ValueError("5D")

    program = trace(ExportedModel(hiera, "predicted"), 64)
    monkeypatch.setattr(torch.onnx, "export", refuse)
    with pytest.raises(UserError, match=r"format=pt2 may serve\. The reason given: 5D") as caught:
        write_onnx(program, tmp_path / "model.onnx")
    assert "\n" not in str(caught.value)
