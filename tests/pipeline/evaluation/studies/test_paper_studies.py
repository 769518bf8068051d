"""The studies of Opti-CAM's paper by evaluate.py: whole, ended and continued, and refused."""

import csv
import json

import pytest

from learned_saliency.pipeline.cli.compose import compose_checked
from learned_saliency.pipeline.cli.errors import UserError
from learned_saliency.pipeline.evaluation.evaluate import evaluate
from learned_saliency.trainers import Journal
from tests.support.untrained import untrained_run

STUDIES = ("selectivity", "boxes", "opticam", "randomization")
TIMED = ("seconds_per_image", "forwards", "peak_memory_mib")


@pytest.fixture(scope="module")
def models(creatures, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    words = ["model=cam", "pictures.images=2"]
    plain = untrained_run(creatures, folder / "plain", *words)
    permuted = untrained_run(creatures, folder / "permuted", *words, "data.permute_labels=0")
    return plain, permuted / "checkpoints" / "best.ckpt"


@pytest.fixture
def run(models, tmp_path):
    plain, permuted = models
    words = [
        f"checkpoint={plain}",
        f"output_dir={tmp_path}/out",
        "methods=[gradcam]",
        "limit=7",
        "pictures.images=2",
        "studies_only=true",
        "attribution.opticam.iterations=2",
        f"studies=[{','.join(STUDIES)},costs]",
        "studies.selectivity.exponents=[0.5,2]",
        "studies.opticam.iterations=[1]",
        "studies.opticam.learning_rates=[]",
        "studies.opticam.objectives=[diff]",
        "studies.opticam.normalizations=[]",
        "studies.opticam.layers=[]",
        "studies.randomization.steps=2",
        "studies.costs.images=2",
        "studies.costs.repeats=1",
    ]

    def run(*more):
        return evaluate(compose_checked([*words, *more], "evaluate", complete=False))

    run.permuted = permuted
    return run


def comparable(folder):
    """All that does not depend on the clock, by file."""
    found = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix in (".csv", ".png")
    }
    del found["costs.csv"], found["results.csv"]
    rows = list(csv.DictReader(found.pop("opticam.csv").decode().splitlines()))
    assert all(float(row.pop("seconds_per_image")) > 0 for row in rows)
    results = json.loads((folder / "results.json").read_text())["test"]
    for values in results.values():
        for name in TIMED:
            values.pop(name, None)
    return found | {"opticam.csv": rows, "results.json": results}


def test_studies_that_were_ended_go_on_to_the_same_tables(run, monkeypatch, tmp_path):
    whole = run(f"studies.randomization.classifier={run.permuted}")
    found = whole.results
    assert {name for values in found.values() for name in values} <= set(whole.figures)
    assert {"native", "gradcam", "true_box", "opticam objective=diff"} <= set(found)
    for name in ("native", "gradcam"):
        assert found[name]["permuted_ssim"] != found[name]["randomized_ssim"]
        assert found[name]["seconds_per_image"] > 0
    paths = {path.relative_to(whole.folder).as_posix() for path in whole.written}
    assert {f"{study}.csv" for study in (*STUDIES, "costs")} <= paths
    assert {f"pictures/{name}_gradcam.png" for name in ("boxes", "randomization")} <= paths
    assert {"pictures/opticam_iterations.png", "pictures/opticam_objective.png"} <= paths
    assert all(path.is_file() for path in whole.written)
    done, ended = Journal.done, []

    def ending(journal, index):
        done(journal, index)
        if journal.folder.name == "randomization":
            ended.append(index.tolist())
            raise KeyboardInterrupt

    again = [f"studies.randomization.classifier={run.permuted}", f"output_dir={tmp_path}/again"]
    monkeypatch.setattr(Journal, "done", ending)
    with pytest.raises(KeyboardInterrupt):
        run(*again)
    monkeypatch.undo()
    counted = []
    monkeypatch.setattr(
        Journal, "done", lambda j, i: (counted.append((j.folder.name, len(i))), done(j, i))
    )
    assert comparable(run(*again).folder) == comparable(whole.folder)
    assert ended == [list(range(6))]
    assert counted == [("randomization", 1)]


def test_a_run_on_true_labels_and_unknown_layers_are_refused(run, models, tmp_path):
    for words, told in (
        (
            [f"studies.randomization.classifier={models[0]}/checkpoints/best.ckpt"],
            "was trained on the labels as they are",
        ),
        (["studies.randomization.layers=[nothing]"], "no layer with weights is named nothing"),
        (["studies.opticam.layers=[nothing]"], "no layer is named nothing"),
        (["studies.opticam.starts=[gradcam]"], "gives nothing to start from"),
        (["studies.selectivity.exponents=[0]"], "studies.selectivity.exponents"),
        (["studies.costs.images=0"], "studies.costs.images"),
    ):
        with pytest.raises(UserError, match=told):
            run(*words)
    assert not (tmp_path / "out").exists()
