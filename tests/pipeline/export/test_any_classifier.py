"""One file from image to class and map, of a network from outside or a run's own classifier."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from learned_saliency.attribution import LIFTCAM, LayerCAM, split
from learned_saliency.datamodules.transforms import read_resized, standardize
from learned_saliency.metrics import boxes_from_saliency
from learned_saliency.pipeline.cli.compose import compose_checked
from learned_saliency.pipeline.cli.errors import UserError
from learned_saliency.pipeline.export.export import CONFIG_NAME, export
from learned_saliency.pipeline.runs.checkpoints import load_module, read_checkpoint
from tests.support.own_networks import nonlinear
from tests.support.untrained import untrained_run

OWN = "classifier=tests.support.own_networks:nonlinear"
NETWORK = [OWN, "layer=middle", "input.size=32"]
RUN = """
import sys
sys.modules["torch"] = None
import numpy, onnxruntime
sys.path.insert(0, ".")
import box

session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
given = numpy.load("given.npz")
for size in (1, 5):
    feed = {name: values[:size] for name, values in given.items()}
    names = ["logits", "saliency"]
    found = dict(zip(names, session.run(names, feed)))
    boxes = [box.largest_box(values, float(sys.argv[2])) for values in found["saliency"]]
    numpy.savez(f"found{size}.npz", boxes=boxes, **found)
"""


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """Folder of five pictures with structure."""
    folder = tmp_path_factory.mktemp("photographs")
    generator = np.random.default_rng(0)
    for i in range(5):
        coarse = generator.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((48, 40), Image.BICUBIC).save(folder / f"{i}.png")
    return folder


def exported(*words):
    return export(compose_checked(list(words), CONFIG_NAME))


def prepared(photographs, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)):
    pixels = torch.stack([read_resized(path, 32) for path in sorted(photographs.iterdir())])
    return pixels, standardize(pixels, torch.tensor(mean), torch.tensor(std))


def test_one_onnx_file_runs_where_no_torch_is(photographs, tmp_path):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    words = ["method=liftcam", "+attribution.liftcam.rectify=false", "box_threshold=0.3"]
    made = exported(*NETWORK, *words, f"verify_images={photographs}", f"out={tmp_path}")
    facts = json.loads(made.facts.read_text())
    assert made.file.name == "nonlinear-liftcam.onnx"
    assert facts["verified"]["images"] == 5
    assert max(made.differences.values()) < 1e-4
    assert (facts["method"], facts["options"]) == ("liftcam", {"rectify": False})
    assert (facts["layer"], facts["layer_layout"]) == ("middle", "channels_first")
    assert facts["class_names"] == list(map(str, range(16)))
    assert facts["box"] == {"script": "box.py", "threshold": 0.3}
    shapes = [tuple(w.dims) for w in onnx.load(made.file).graph.initializer]
    assert [shapes.count(shape) for shape in ((6, 4, 3, 3), (8, 6, 3, 3), (16, 8))] == [1, 1, 1]
    assert b".py" not in made.file.read_bytes()
    pixels, images = prepared(photographs)
    predicted = split(nonlinear().eval(), "middle")(images).argmax(1)
    labels = torch.where(torch.arange(5) < 4, torch.arange(5) * 3, predicted)
    given = torch.where(torch.arange(5) < 4, labels, -1)  # the class of the last is asked for
    np.savez(tmp_path / "given.npz", images=(pixels / 255).numpy(), labels=given.numpy())
    command = [sys.executable, "-I", "-c", RUN, made.file.name, str(facts["box"]["threshold"])]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    classifier = split(nonlinear().eval(), "middle")
    with torch.no_grad():
        expected = LIFTCAM(rectify=False)(classifier, images, labels)
        logits = classifier(images)
    for size in (1, 5):
        found = np.load(tmp_path / f"found{size}.npz")
        torch.testing.assert_close(torch.tensor(found["logits"]), logits[:size])
        saliency = torch.tensor(found["saliency"])
        torch.testing.assert_close(saliency, expected[:size], rtol=0, atol=1e-4)
        assert found["boxes"].tolist() == boxes_from_saliency(saliency, 0.3).tolist()


def test_a_runs_classifier_is_exported_with_a_method(creatures, photographs, tmp_path):
    run = untrained_run(creatures, tmp_path / "run", "model=cam")
    words = ["method=layercam", "maps=predicted", "format=pt2", "box_threshold=0"]
    made = exported(f"checkpoint={run}", *words, "verify=false", f"out={tmp_path}")
    assert made.file.name == "cam-layercam-predicted.pt2"
    facts = json.loads(made.facts.read_text())
    assert (facts["model"], facts["method"], facts["box_threshold"]) == ("cam", "layercam", 0)
    module = load_module(read_checkpoint(run, "best.ckpt")).eval()
    pixels, images = prepared(photographs, module.mean.flatten(), module.std.flatten())
    found = torch.export.load(made.file).module()(pixels / 255)
    with torch.no_grad():
        expected = LayerCAM()(module.classifier, images)
    assert expected.max() == 1
    torch.testing.assert_close(found["saliency"], expected, rtol=0, atol=1e-5)


def asking(num_classes: int = 2):
    """Network whose way depends on the values of the image."""
    return _Asking()


class _Asking(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.fc = nn.Linear(4, 2)

    def forward(self, images):
        x = self.conv(images)
        return self.fc(x.mean((2, 3)) if bool(images.sum() > 0) else x.amax((2, 3)))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["maps=all"], "maps=all: a map of a post-hoc method takes a derivative for each class"),
        (
            ["method=scorecam"],
            "method=scorecam is none for a graph, .* there are: cam, cam_max, gradcam",
        ),
        (["method=gradcamm"], "method: no method is named 'gradcamm'; the nearest: gradcam"),
        (["method=cam"], "method: 'cam' does not fit this classifier: CAM needs a head"),
        (["format=safetensors"], "format=safetensors: holds the weights of a trained map"),
        (["checkpoint=x"], "checkpoint"),
    ],
)
def test_what_cannot_be_exported_is_told_in_one_sentence(words, told, tmp_path):
    with pytest.raises(UserError, match=told) as caught:
        exported(*NETWORK, "format=pt2", *words, f"out={tmp_path}/made")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "made").exists()


@pytest.mark.filterwarnings("ignore:.*cannot be traced")
def test_a_network_that_asks_for_values_is_told(tmp_path):
    words = [f"classifier={__name__}:asking", "layer=conv", "input.size=32", "format=pt2"]
    with pytest.raises(UserError, match=r"classifier: the network.* cannot be recorded"):
        exported(*words, "verify=false", f"out={tmp_path}")
    assert not list(tmp_path.iterdir())
