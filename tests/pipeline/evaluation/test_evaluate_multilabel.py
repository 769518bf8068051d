"""Evaluation, prediction and export of a model whose images have several classes."""

import csv
import json

import numpy as np
import pytest
import torch
from PIL import Image

from learned_saliency import load
from learned_saliency.metrics import PxAP, average_precision
from learned_saliency.pipeline.cli import UserError, hydra_words
from learned_saliency.pipeline.cli.compose import compose_checked
from learned_saliency.pipeline.commands.evaluate import evaluation_words
from learned_saliency.pipeline.comparison.verify import verify
from learned_saliency.pipeline.evaluation.evaluate import evaluate
from learned_saliency.pipeline.export.export import export
from learned_saliency.pipeline.export.page.page import read_graph
from learned_saliency.pipeline.prediction.predict import predict
from learned_saliency.pipeline.reports import read_intervals
from learned_saliency.pipeline.runs import Bundle
from tests.support.bundles import evaluate_bundle
from tests.support.several_classes import CLASSES, NAMES, several_run, several_words, write_several
from tests.support.web_runtime import web_runtime

SAMPLES = [(k, c) for k, classes in enumerate(CLASSES) for c in classes]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_several(tmp_path_factory.mktemp("several"))


@pytest.fixture(scope="module")
def model(root, tmp_path_factory):
    return several_run(root, tmp_path_factory.mktemp("model") / "run")


@pytest.fixture(scope="module")
def evaluated(model, tmp_path_factory):
    words = ["evaluate.faithfulness=[average_drop]", "pictures.images=4", "pictures.gallery=20"]
    return evaluate_bundle(model, tmp_path_factory.mktemp("evaluated") / "out", *words)


def logits_of(model, root):
    """Logits of the test images by the model that `load` gives, one row per image."""
    predictor = load(model, methods=["native"])
    images = [Image.open(root / "test" / f"{k}.png") for k in range(len(CLASSES))]
    squares = [predictor.prepare(np.asarray(image)) for image in images]
    with torch.no_grad():
        return predictor.module.predict_step(predictor.batch(squares, list("abcdef")), 0).logits


def test_each_image_counts_once_for_each_of_its_classes(evaluated, model, root):
    logits = logits_of(model, root)
    truth = torch.tensor([[c in classes for c in range(3)] for classes in CLASSES])
    wanted = average_precision(logits, truth)
    for values in (evaluated.results["native"], evaluated.results["gradcam"]):
        assert values["mean_average_precision"] == pytest.approx(float(wanted.mean()))
        assert not {"accuracy", "top5_accuracy"} & set(values)
    record = json.loads((evaluated.folder / "results.json").read_text())
    assert record["classes"]["names"] == NAMES
    assert record["classes"]["average_precision"] == pytest.approx(wanted.tolist())
    rows = list(csv.DictReader((evaluated.folder / "images.csv").open()))
    native = [row for row in rows if row["method"] == "native"]
    assert [row["image_id"] for row in native] == [f"test/{k}#{c}.png" for k, c in SAMPLES]
    assert [row["image"] for row in native] == [f"test/{k}.png" for k, _ in SAMPLES]
    assert [int(row["target"]) for row in native] == [c for _, c in SAMPLES]
    for row, (k, c) in zip(native, SAMPLES, strict=True):
        assert float(row["score"]) == pytest.approx(float(logits[k, c]), abs=1e-3)
        assert "predicted" not in row
    told = np.mean([float(logits[k, c]) > 0 for k, c in SAMPLES])
    assert evaluated.results["native"]["top1_loc"] <= told + 1e-9
    assert not any(name == "accuracy" for _, name in read_intervals(evaluated.folder))


def test_each_class_has_its_own_metrics(evaluated):
    bundle = Bundle(evaluated.bundle.path)
    rows = list(csv.DictReader((evaluated.folder / "classes.csv").open()))
    assert [row["name"] for row in rows] == NAMES
    for c, row in enumerate(rows):
        images = [image for image in bundle.images if image.label == c]
        assert int(row["images"]) == len(images) == sum(c in classes for classes in CLASSES)
        maps, _, batch = bundle.batch(images)
        metric = PxAP()
        metric.update(maps["gradcam"], batch["mask"])
        assert float(row["gradcam/pxap"]) == pytest.approx(float(metric.compute()), abs=1e-6)
    page = (evaluated.folder / "report.html").read_text()
    assert "Metrics by class" in page
    assert all(name in page for name in NAMES)


def test_a_bundle_agrees_with_what_was_measured(evaluated):
    facts = Bundle(evaluated.bundle.path).facts
    assert (facts.activation, facts.multilabel) == ("sigmoid", True)
    found = verify(evaluated.bundle.path)
    assert not found.faults
    assert not found.differences


def test_finished_maps_are_found_by_sample(evaluated, root, model, tmp_path):
    bundle, maps = Bundle(evaluated.bundle.path), tmp_path / "maps" / "test"
    maps.mkdir(parents=True)
    for image in bundle.images:
        name = image.image_id.removeprefix("test/").removesuffix(".png")
        np.save(maps / f"{name}.npy", bundle.map("gradcam", image.place))
    words = [*several_words(root), f"maps={tmp_path}/maps", f"output_dir={tmp_path}/out"]
    words += [f"bundle={tmp_path}/out.zip"]
    words = [word for word in words if not word.startswith("backbone")]
    words = evaluation_words([*words, "methods=[]"])
    found = evaluate(compose_checked(words, "evaluate", complete=False))
    for name in ("max_box_acc_v2", "pxap"):
        assert found.results["maps"][name] == pytest.approx(evaluated.results["gradcam"][name])
    assert "mean_average_precision" not in found.results["maps"]
    assert verify(found.bundle.path).agrees  # without logits there are no classes in it


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("evaluate.explained=predicted", "tested once with each of its classes"),
        ("studies=[bank]", "an image has one class"),
        ("activation=sigmoid", "leave it out"),
    ],
)
def test_what_means_nothing_is_refused(model, tmp_path, word, message):
    words = [f"checkpoint={model}", f"output_dir={tmp_path}/out", "methods=[]", word]
    words += ["studies.bank.classifiers=[timm:resnet10t]"] if "bank" in word else []
    with pytest.raises(UserError, match=message):
        evaluate(compose_checked(words, "evaluate", complete=False))


def _predict(model, root, out, *words):
    named = [f"checkpoint={model}", f"images={root}/test/[0-9].png", f"out={out}", *words]
    config = compose_checked(hydra_words([*named, "trainer=cpu"]), "predict", complete=False)
    return json.loads((predict(config, str).folder / "predictions.json").read_text())


def test_classes_that_are_told_present_are_explained_and_annotated(model, root, tmp_path):
    p = logits_of(model, root).sigmoid()
    threshold = float(p.flatten().sort().values[[8, 9]].mean())  # some images have none, or several
    words = [f"class_threshold={threshold}", "labels=coco", "methods=[native,gradcam]"]
    index = _predict(model, root, tmp_path / "out", *words)
    coco = json.loads((tmp_path / "out" / "labels" / "coco" / "instances.json").read_text())
    names = {image["id"]: image["file_name"] for image in coco["images"]}
    for k, record in enumerate(index["images"]):
        order = p[k].argsort(descending=True).tolist()
        present = [c for c in order if p[k, c] >= threshold]
        for method in ("native", "gradcam"):
            own = [found for found in record["maps"] if found["method"] == method]
            assert [found["class"]["index"] for found in own] == (present or order[:1])
            for found in own:
                wanted = float(p[k, found["class"]["index"]])
                assert found["class"]["probability"] == pytest.approx(wanted, abs=1e-4)
                assert (tmp_path / "out" / found["overlay"]).is_file()
        ids = [c for c in coco["annotations"] if names[c["image_id"]].endswith(f"{k}.png")]
        assert sorted(c["category_id"] for c in ids) == sorted(c + 1 for c in present)
    counts = [sum(p[k] >= threshold) for k in range(len(CLASSES))]
    assert min(counts) < max(counts)


def test_a_number_or_names_of_classes_are_taken_as_ever(model, root, tmp_path):
    index = _predict(model, root, tmp_path / "a", "top_k=2")
    assert all(len(record["maps"]) == 2 for record in index["images"])
    index = _predict(model, root, tmp_path / "b", "classes=[cow,ant]")
    assert [m["class"]["name"] for m in index["images"][0]["maps"]] == ["cow", "ant"]


def test_an_exported_page_gives_sigmoids(model, root, tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    out = f"out={tmp_path}/model.html"
    words = [f"checkpoint={model}", out, "format=html", f"ort={web_runtime(tmp_path)}"]
    words += ["maps=predicted"]
    export(compose_checked(words, "export", complete=False))
    page = (tmp_path / "model.html").read_bytes()
    assert b"<dd>3, each there or not, by a sigmoid</dd>" in page
    (described,) = tmp_path.glob("*.json")
    facts = json.loads(described.read_text())
    assert facts["activation"] == "sigmoid"
    assert facts["verified"]
    image = (
        np.asarray(Image.open(root / "test" / "2.png"), np.float32).transpose(2, 0, 1)[None] / 255
    )
    session = runtime.InferenceSession(read_graph(page))
    found = dict(
        zip(
            (o.name for o in session.get_outputs()),
            session.run(None, {"images": image}),
            strict=True,
        )
    )
    wanted = logits_of(model, root)[2]
    np.testing.assert_allclose(found["logits"][0], wanted.numpy(), atol=1e-3)
    np.testing.assert_allclose(found["probabilities"][0], wanted.sigmoid().numpy(), atol=1e-4)
