"""Files of fewer bits: which part of a graph has them, and what is told of the difference."""

import json

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image

from learned_saliency.pipeline.cli.compose import compose_checked
from learned_saliency.pipeline.cli.errors import UserError
from learned_saliency.pipeline.export.export import CONFIG_NAME, export
from learned_saliency.pipeline.export.formats import FORMATS
from learned_saliency.pipeline.export.images import Files, files_of_data
from learned_saliency.pipeline.export.precision import (
    Plan,
    check_precision,
    plan,
    reduce,
    reduce_precision,
)
from learned_saliency.pipeline.export.precision.float16 import to_float16
from learned_saliency.pipeline.export.precision.int8 import to_int8
from learned_saliency.pipeline.export.precision.trial import compare
from learned_saliency.pipeline.runs.checkpoints import read_checkpoint
from tests.support.untrained import untrained_run

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")
GRAPH = """
<ir_version: 8, opset_import: ["": 18]>
toy (float[batch,3,8,8] images, int64[batch] labels)
  => (float[batch,4] probabilities, float[batch,4] logits, float[batch,6,8,8] saliency)
<float[3,1,1] mean, float[6,3,3,3] first, float[6,6,3,3] second, float[4,6] head,
 int64[2] axes = {2, 3}, int64 depth = {4}, float[2] switch = {0, 1}, float three = {3}>
{
  [center] centered = Sub (images, mean)
  [conv1] a = Conv <pads = [1, 1, 1, 1]> (centered, first)
  [relu1] b = Relu (a)
  [add] c = Add (b, three)
  [conv2] d = Conv <pads = [1, 1, 1, 1]> (c, second)
  [relu2] features = Relu (d)
  [pool] pooled = ReduceMean <keepdims = 0> (features, axes)
  [head] logits = Gemm <transB = 1> (pooled, head)
  [softmax] probabilities = Softmax (logits)
  [chosen] chosen = OneHot (labels, depth, switch)
  [product] product = MatMul (chosen, head)
  [weights] weights = Unsqueeze (product, axes)
  [sum] saliency = Mul (features, weights)
}
"""


@pytest.fixture(scope="module")
def toy():
    """A classifier of two convolutions with the map of CAM, which reads the head's weights, too."""
    model = onnx.parser.parse_model(GRAPH)
    draw = np.random.default_rng(0)
    shapes = {"mean": (3, 1, 1), "first": (6, 3, 3, 3), "second": (6, 6, 3, 3)}
    for name, shape in (shapes | {"head": (4, 6)}).items():
        values = draw.normal(size=shape).astype(np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(values, name))
    onnx.checker.check_model(model, full_check=True)
    return model


@pytest.fixture(scope="module")
def pictures():
    return np.random.default_rng(1).random((6, 3, 8, 8), np.float32)


def outputs(model, images):
    session = runtime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    labels = np.arange(len(images)) % 4
    found = session.run(None, {"images": images, "labels": labels})
    return dict(zip(("probabilities", "logits", "saliency"), found, strict=True))


def stored(model):
    return {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}


def test_float16_is_that_of_numpy_in_the_network_and_nowhere_else(toy, pictures):
    made = to_float16(toy)
    assert [t.type.tensor_type.elem_type for t in made.graph.output] == [onnx.TensorProto.FLOAT] * 3
    kinds = {n: a.dtype for n, a in stored(made).items()}
    halved = {name for name, kind in kinds.items() if kind == np.float16}
    assert halved == {"first_half", "second_half", "head_half"}
    exact, found = outputs(toy, pictures), outputs(made, pictures)
    for name, value in exact.items():
        assert 0 < np.abs(found[name] - value).max() < 5e-3 * np.abs(value).max()
    # The weights of the class are rounded, once.
    weights = stored(toy)["head"].astype(np.float16).astype(np.float32)[np.arange(6) % 4]
    session = runtime.InferenceSession(
        _with_output(made, "product"), providers=["CPUExecutionProvider"]
    )
    (product,) = session.run(["product"], {"images": pictures, "labels": np.arange(6) % 4})
    np.testing.assert_array_equal(product, weights)


def _with_output(model, name):
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    copied.graph.output.append(onnx.ValueInfoProto(name=name))
    return copied.SerializeToString()


def test_sums_over_pixels_do_not_leave_the_range_of_float16(toy, pictures):
    """A plane of 64 pixels of 2000 has a sum of 128000, and its mean is 2000."""
    model = onnx.ModelProto()
    model.CopyFrom(toy)
    for tensor in model.graph.initializer:
        if tensor.name == "second":
            values = 600 * np.abs(onnx.numpy_helper.to_array(tensor))
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, "second"))
    exact, found = outputs(model, pictures), outputs(to_float16(model), pictures)
    assert exact["saliency"].max() > 2000
    np.testing.assert_allclose(found["logits"], exact["logits"], rtol=5e-3, atol=20)


def test_int8_rounds_what_lies_between_layers_and_not_what_they_end_with(toy, pictures):
    made = to_int8(toy, iter([pictures[:4], pictures[4:]]))
    weights = {n: a for n, a in stored(made).items() if a.dtype == np.int8 and a.ndim > 1}
    sizes = sorted(a.shape for a in weights.values())
    assert sizes == [(4, 6), (6, 3, 3, 3), (6, 6, 3, 3)]  # the head's once, for both its uses
    assert "head" not in stored(made)
    assert max(np.abs(a.astype(int)).max() for a in weights.values()) <= 64  # 7 bits
    rounded = {n.input[0] for n in made.graph.node if n.op_type == "QuantizeLinear"}
    assert not rounded & {"d", "features", "logits", "chosen", "product", "weights"}
    assert {"centered", "pooled"} <= rounded
    exact, found = outputs(toy, pictures), outputs(made, pictures)
    for name, value in exact.items():
        assert 0 < np.abs(found[name] - value).max() < 0.15 * np.abs(value).max()


def test_int8_weights_are_rounded_per_output_channel(toy, pictures):
    """By hand: each channel's largest weight becomes 63 or 64, whatever the other channels have."""
    model = onnx.ModelProto()
    model.CopyFrom(toy)
    for tensor in model.graph.initializer:
        if tensor.name == "first":
            values = onnx.numpy_helper.to_array(tensor).copy()
            values[0] *= 1000
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, "first"))
    made = to_int8(model, iter([pictures]))
    first = next(a for a in stored(made).values() if a.shape == (6, 3, 3, 3))
    assert (np.abs(first.astype(int)).reshape(6, -1).max(1) >= 62).all()


def runner(logits, maps):
    """Give recorded results, one image at a time; the class comes second."""

    def run(images, labels=None):
        place = round(float(images[0, 0, 0, 0]) * 255)
        return {"logits": logits[place][None], "saliency": maps[place][None]}

    return run


class FakeSource:
    """A model of one map for all classes, of images of 4 pixels per side."""

    maps = None
    data = OmegaConf.create({"crop_size": 4, "center_crop": False})

    class module:
        box_threshold = torch.tensor(0.5)


@pytest.fixture
def files(tmp_path):
    """Six images of one gray value each, by which `runner` knows them."""
    for place in range(6):
        Image.new("RGB", (4, 4), (place,) * 3).save(tmp_path / f"{place}.png")
    paths = [tmp_path / f"{place}.png" for place in range(6)]
    return Files(paths, "six grays", np.array([0, 0, 1, 1, -1, 0]))


def test_figures_of_the_comparison_are_those_by_hand(files):
    exact = torch.zeros(6, 4, 4)
    exact[:, :2, :2] = 1
    small = exact.clone()
    small[1, 0, 0] = 0.75
    small[2] = exact[2].flip(1)  # the box lies at the other side
    logits = torch.tensor([[2.0, 1], [2, 1], [1, 2], [2, 1], [1, 2], [2, 1]])
    changed = logits.clone()
    changed[0] = torch.tensor([1.0, 2])  # right before, wrong now
    changed[4] = torch.tensor([2.0, 1])  # not labeled
    found = compare(runner(logits, exact), runner(changed, small), "int8", FakeSource(), files)
    assert found["images"] == 6
    assert found["map_difference"] == {
        "largest": 1.0,
        "mean": pytest.approx((0.25 / 16 + 8 / 16) / 6),
    }
    # 0..2 x 0..2 and 2..3 x 0..2 of the benchmark's inclusive corners share 1 x 3 of 9 + 6 - 3
    assert found["box"]["iou_at_least_0.5"] == pytest.approx(5 / 6)
    assert found["box"]["mean_iou"] == pytest.approx((5 + 3 / 12) / 6)
    assert found["top_1_agreement"] == pytest.approx(4 / 6)
    assert found["accuracy"] == {
        "float32": pytest.approx(4 / 5),
        "int8": pytest.approx(3 / 5),
        "images": 5,
    }


@pytest.mark.parametrize(
    ("value", "told"), [(float("nan"), "NaN or infinite values for .*3.png"), (0.5, "is constant")]
)
def test_an_unusable_map_is_refused(files, value, told):
    maps = torch.rand(6, 4, 4, generator=torch.Generator().manual_seed(0))
    broken = maps.clone()
    broken[3] = value
    logits = torch.eye(6)[:, :2]
    with pytest.raises(UserError, match=f"float16 file is not kept: .*{told}"):
        compare(runner(logits, maps), runner(logits, broken), "float16", FakeSource(), files)


@pytest.fixture(scope="module")
def run(creatures, tmp_path_factory):
    return untrained_run(creatures, tmp_path_factory.mktemp("cam") / "run", "model=cam")


def configured(run, *words):
    return compose_checked([f"checkpoint={run}", *words], CONFIG_NAME)


def test_int8_is_written_with_a_report_on_other_images(run, creatures, tmp_path):
    words = [f"calibration={creatures}", "calibration_images=20", f"out={tmp_path}/"]
    made = export(configured(run, "precision=int8", "min_agreement=0", *words))
    assert made.file.name == "cam-int8.onnx"
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "box.py",
        "cam-int8.onnx",
        "cam-int8.onnx.json",
        "cam-int8.onnx.md",
    ]
    facts = json.loads(made.facts.read_text())
    report = facts["report"]
    assert facts["precision"] == "int8"
    assert "verified" not in facts
    assert facts["calibration"]["images"] == 20
    assert report["bytes"]["int8"] == made.file.stat().st_size
    assert report["bytes"]["ratio"] == report["bytes"]["int8"] / report["bytes"]["float32"] < 0.9
    assert report["accuracy"]["images"] == report["images"]
    text = made.report.read_text()
    assert f"{report['top_1_agreement']:.1%}" in text
    assert f"{report['map_difference']['largest']:.4f}" in text


def test_too_few_equal_classes_are_refused(run, toy, tmp_path, monkeypatch):
    onnx.save_model(toy, tmp_path / "toy.onnx")
    monkeypatch.setattr(reduce, "compare", lambda *_: {"top_1_agreement": 0.5, "images": 9})
    config = configured(run, "precision=float16")
    planned = Plan(None, Files([], "nine images"))
    with pytest.raises(UserError, match=r"for 50% of 9 images, less than min_agreement=0\.8"):
        reduce_precision(FakeSource(), config, planned, tmp_path / "toy.onnx")


def test_the_report_leaves_out_what_served_calibration(run, creatures, tmp_path):
    checkpoint = read_checkpoint(run, "best.ckpt")
    test = files_of_data(checkpoint.config.data)
    assert test.labels.min() >= 0
    for place, path in enumerate(test.paths[:4]):  # copies under other names
        (tmp_path / f"{place}{path.suffix}").write_bytes(path.read_bytes())
    for place in range(3):
        Image.new("RGB", (9, 9), (place, 0, 0)).save(tmp_path / f"other{place}.png")
    words = ["precision=int8", f"calibration={tmp_path}", "calibration_images=7"]

    class Source:
        data, channels = checkpoint.config.data, 3

    chosen = plan(configured(run, *words), Source())
    assert sorted(chosen.report.paths) == sorted(test.paths[4:])
    assert chosen.report.labels.tolist() == test.labels[4:].tolist()
    Source.data = OmegaConf.create({"crop_size": 32, "root": "gone"})
    with pytest.raises(UserError, match="the images of gone are not there to compare the file"):
        plan(configured(run, *words), Source())
    few = configured(run, *words, f"verify_images={tmp_path}")
    with pytest.raises(UserError, match=r"holds 0 images that did not serve calibration"):
        plan(few, Source())


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["precision=int8"], "precision=int8: needs calibration=FOLDER"),
        (["precision=int8", "calibration=FOLDER"], "there are no images"),
        (["precision=int8", "calibration=nowhere"], "calibration=nowhere: there is no such folder"),
        (["precision=int8", "calibration=SET", "calibration_images=999"], "fewer than calibration"),
        (["precision=int8", "calibration=SET", "format=pt2"], "format=pt2 has float32 alone"),
        (["precision=float16", "format=safetensors"], "format=safetensors has float32 alone"),
        (["precision=float16", "calibration=SET"], "serves precision=int8 alone"),
    ],
)
def test_keys_that_do_not_fit_are_told_before_any_work(creatures, tmp_path, words, told):
    places = {"SET": str(creatures), "FOLDER": str(tmp_path)}
    words = [
        word.replace(name, place)
        for word in words
        for name, place in places.items()
        if name in word or not any(n in word for n in places)
    ]
    config = configured(tmp_path / "no run", *dict.fromkeys(words))
    with pytest.raises(UserError, match=told):
        check_precision(config, FORMATS[config.format])
