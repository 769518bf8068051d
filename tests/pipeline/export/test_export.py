"""Exported files give what the checkpoint gives, with nothing of this project at hand."""

import hashlib
import json
import os
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from learned_saliency.datamodules.transforms import read_resized, standardize
from learned_saliency.pipeline.cli.compose import check_command_line, compose_checked
from learned_saliency.pipeline.cli.errors import UserError
from learned_saliency.pipeline.export.export import CONFIG_NAME, export
from learned_saliency.pipeline.export.graph import OUTPUTS, ExportedModel
from learned_saliency.pipeline.export.images import find_images
from learned_saliency.pipeline.export.page import read_graph
from learned_saliency.pipeline.export.verify import differences
from learned_saliency.pipeline.runs.checkpoints import load_module, read_checkpoint
from learned_saliency.storage import sha256
from tests.support.untrained import untrained_run
from tests.support.web_runtime import web_runtime

MODELS = {  # Hide-and-Seek and CutMix train the network of cam
    "cam": ["model=cam"],
    "calm": ["model=calm", "model.em_target=ema", "data.superset=class"],
    "fcam": ["model=fcam"],
    "unetplusplus": ["model=fcam", "model.decoder=smp:unetplusplus"],
    "deeplabv3plus": ["model=fcam", "model.decoder=smp:deeplabv3plus"],
    "casm": ["model=casm"],
    "supervised": ["model=supervised"],
    "trilite": ["model=trilite"],
    "finetuned": ["model=finetuned"],
    "amortized": ["model=amortized", "recipe.form=weights"],
    "rtis": ["model=rtis", "recipe.mask_width=8"],
    "adl": ["model=adl"],
    "acol": ["model=acol"],
    "spg": ["model=spg"],
    "pooled": ["model=amortized", "recipe.form=weights", "model.first_stage.head.pooling=wildcat"],
}
BLOCKED = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        rooms = {"attribution", "configs", "datamodules", "losses", "metrics", "models", "pipeline"}
        libraries = {"hydra", "lightning", "omegaconf", "timm", "torchmetrics", "torchvision"}
        if name.partition(".")[0] in rooms | libraries | {"trainers"}:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Blocker())
try:
    from learned_saliency import trainers
except ModuleNotFoundError:
    import torch

for file in sys.argv[2:]:
    model = torch.export.load(file).module()
    found = [model(*batch) for batch in torch.load(sys.argv[1])[file]]
    torch.save(found, file + ".out")
"""


@pytest.fixture(scope="module")
def runs(creatures, tmp_path_factory):
    """Untrained runs of all methods."""
    folder = tmp_path_factory.mktemp("runs")
    return {name: untrained_run(creatures, folder / name, *words) for name, words in MODELS.items()}


@pytest.fixture
def exported(runs, tmp_path):
    def call(name, *words):
        words = [f"checkpoint={runs[name]}", f"out={tmp_path}", *words]
        return export(compose_checked(words, CONFIG_NAME))

    return call


@pytest.fixture(scope="module")
def programs(runs, tmp_path_factory):
    """Programs of torch.export by the kind of maps: of all classes, of given ones, one for all."""
    folder = tmp_path_factory.mktemp("programs")
    names = ("cam", "calm", "amortized", "fcam", "rtis", "adl", "spg")
    words = {name: [f"checkpoint={runs[name]}", f"out={folder}", "format=pt2"] for name in names}
    words["cam"].append("maps=all")
    for name in set(names) - {"calm", "amortized"}:
        words[name].append("verify=false")  # the tests compare
    return {name: export(compose_checked(w, CONFIG_NAME)) for name, w in words.items()}


@pytest.fixture(scope="module")
def photographs(creatures):
    """Pixels (6, 3, 32, 32) of test images."""
    lines = (creatures / "metadata/test/image_ids.txt").read_text().split()
    return torch.stack([read_resized(creatures / name, 32) for name in lines[:6]])


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o002, 0o664)])
def test_exported_files_have_the_mode_that_the_umask_gives(exported, mask, mode):
    """The library of safetensors gives 600."""
    before = os.umask(mask)
    try:
        result = exported("cam", "format=safetensors", "verify=false")
    finally:
        os.umask(before)
    for path in (result.file, result.facts):
        assert path.stat().st_mode & 0o777 == mode


def reference(run, pixels, labels=None):
    """Probabilities and maps by the checkpoint's module, as evaluation calls it."""
    module = load_module(read_checkpoint(run, "best.ckpt")).eval()
    with torch.no_grad():
        images = standardize(pixels, module.mean.flatten(), module.std.flatten())
        found = module.explain(images, labels)
    return {"probabilities": found.logits.softmax(1), "saliency": found.saliency}


def assert_equal(found, expected):
    for name, value in expected.items():
        torch.testing.assert_close(torch.as_tensor(found[name]), value, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "maps", "format"),
    [
        ("cam", "label", "html"),
        ("calm", "all", "onnx"),
        ("fcam", None, "onnx"),
        ("unetplusplus", None, "onnx"),
        ("deeplabv3plus", None, "onnx"),
        ("casm", None, "onnx"),
        ("amortized", "label", "onnx"),
        ("pooled", "label", "onnx"),
        ("trilite", None, "onnx"),
        ("rtis", "all", "onnx"),
        ("acol", "label", "onnx"),
    ],
)
def test_onnx_equals_the_checkpoint_in_batches_of_1_and_5(
    runs, exported, photographs, tmp_path_factory, name, maps, format
):
    """The page of ``format=html`` holds such a model."""
    onnx = pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    words = [f"verify={str(name == 'cam').lower()}", f"format={format}"]
    words += [f"maps={maps}"] if maps else []
    if format == "html":
        words.append(f"ort={web_runtime(tmp_path_factory.mktemp('ort'))}")
    made = exported(name, *words)
    if name == "cam":
        assert max(made.differences.values()) < 1e-4
    beside = {made.box} if made.box else set()
    assert set(made.file.parent.iterdir()) == {made.file, made.facts} | beside  # weights inside
    content = made.file.read_bytes()
    if format == "html":
        facts = json.loads(made.facts.read_text())
        assert facts["sha256"] == sha256(made.file)
        content = read_graph(content)
        assert facts["page"]["graph_sha256"] == hashlib.sha256(content).hexdigest()
        assert b'"one_run": true' in made.file.read_bytes()
    model = onnx.load_from_string(content)
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    assert b".py" not in content
    session = runtime.InferenceSession(content, providers=["CPUExecutionProvider"])
    if maps == "label":  # class -1 is the predicted one: a page asks for it
        images = (photographs / 255).numpy()
        feed = {"images": images, "labels": np.full(len(images), -1)}
        found = dict(zip(OUTPUTS, session.run(None, feed), strict=True))
        assert_equal(found, reference(runs[name], photographs))
    for size in (1, 5):
        feed = {"images": (photographs[:size] / 255).numpy()}
        labels = torch.arange(size) * 3
        if maps == "label":
            feed["labels"] = labels.numpy()
        found = dict(zip(OUTPUTS, session.run(None, feed), strict=True))
        if maps == "all":
            found["saliency"] = found["saliency"][range(size), labels]
        assert_equal(found, reference(runs[name], photographs[:size], labels))


def test_pt2_runs_where_only_torch_is(runs, programs, photographs, tmp_path):
    inputs, labels = {}, torch.arange(5) * 3
    files = {name: str(made.file) for name, made in programs.items()}
    for name, file in files.items():
        given = [] if name in ("cam", "fcam") else [labels]
        inputs[file] = [(photographs[:s] / 255, *(g[:s] for g in given)) for s in (1, 5)]
    torch.save(inputs, tmp_path / "inputs.pt")
    command = [sys.executable, "-I", "-c", BLOCKED, str(tmp_path / "inputs.pt"), *files.values()]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for name, file in files.items():
        for found, size in zip(torch.load(f"{file}.out"), (1, 5), strict=True):
            if name == "cam":  # all classes
                found["saliency"] = found["saliency"][range(size), labels[:size]]
            assert_equal(found, reference(runs[name], photographs[:size], labels[:size]))


def test_pt2_holds_what_inference_needs_and_no_paths(runs, programs):
    file = programs["calm"].file
    whole = torch.load(runs["calm"] / "checkpoints/best.ckpt", weights_only=True)["state_dict"]
    assert any(name.startswith("target_network.") for name in whole)
    kept = torch.export.load(file).state_dict
    assert {name.removeprefix("module.") for name in kept} < set(whole)
    assert not [name for name in kept if "target_network" in name or "num_batches" in name]
    with zipfile.ZipFile(file) as archive:
        graph = next(name for name in archive.namelist() if name.endswith("models/model.json"))
        assert b".py" not in archive.read(graph)


def test_the_json_says_what_is_needed(programs):
    made = programs["calm"]
    facts = json.loads(made.facts.read_text())
    assert made.facts.name == "calm.pt2.json"
    assert facts["sha256"] == sha256(made.file)
    assert facts["class_names"][3] == "c3"
    assert facts["method"] == "calm"
    assert facts["config"]["model"]["network"]["_target_"] == "learned_saliency.models.CALM"
    images, labels = facts["inputs"]
    assert images["shape"] == ["batch", 3, 32, 32]
    assert (images["range"], labels["range"]) == ([0, 1], [0, 15])
    assert [output["name"] for output in facts["outputs"]] == list(OUTPUTS)
    assert facts["verified"]["source"] == "test of creatures"
    assert facts["verified"]["largest_difference"] == made.differences
    assert programs["cam"].file.name == "cam-all.pt2"
    assert not list(made.file.parent.glob(".export-*"))


def test_maps_of_the_predicted_class_need_no_label(runs, photographs):
    module = load_module(read_checkpoint(runs["cam"], "best.ckpt"))
    with torch.no_grad():
        found = ExportedModel(module, "predicted")(photographs / 255)
    assert_equal(found, reference(runs["cam"], photographs, found["logits"].argmax(1)))


@pytest.mark.parametrize("name", ["cam", "calm", "acol"])
def test_maps_of_all_classes_are_those_of_each(runs, photographs, name):
    module = load_module(read_checkpoint(runs[name], "best.ckpt"))
    images = photographs[:2] / 255
    with torch.no_grad():
        whole = ExportedModel(module, "all")(images)["saliency"]
        assert whole.shape == (2, 16, 32, 32)
        for label in range(16):
            one = ExportedModel(module, "label")(images, torch.full((2,), label))["saliency"]
            torch.testing.assert_close(whole[:, label], one, rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match="maps must be one of"):
        ExportedModel(module, None)


def test_a_calm_with_one_superset_has_one_map_as_its_native_map_says(creatures, tmp_path):
    run = untrained_run(creatures, tmp_path / "run", "model=calm", "data.superset=all")
    words = [f"checkpoint={run}", f"out={tmp_path}/made", "format=pt2"]
    made = export(compose_checked(words, CONFIG_NAME))
    facts = json.loads(made.facts.read_text())
    assert [part["name"] for part in facts["inputs"]] == ["images"]
    assert facts["maps"] is None
    assert facts["native"] == {"per_class": False, "probabilities": True}
    with pytest.raises(UserError, match="calm has one map for all classes"):
        export(compose_checked([*words, "maps=all"], CONFIG_NAME))


def test_a_file_that_differs_is_not_kept(exported, tmp_path, monkeypatch):
    module = sys.modules[export.__module__]
    monkeypatch.setattr(module, "differences", lambda *_: {"probabilities": 2e-4})
    with pytest.raises(UserError, match=r"probabilities differ .* more than tolerance=1e-04"):
        exported("fcam", "format=safetensors")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("output", OUTPUTS)
def test_verification_sees_a_difference_in_one_pixel_or_class(runs, photographs, output):
    module = load_module(read_checkpoint(runs["fcam"], "best.ckpt")).eval()
    model = ExportedModel(module, None)

    def run(images):
        found = model(images)
        if len(images) == 5:
            found[output] = found[output].clone(memory_format=torch.contiguous_format)
            found[output].view(-1)[-1] += 2e-3
        return found

    found = differences(run, module, None, photographs)
    assert found[output] > 5e-4
    assert all(found[other] < 1e-6 for other in OUTPUTS if other != output)


def test_safetensors_are_read_as_a_checkpoint(runs, exported, photographs):
    made = exported("casm", "format=safetensors")
    assert max(made.differences.values()) < 1e-6
    assert_equal(reference(made.file, photographs), reference(runs["casm"], photographs))
    assert read_checkpoint(made.file).class_names[3] == "c3"
    made.file.write_bytes(made.file.read_bytes()[:-5])
    with pytest.raises(UserError, match=r"casm\.safetensors: truncated, or no file of weights"):
        read_checkpoint(made.file)
    made.facts.write_text("[]")
    with pytest.raises(UserError, match="is not the JSON of an export"):
        read_checkpoint(made.file)
    made.facts.unlink()
    with pytest.raises(UserError, match=r"casm\.safetensors: is no export.*classifier= and"):
        read_checkpoint(made.file)


def test_images_to_verify_on(runs, tmp_path):
    data = read_checkpoint(runs["cam"], "best.ckpt").config.data
    found = find_images(data, None)
    assert (found.source, found.pixels.shape) == ("test of creatures", (9, 3, 32, 32))
    with pytest.raises(UserError, match="there are no images"):
        find_images(data, tmp_path)
    Image.new("RGB", (40, 20), (255, 0, 0)).save(tmp_path / "red.png")
    red = find_images(data, tmp_path).pixels
    assert red.shape == (5, 3, 32, 32)  # enough for the larger batch
    assert red[4, :, 5, 5].tolist() == [255, 0, 0]
    for split in ("test", "val"):
        (tmp_path / "out" / split).mkdir(parents=True)
        (tmp_path / "out" / split / "image_ids.txt").write_text("../red.png")
        (tmp_path / "out" / split / "class_labels.txt").write_text("../red.png,0")
    data.metadata = str(tmp_path / "out")
    data.root = str(tmp_path / "out")
    with pytest.warns(UserWarning, match="verify_images=FOLDER"):
        assert find_images(data, None).source == "random colors"
    data.metadata = str(tmp_path / "none")
    with pytest.warns(UserWarning, match="verify_images=FOLDER"):
        assert find_images(data, None).source == "random colors"


def test_a_missing_extra_is_one_sentence(exported, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(UserError, match=r"needs the package onnx: pip install -e '\.\[onnx\]'"):
        exported("fcam")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["format=onxx"], "format=onxx: expected one of .*; the nearest: onnx"),
        (["maps=lable"], "maps=lable: expected one of .*; the nearest: label"),
        (["format=safetensors", "maps=all"], "cam has weights alone"),
    ],
)
def test_wrong_words_are_told(exported, words, told):
    with pytest.raises(UserError, match=told):
        exported("cam", *words)
    with pytest.raises(UserError, match="one map for all classes"):
        exported("fcam", "maps=all")


def test_a_misspelt_key_is_told():
    with pytest.raises(UserError, match=r"verfy is no key .* the nearest: verify"):
        check_command_line(["checkpoint=x", "verfy=false"], CONFIG_NAME)


def test_weights_alone_are_not_resumed(runs):
    from learned_saliency.pipeline.training.resume import resumed_config

    word = f"resume={runs['cam']}/checkpoints/best.ckpt"
    with pytest.raises(UserError, match="holds weights alone"):
        resumed_config(compose_checked([word]), [word])
