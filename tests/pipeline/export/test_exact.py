"""Values that runtimes compute roughly, or hide, and that exported graphs get right."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.export import Dim

from learned_saliency.models import CAMClassifier
from learned_saliency.pipeline.export.formats.onnx import run_onnx, write_onnx
from learned_saliency.pipeline.export.graph import OUTPUTS, ExportedModel, trace
from learned_saliency.trainers import CAMModule
from tests.support.networks import SGD, TinyBackbone

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
RUNTIMES = ["onnxruntime", "openvino"]


class Functions(nn.Module):
    """Sigmoid, softplus and its logarithm of each value, in the places of a model's outputs."""

    def forward(self, images):
        soft = nn.functional.softplus(images)
        return dict(zip(OUTPUTS, (images.sigmoid(), soft, soft.log()), strict=True))


def runner(runtime, path):
    if runtime == "onnxruntime":
        return run_onnx(path)
    openvino = pytest.importorskip("openvino")
    hint = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    model = openvino.compile_model(openvino.convert_model(path), "CPU", hint)

    def run(*inputs):
        found = model([tensor.numpy() for tensor in inputs])
        return {name: torch.from_numpy(found[name].copy()) for name in OUTPUTS}

    return run


@pytest.fixture(scope="module")
def functions(tmp_path_factory):
    path = tmp_path_factory.mktemp("functions") / "functions.onnx"
    shapes = ({0: Dim("batch", min=1)},)
    write_onnx(torch.export.export(Functions(), (torch.zeros(2, 9),), dynamic_shapes=shapes), path)
    return path


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_sigmoid_and_softplus_are_right_wherever_float32_has_values(functions, runtime):
    """In float64: 1 / (1 + exp(-x)) and log(1 + exp(x)), from -80 to 80."""
    values = np.linspace(-80, 80, 40_005, dtype=np.float32).reshape(-1, 9)
    found = {n: v.numpy() for n, v in runner(runtime, functions)(torch.from_numpy(values)).items()}
    sigmoid, softplus, logarithm = (found[name].astype(np.float64) for name in OUTPUTS)
    x = values.astype(np.float64)
    np.testing.assert_allclose(sigmoid, 1 / (1 + np.exp(-x)), rtol=1e-6)
    np.testing.assert_allclose(softplus, np.logaddexp(0, x), rtol=1e-6)
    np.testing.assert_allclose(logarithm, np.log(np.logaddexp(0, x)), rtol=1e-6, atol=1e-6)
    assert sigmoid.max() <= 1
    assert (np.diff(sigmoid.ravel()) >= 0).all()


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_one_broken_pixel_shows_in_all_outputs_of_its_image_alone(broken, runtime):
    path, images = broken
    run = runner(runtime, path)
    whole = run(images)
    for value in (float("nan"), float("inf")):
        spoilt = images.clone()
        spoilt[1, 2, 20, 7] = value
        found = run(spoilt)
        for name in OUTPUTS:
            assert found[name][1].isnan().all()
            torch.testing.assert_close(found[name][[0, 2]], whole[name][[0, 2]])


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    """A CAM classifier that is exported, and three images of noise."""
    torch.manual_seed(0)
    network = CAMClassifier(TinyBackbone(), 3)
    model = ExportedModel(CAMModule(network=network, optimizer=SGD), "predicted")
    path = tmp_path_factory.mktemp("cam") / "cam.onnx"
    write_onnx(trace(model, 32), path)
    return path, torch.rand(3, 3, 32, 32)
