"""Studies of thresholds, resolutions, orderings and subsets, on tiny runs of trained methods."""

import csv
import json
import math

import pytest
import torch

from learned_saliency.metrics import PxAP
from learned_saliency.pipeline.cli.compose import compose_checked
from learned_saliency.pipeline.cli.errors import UserError
from learned_saliency.pipeline.evaluation.evaluate import evaluate
from learned_saliency.pipeline.evaluation.studies.downscale import low_resolution
from learned_saliency.pipeline.evaluation.studies.shapcam import ShapCAM, shap_figures
from learned_saliency.pipeline.evaluation.studies.subsets import Subsets, class_subsets, marks
from learned_saliency.pipeline.runs import load_module, read_checkpoint
from learned_saliency.trainers import Journal
from tests.support.untrained import untrained_run

MODELS = ("cam", "calm", "fcam", "casm")
OWN = "thresholds,downscale,shapcam,subsets,seeds"
SMALL = [
    "evaluate.faithfulness=[]",
    "studies.downscale.factors=[1,4,8]",
    "studies.shapcam.orderings=[1,2]",
    "studies.shapcam.repetitions=2",
    "studies.shapcam.reference=3",
    "studies.subsets.sizes=[4,12]",
    "studies.seeds.erosions=[0,3]",
]


@pytest.fixture(scope="module")
def models(creatures, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    words = {"casm": ["data.classes=[4,5,6,7,8,9,10,11,12,13,14,15]"]}
    return {
        name: untrained_run(creatures, folder / name, f"model={name}", *words.get(name, []))
        for name in MODELS
    }


@pytest.fixture
def run(models, tmp_path):
    def run(model, studies, *more, out="out"):
        chosen = [word for word in SMALL if word.split(".")[1].split("=")[0] in f"{studies},"]
        words = [f"checkpoint={models[model]}", f"output_dir={tmp_path}/{out}", SMALL[0], *chosen]
        words += [f"studies=[{studies}]", "methods=[cam]", "pictures.images=2", *more]
        return evaluate(compose_checked(words, "evaluate", complete=False))

    return run


def rows_of(path):
    with path.open() as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("model", MODELS)
def test_each_trained_method_goes_through_every_study(run, models, model):
    studies = f"{OWN},cues,removal,bank"
    bank = [f"studies.bank.classifiers=[{models['cam']}]", "studies.removal.fractions=[0.5]"]
    found = run(model, studies, *bank)
    saved = json.loads((found.folder / "results.json").read_text())["test"]
    for name in ("native", "cam"):
        values = saved[name]
        assert 0 <= values["threshold_box_area"] <= values["max_box_acc"] <= 1
        assert 0 <= values["threshold_f1_area"] <= values["threshold_f1"] <= 1
        together = 5 / 17 * values["le_A"] + 12 / 17 * values["le_B"]  # class 0 comes twice
        assert together == pytest.approx(values["le"])
        assert {"bank_masked_in", "relative_accuracy"} <= set(values)
    assert "cue_mpxap" in saved["cam"]
    assert {"average_drop", "average_drop_std", "shap_similarity"} <= set(saved["shapcam_2"])
    assert saved["truth_1"]["pxap"] == 1.0 >= saved["truth_8"]["pxap"] > 0
    names = {path.name for path in found.written}
    for study in (*OWN.split(","), "bank", "removal", "cues"):
        assert {f"{study}.csv", f"{study}.png"} <= names
    assert {"activations.csv", "activations.png", "downscaled.png"} <= names
    assert all(path.is_file() for path in found.written)
    assert {name for values in saved.values() for name in values} <= set(found.figures)
    trained = {
        row["subset"]: row["trained_classes"] for row in rows_of(found.folder / "subsets.csv")
    }
    assert trained == {"A": "none" if model == "casm" else "all", "B": "all"}


def test_a_stopped_study_goes_on_to_the_same_table(run, monkeypatch):
    whole = run("calm", OWN, "studies_only=true", out="whole").folder
    done, counted = Journal.done, []

    def stopped(journal, index):
        done(journal, index)
        counted.append(journal.folder.name)
        if counted.count(journal.folder.name) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(Journal, "done", stopped)
    for _ in OWN.split(","):
        with pytest.raises(KeyboardInterrupt):
            run("calm", OWN, "studies_only=true")
    again = run("calm", OWN, "studies_only=true").folder
    assert sorted(set(counted)) == sorted(OWN.split(","))
    for name in (*(f"{study}.csv" for study in OWN.split(",")), "activations.csv"):
        assert (again / name).read_bytes() == (whole / name).read_bytes(), name


def test_thresholds_are_the_test_s_curves(run):
    found = run("fcam", "thresholds", "studies.thresholds.points=0")
    values = found.results["native"]
    rows = [r for r in rows_of(found.folder / "thresholds.csv") if r["method"] == "native"]
    assert len(rows) == 1000
    accuracy = [float(row["largest_contour_50"]) for row in rows]
    assert max(accuracy) == pytest.approx(values["max_box_acc"], abs=1e-6)
    assert sum(accuracy) / 1000 == pytest.approx(values["threshold_box_area"], abs=1e-6)
    recall = [float(row["recall"]) for row in rows]
    assert recall[0] == 1.0
    assert recall == sorted(recall, reverse=True)
    shares = [r for r in rows_of(found.folder / "activations.csv") if r["method"] == "native"]
    for kind in ("object", "background", "all"):
        assert sum(float(row[kind]) for row in shares) == pytest.approx(1, abs=1e-4)


def test_low_resolution_is_bilinear_both_ways():
    """A plain loop of bilinear interpolation with half-pixel centers, for z = 4 of 8 pixels."""
    regions = torch.zeros(1, 8, 8, dtype=torch.uint8)
    regions[0, 1:4, 2:7] = 1
    regions[0, 7] = 255

    def resized(rows, size):
        at = [min(max((i + 0.5) * len(rows) / size - 0.5, 0), len(rows) - 1) for i in range(size)]
        low = [min(int(x), len(rows) - 1) for x in at]
        high = [min(x + 1, len(rows) - 1) for x in low]
        return [
            [a + (x - j) * (b - a) for a, b in zip(rows[j], rows[k], strict=True)]
            for x, j, k in zip(at, low, high, strict=True)
        ]

    def both(picture, size):
        columns = resized([list(c) for c in zip(*resized(picture, size), strict=True)], size)
        return [list(row) for row in zip(*columns, strict=True)]

    truth = (regions[0] == 1).double().tolist()
    expected = torch.tensor(both(both(truth, 2), 8)).float()
    torch.testing.assert_close(low_resolution(regions, 4)[0], expected)
    torch.testing.assert_close(low_resolution(regions, 1)[0], (regions[0] == 1).float())
    mean = low_resolution(regions, 8, antialias=True)
    assert 0 < float(mean.max()) < 1
    assert not low_resolution(torch.zeros_like(regions), 4).any()
    whole = torch.ones_like(regions)
    assert low_resolution(whole, 8).eq(1).all()
    values = []
    for factor in (1, 2, 4):
        score = PxAP()
        score.update(low_resolution(regions, factor), regions)
        values.append(float(score.compute()))
    assert values[0] == 1.0 > values[1] > values[2]


def test_cosines_and_repetitions_are_those_of_the_methods(run, models):
    found = run("cam", "shapcam", "methods=[cam,liftcam,layercam]")
    for name in ("native", "cam", "liftcam", "shapcam_1", "shapcam_2"):
        assert 0 < found.results[name]["shap_similarity"] <= 1
    assert found.results["liftcam"]["shap_similarity"] == pytest.approx(1)  # the head is affine
    assert "shap_similarity" not in found.results["layercam"]
    assert found.results["shapcam_1"]["average_drop_std"] == 0.0
    module = load_module(read_checkpoint(models["calm"], "best.ckpt")).eval()
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    study = ShapCAM(orderings=[2], repetitions=2, seed=3)
    first, second, again = (
        study._weights((module.classifier, images, torch.tensor([1, 2])), 2, r) for r in (0, 1, 0)
    )
    assert torch.equal(first, again)
    assert not torch.allclose(first, second)
    with torch.no_grad():
        logits = module.classifier(images)
        empty = module.classifier.head(0 * module.classifier.features(images))
    gain = (logits - empty)[[0, 1], [1, 2]]
    torch.testing.assert_close(first.sum(1), gain, rtol=1e-4, atol=1e-4)  # Eq. 8
    rows = shap_figures({1: [{"average_drop": 0.2}, {"average_drop": 0.4}]}, {"cam": 0.5})
    assert rows == {
        "shapcam_1": {
            "average_drop": pytest.approx(0.3),
            "average_drop_std": pytest.approx(math.sqrt(0.02)),
        },
        "cam": {"shap_similarity": 0.5},
    }


def test_other_runs_are_rows_by_their_own_maps(run, models):
    found = run("casm", "subsets", f"studies.subsets.runs=[{models['fcam']}]")
    other = run("fcam", "subsets", out="other")
    assert found.results["fcam"] == {
        name: pytest.approx(value)
        for name, value in other.results["native"].items()
        if name in ("le_A", "le_B")
    }
    rows = rows_of(found.folder / "subsets.csv")
    assert [row["method"] for row in rows[::2]] == ["native", "cam", "fcam"]
    assert [row["trained_classes"] for row in rows[:2]] == ["none", "all"]
    assert class_subsets([2, 3], 5) == {"A": range(2), "B": range(2, 5)}
    assert list(class_subsets(None, 3)) == ["0", "1", "2"]
    cut = {"A": range(2), "B": range(2, 4), "C": range(4, 5)}
    assert marks(frozenset({1, 4}), cut) == {"A": "some", "B": "none", "C": "all"}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["thresholds", "studies.thresholds.iou=40"], "iou must be one of"),
        (["downscale", "studies.downscale.factors=[64]"], "64 is more than the 32 pixels"),
        (["downscale", "studies.downscale.factors=[2,2]"], "factors must be different numbers"),
        (["shapcam", "studies.shapcam.orderings=[]"], "orderings must be different numbers"),
        (["subsets", "studies.subsets.sizes=[3,4]"], "add up to 7, but there are 16 classes"),
        (["subsets", "studies.subsets.runs=[nowhere]"], "there is no such checkpoint"),
    ],
)
def test_what_does_not_fit_is_refused_before_any_work(run, tmp_path, words, told):
    with pytest.raises(UserError, match=told):
        run("cam", *words)
    assert not (tmp_path / "out").exists()


def test_subsets_of_splits_without_boxes_and_masks_are_refused(models):
    class Without:
        def has_boxes(self, split):
            return False

        has_masks = has_boxes

    config = compose_checked([f"checkpoint={models['cam']}"], "evaluate", complete=False)
    study = Subsets()
    study.check(config)
    with pytest.raises(UserError, match=r"studies=\[subsets\]"):
        study.check_data(Without())
