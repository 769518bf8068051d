"""The studies of evaluate.py, on a small trained CALM."""

import csv
import json

import pytest
import torch

from learned_saliency.metrics import Figure, RemoveAndClassify
from learned_saliency.metrics.remove_and_classify import strong_blur
from learned_saliency.pipeline.cli.compose import compose_checked
from learned_saliency.pipeline.cli.errors import UserError
from learned_saliency.pipeline.evaluation.evaluate import evaluate
from learned_saliency.pipeline.evaluation.studies import Outcome, Study
from learned_saliency.pipeline.evaluation.studies.removal import (
    count_removed,
    removal_figures,
)
from learned_saliency.pipeline.reports import recorded_figures, table_rows
from learned_saliency.pipeline.training.fit import train
from tests.support.untrained import untrained_run


@pytest.fixture(scope="module")
def calm(creatures, tmp_path_factory):
    """Folder of a small CALM run."""
    from tests.support.words import SMALL_RUN

    folder = tmp_path_factory.mktemp("calm") / "run"
    words = [f"data.root={creatures}", f"data.metadata={creatures}/metadata", "model=calm"]
    return train(compose_checked([*SMALL_RUN, *words, f"output_dir={folder}"])).folder


@pytest.fixture
def run(calm, tmp_path):
    words = [f"checkpoint={calm}", f"output_dir={tmp_path}/out", "evaluate.faithfulness=[]"]

    def run(*more):
        config = compose_checked([*words, "pictures.images=0", *more], "evaluate", complete=False)
        return evaluate(config)

    return run


def test_figures_of_the_studies_stand_beside_those_of_the_test(run):
    found = run("studies=[cues,removal]", "methods=[cam,gradcam]")
    saved = json.loads((found.folder / "results.json").read_text())["test"]
    for name in ("native", "cam", "gradcam"):
        values = saved[name]
        assert 0 <= values["cue_mpxap"] <= 1
        assert {"cue_mpxap_1", "cue_mpxap_2", "cue_mpxap_3", "pxap", "accuracy"} <= set(values)
        assert {f"relative_accuracy_{k}" for k in range(10, 100, 10)} <= set(values)
    # CALM's own class maps, whether as the native map or by CAM, which asks the network for them.
    assert saved["native"]["cue_mpxap"] == saved["cam"]["cue_mpxap"]
    names = {path.name for path in found.written}
    assert {"cues.csv", "cues.png", "removal.csv", "removal.png"} <= names
    assert all(path.is_file() for path in found.written)
    assert not list(found.folder.rglob("*.tmp"))
    assert {name for values in saved.values() for name in values} <= set(found.figures)
    shown = ["cue_mpxap", "cue_mpxap_1", "cue_mpxap_2", "cue_mpxap_3"]
    shown += ["relative_accuracy", "blurred_accuracy"]
    assert table_rows(found.results, found.figures)[0][-6:] == shown


class Brightness(Study):
    """A study as somebody else would write one: how bright the maps are, to a power."""

    name = "brightness"

    def __init__(self, power=1):
        self.power = power

    def run(self, setting):
        values = [
            setting.module.saliency(batch["image"], batch["label"]).mean() ** self.power
            for batch in setting.batches()
        ]
        value = float(torch.stack(values).mean())
        files = {"tables/brightness.txt": lambda path: path.write_text(f"{value}")}
        return Outcome({"native": {"brightness": value}}, {"brightness": Figure(None)}, files)


def test_a_study_is_a_class_and_edits_nothing(run):
    target = f"{Brightness.__module__}.{Brightness.__name__}"
    words = [f"+studies.brightness._target_={target}", "methods=[]", "studies_only=true"]
    plain = run(*words)
    value = plain.results["native"]["brightness"]
    assert table_rows(plain.results, plain.figures)[0] == ["", "brightness"]
    table = plain.folder / "tables" / "brightness.txt"
    assert table in plain.written
    assert float(table.read_text()) == value
    squared = run(*words, "+studies.brightness.power=2").results["native"]["brightness"]
    assert 0 < squared < value < 1


def test_maps_without_a_class_are_refused_before_the_test(creatures, tmp_path):
    """F-CAM's own map is the same for every class; a post-hoc one is not."""
    model = untrained_run(creatures, tmp_path / "fcam", "model=fcam")
    words = [f"checkpoint={model}", f"output_dir={tmp_path}/out", "studies=[cues]"]
    words += ["evaluate.faithfulness=[]", "pictures.images=0"]
    with pytest.raises(UserError, match="maps that depend on the class"):
        evaluate(compose_checked([*words, "methods=[]"], "evaluate", complete=False))
    assert not (tmp_path / "out").exists()
    words += ["methods=[cam]", "studies_only=true"]
    found = evaluate(compose_checked(words, "evaluate", complete=False))
    assert set(found.results) == {"cam"}


def test_studies_alone_give_the_same_figures_and_no_others(run):
    words = ["studies=[cues]", "methods=[cam]"]
    tested, alone = run(*words), run(*words, "studies_only=true")
    for name in ("native", "cam"):
        values = {k: v for k, v in tested.results[name].items() if k.startswith("cue_")}
        assert values
        assert alone.results[name] == values
    assert set(alone.results) == {"native", "cam"}
    names = ["report.html", "table.md", "table.tex", "results.json", "results.csv", "cues.csv"]
    assert [path.name for path in alone.written if path.suffix != ".png"] == names
    assert not (alone.folder / "images.csv").exists()
    record = json.loads((alone.folder / "results.json").read_text())
    assert recorded_figures(record) == alone.figures  # for tables that are written later


def test_the_removal_table_holds_the_curves(run):
    found = run("studies=[removal]", "studies.removal.fractions=[0.1,0.5]", "methods=[cam]")
    with (found.folder / "removal.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["method"], row["erased"]) for row in rows] == [
        (method, erased) for method in ("native", "cam") for erased in ("0.1", "0.5", "1")
    ]
    saved = json.loads((found.folder / "results.json").read_text())["test"]
    assert float(rows[-1]["accuracy"]) == pytest.approx(saved["cam"]["blurred_accuracy"], abs=1e-6)
    for row in rows:
        if float(row["random_accuracy"]):
            ratio = float(row["accuracy"]) / float(row["random_accuracy"])
            assert float(row["relative_accuracy"]) == pytest.approx(ratio, abs=1e-4)


def test_random_erasure_is_the_same_for_all_methods_and_seeds_change_it():
    class Mean(torch.nn.Module):
        def forward(self, images):
            total = images.mean(dim=(1, 2, 3))
            return torch.stack([total, -total], dim=1)

    images = torch.randn(64, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    batch = {"image": images, "label": torch.zeros(64, dtype=torch.int64), "image_id": []}
    batch["index"] = torch.arange(64)
    methods = {
        "top": lambda classifier, images, targets: images[:, 0].sigmoid(),
        "flat": lambda classifier, images, targets: torch.zeros(len(images), 8, 8),
    }

    def erased(seed, index=slice(None)):
        scores = {name: RemoveAndClassify((0.5, 0.9)) for name in methods}
        part = {key: values[index] for key, values in batch.items() if key != "image_id"}
        count_removed(Mean().eval(), [part], methods, scores, seed=seed)
        return {name: metric.curve() for name, metric in scores.items()}

    curves = [erased(seed) for seed in (0, 0, 1)]
    shares = [
        erased(0, slice(rank, None, 3))["top"] for rank in range(3)
    ]  # as three processes see it
    sizes = torch.tensor([22, 21, 21], dtype=torch.float64)
    summed = sum(n * share.random_accuracy for n, share in zip(sizes, shares, strict=True)) / 64
    torch.testing.assert_close(summed, curves[0]["top"].random_accuracy)
    for first, second in zip(curves[0].values(), curves[1].values(), strict=True):
        torch.testing.assert_close(first, second, rtol=0, atol=0)
    chance = [found["top"].random_accuracy for found in curves]
    torch.testing.assert_close(chance[0], curves[0]["flat"].random_accuracy)
    assert not torch.equal(chance[0], chance[2])
    figures = removal_figures(curves[0])["top"]
    ratios = ["relative_accuracy", "relative_accuracy_50", "relative_accuracy_90"]
    assert list(figures) == [*ratios, "blurred_accuracy"]
    assert figures["relative_accuracy"] == pytest.approx(
        (figures["relative_accuracy_50"] + figures["relative_accuracy_90"]) / 2
    )
    bright = strong_blur(images).mean((1, 2, 3)) > 0  # what makes them of class 0
    assert figures["blurred_accuracy"] == pytest.approx(float(bright.double().mean()))


def test_what_cannot_run_is_said_before_the_test(run, creatures, tmp_path):
    plain = ["data=wsol", f"data.root={creatures}", f"data.metadata={creatures}/metadata"]
    for words, told in (
        (["studies=[cue]"], "the nearest: cues"),
        (["studies=[cues]", "studies.cues.scale=lin"], "scale=lin: expected one of even"),
        (
            ["studies=[cues]", "studies.cues.normalization=max"],
            "normalization=max: expected one of",
        ),
        (["studies=[removal]", "studies.removal.fractions=[2]"], "studies.removal.fractions"),
        (["studies_only=true"], "name some, studies="),
        ([*plain, "studies=[cues]"], "part labels"),
    ):
        with pytest.raises(UserError, match=told):
            run(*words)
    assert not (tmp_path / "out").exists()
