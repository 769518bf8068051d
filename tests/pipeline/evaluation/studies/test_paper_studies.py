"""The studies of Opti-CAM's paper by evaluate.py: whole, ended and continued, and refused."""

import csv
import json

import pytest

from learned_saliency.pipeline.cli.compose import compose_checked
from learned_saliency.pipeline.cli.errors import UserError
from learned_saliency.pipeline.evaluation.evaluate import evaluate
from learned_saliency.pipeline.evaluation.studies import (
    opticam_report,
    randomization_report,
    selectivity,
)
from learned_saliency.trainers import Journal
from tests.support.untrained import untrained_run

SMALL = {
    "selectivity": ["exponents=[0.5,2]"],
    "boxes": [],
    "opticam": ["iterations=[1]", "learning_rates=[]", "objectives=[diff]", "normalizations=[]"],
    "randomization": ["steps=2", "independent=false"],
    "costs": ["images=2", "repeats=1"],
}


@pytest.fixture(scope="module")
def models(creatures, tmp_path_factory):
    """Checkpoints with random weights: of a plain run, and of one on permuted labels."""
    folder = tmp_path_factory.mktemp("models")
    words = {"plain": [], "permuted": ["data.permute_labels=0"]}
    made = (untrained_run(creatures, folder / k, "model=cam", *v) for k, v in words.items())
    return [run / "checkpoints" / "best.ckpt" for run in made]


@pytest.fixture
def run(models, tmp_path):
    words = [
        f"checkpoint={models[0]}",
        f"output_dir={tmp_path}/out",
        "methods=[gradcam]",
        "limit=7",
        "pictures.images=2",
        "studies_only=true",
        "attribution.opticam.iterations=2",
    ]

    def run(studies, *more):
        small = [f"studies.{study}.{word}" for study in studies for word in SMALL[study]]
        chosen = [f"studies=[{','.join(studies)}]", *small, *more]
        return evaluate(compose_checked([*words, *chosen], "evaluate", complete=False))

    return run


def test_figures_and_files_of_all_studies_stand_beside_each_other(run, models):
    whole = run(SMALL, f"studies.randomization.classifier={models[1]}")
    found = whole.results
    assert {name for values in found.values() for name in values} <= set(whole.figures)
    assert {"native", "gradcam", "true_box", "opticam objective=diff"} <= set(found)
    for name in ("native", "gradcam"):
        assert found[name]["permuted_ssim"] != found[name]["randomized_ssim"]
        assert found[name]["seconds_per_image"] > 0
    paths = {path.relative_to(whole.folder).as_posix() for path in whole.written}
    assert {f"{study}.csv" for study in SMALL} <= paths
    assert {f"pictures/{name}_gradcam.png" for name in ("boxes", "randomization")} <= paths
    assert {"pictures/opticam_iterations.png", "pictures/opticam_objective.png"} <= paths
    assert all(path.is_file() for path in whole.written)


def tables(folder):
    """All that an evaluation tells, but for the clock."""
    found = {path.name: path.read_bytes() for path in sorted(folder.glob("*.csv"))}
    found["results"] = json.loads((folder / "results.json").read_text())["test"]
    if "opticam.csv" in found:
        rows = list(csv.DictReader(found["opticam.csv"].decode().splitlines()))
        assert all(float(row.pop("seconds_per_image")) > 0 for row in rows)
        found["opticam.csv"] = rows
    return found


@pytest.mark.parametrize("study", ["selectivity", "boxes", "opticam", "randomization"])
def test_studies_that_were_ended_go_on_to_the_same_tables(run, monkeypatch, tmp_path, study):
    for report in (selectivity, opticam_report, randomization_report):  # they draw the tables
        monkeypatch.setattr(report, "plot_panels", lambda path, titles, draw: path.touch())
    words = [study], "pictures.images=0"
    whole = run(*words)
    done, ended, counted = Journal.done, [], []

    def ending(journal, index):
        done(journal, index)
        if journal.folder.name == study:
            ended.append(index.tolist())
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "done", ending)
        with pytest.raises(KeyboardInterrupt):
            run(*words, f"output_dir={tmp_path}/again")
    with monkeypatch.context() as patch:
        patch.setattr(Journal, "done", lambda j, i: (counted.append(i.tolist()), done(j, i)))
        again = run(*words, f"output_dir={tmp_path}/again")
    assert tables(again.folder) == tables(whole.folder)
    assert ended == [list(range(6))]
    assert [index for index in counted if index] == [[6]]


def test_what_does_not_fit_is_told_before_any_work(run, models, tmp_path):
    for word, told in (
        (f"studies.randomization.classifier={models[0]}", "was trained on the labels as they are"),
        ("studies.randomization.layers=[nothing]", "no layer with weights is named nothing"),
        ("studies.opticam.layers=[nothing]", "no layer is named nothing"),
        ("studies.opticam.starts=[gradcam]", "gives nothing to start from"),
        ("studies.selectivity.exponents=[0]", "studies.selectivity.exponents"),
        ("studies.costs.images=0", "studies.costs.images"),
    ):
        with pytest.raises(UserError, match=told):
            run([word.split(".")[1]], word)
    assert not (tmp_path / "out").exists()
