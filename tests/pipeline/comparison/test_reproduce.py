"""Tests of the command: which row a run has, what is printed beside it, and the page."""

import copy
import csv
import json
import statistics

import pytest
import yaml

from learned_saliency.pipeline.cli import compose_checked
from learned_saliency.pipeline.comparison import recipes
from learned_saliency.pipeline.comparison.published import published_rows
from learned_saliency.pipeline.comparison.recipes import recipe_config
from learned_saliency.pipeline.training import train
from tests.support.commands import run_command
from tests.support.evaluations import made_maps, made_truth, write_evaluation

COUNT = 20
TRUTH = made_truth(COUNT)


def write_run(folder, recipe, seed=0, noise=0.5, record=None, **changes):
    """Write the folder of a run of a recipe, as training leaves it, with some keys changed."""
    maps = {name: made_maps(TRUTH, noise, 7 * seed + k) for k, name in enumerate(("native", "cam"))}
    write_evaluation(folder, TRUTH, maps, seed=seed, **(record or {}))
    config = copy.deepcopy(recipe_config(recipe))
    for key, value in {"seed": seed, "data.root": "/elsewhere", **changes}.items():
        *names, last = key.split(".")
        node = config
        for name in names:
            node = node[name]
        node[last] = value
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder


@pytest.fixture(autouse=True)
def few_images(monkeypatch):
    """Let the tested images be as many as those of the papers' data sets."""
    rows = {k: row._replace(test_images=COUNT) for k, row in published_rows().items()}
    monkeypatch.setattr(recipes, "published_rows", lambda: rows)


@pytest.fixture
def reproduce(tmp_path):
    def call(*words):
        done = run_command("reproduce", *map(str, words), f"output_dir={tmp_path / 'out'}")
        assert done.returncode == 0, done.stderr
        content = json.loads((tmp_path / "out/reproduce.json").read_text())
        return done.stdout, content

    return call


def test_seeds_of_a_row_have_mean_spread_and_intervals_beside_the_figure(tmp_path, reproduce):
    runs = [
        write_run(tmp_path / f"runs/{seed}", "fcam_cub_vgg16", seed, noise=1 + seed)
        for seed in range(3)
    ]
    printed, content = reproduce(tmp_path / "runs", "resamples=100")
    (row,) = content["rows"]
    assert (row["recipe"], row["reproduction"], row["seeds"]) == ("fcam_cub_vgg16", True, [0, 1, 2])
    found = {(f["method"], f["metric"]): f for f in row["figures"]}
    results = [json.loads((run / "results.json").read_text())["test"] for run in runs]
    for method, published in (("native", 87.3), ("cam", 61.6)):
        ours = [100 * result[method]["max_box_acc"] for result in results]
        figure = found[method, "max_box_acc"]
        assert figure["published"] == published
        assert figure["ours"] == pytest.approx(statistics.mean(ours), abs=1e-5)
        assert figure["std"] == pytest.approx(statistics.stdev(ours), abs=1e-5)
        assert figure["difference"] == pytest.approx(figure["ours"] - published, abs=1e-5)
        half = 4.302653 * figure["std"] / 3**0.5  # Student's t, two degrees of freedom
        ends = [figure["seeds_low"], figure["seeds_high"]]
        assert ends == pytest.approx([figure["ours"] - half, figure["ours"] + half], abs=1e-3)
        assert figure["images_low"] <= figure["ours"] <= figure["images_high"]
    assert "fcam_cub_vgg16: 3 runs, seeds 0, 1, 2" in printed
    assert "87.3" in printed
    missing = len(published_rows()) - 1
    assert f"{missing} rows of the papers have no run here (all=true lists them)" in printed
    assert len(content["without_run"]) == missing
    with (tmp_path / "out/reproduce.csv").open() as file:
        assert len(list(csv.DictReader(file))) == len(row["figures"])


def test_a_run_is_of_the_row_whose_values_it_has_whatever_it_was_called(tmp_path, reproduce):
    begun = {"experiment": "casm_imagenet_resnet50"}
    changes = {"model.thinning": "F", "model.loss.size_weight": 2.5, "model.pool.thinning": "F"}
    changes |= {"model.module.pool.thinning": "F", "model.module.loss.size_weight": 2.5}
    write_run(tmp_path / "run", "casm_imagenet_resnet50", record=begun, **changes)
    _, content = reproduce(tmp_path / "run", "resamples=100")
    (row,) = content["rows"]
    assert (row["recipe"], row["reproduction"]) == ("casm_imagenet_resnet50_f", True)


def test_other_values_are_told_and_make_no_reproduction(tmp_path, reproduce):
    name = "fcam_cub_resnet50"
    write_run(tmp_path / "same", name)
    write_run(tmp_path / "other", name, seed=1, **{"model.epochs": 3, "trainer.max_time": "1:00"})
    write_run(tmp_path / "batches", name, seed=2, **{"data.batch_size": 8, "trainer.devices": 4})
    printed, content = reproduce(*(tmp_path / n for n in ("same", "other", "batches")))
    first, second = content["rows"]
    assert (first["reproduction"], first["seeds"]) == (True, [0, 2])
    assert (second["reproduction"], second["seeds"]) == (False, [1])
    assert second["differs"] == [
        "model.epochs=3 instead of 50",
        "trainer.max_time=1:00 instead of nothing",
    ]
    assert "NOT A REPRODUCTION" in printed
    page = (tmp_path / "out/reproduce.html").read_text()
    assert "model.epochs=3 instead of 50" in page
    assert "Not a reproduction" in page


def test_fewer_test_images_and_another_split_are_told(tmp_path, reproduce, monkeypatch):
    rows = published_rows()
    monkeypatch.setattr(recipes, "published_rows", lambda: rows)
    write_run(tmp_path / "few", "cam_cub_vgg16")
    write_run(tmp_path / "val", "cam_cub_vgg16", record={"split": "val"})
    _, content = reproduce(tmp_path / "few", tmp_path / "val")
    told = {word for row in content["rows"] for word in row["differs"]}
    assert told == {"20 test images instead of 5794", "measured on val instead of test"}


def test_the_name_that_a_run_was_begun_with_counts_where_several_rows_are_near(tmp_path, reproduce):
    name = "casm_imagenet_resnet50_l"
    changes = {"model.epochs": 1, "model.thinning": "L100"}
    write_run(tmp_path / "run", name, record={"experiment": name}, **changes)
    _, content = reproduce(tmp_path / "run")
    assert content["rows"][0]["recipe"] == name
    assert "model.thinning=L100 instead of L" in content["rows"][0]["differs"]


def test_an_evaluation_of_a_run_adds_what_it_measured(tmp_path, reproduce):
    run = write_run(tmp_path / "run", "finetuned_kvasir_vgg16")
    maps = {"opticam": made_maps(TRUTH, 0.5, 3)}
    write_evaluation(tmp_path / "seen", TRUTH, maps, checkpoint=str(run / "checkpoints/best.ckpt"))
    results = json.loads((tmp_path / "seen/results.json").read_text())
    results["test"]["opticam"]["average_drop"] = 0.015
    (tmp_path / "seen/results.json").write_text(json.dumps(results))
    (tmp_path / "seen/config.yaml").write_text("evaluate: {mask_color: mean}\ntarget: null\n")
    _, content = reproduce(run, tmp_path / "seen")
    (row,) = content["rows"]
    assert row["reproduction"]
    found = {(f["method"], f["metric"]): f for f in row["figures"]}
    assert found["opticam", "average_drop"]["ours"] == 1.5
    assert found["opticam", "average_drop"]["images_low"] is None  # no terms of single images
    assert found["native", "accuracy"]["ours"] is not None
    assert found["gradcam", "average_drop"]["ours"] is None


def test_the_same_seed_counts_once(tmp_path, reproduce):
    for name in ("a", "b"):
        write_run(tmp_path / f"runs/{name}", "cam_cub_vgg16")
    _, content = reproduce(tmp_path / "runs")
    (row,) = content["rows"]
    assert {figure["seeds"] for figure in row["figures"] if figure["ours"] is not None} == {1}
    assert any("has the seed 0 as" in note for note in row["notes"])
    assert any("cubv2_metadata is not given" in note for note in row["notes"])


def test_a_mean_of_several_networks_is_not_subtracted_from_one(tmp_path, reproduce):
    write_run(tmp_path / "run", "calm_cub_resnet50_ml")
    printed, content = reproduce(tmp_path / "run")
    of = {(f["metric"], f["method"]): f for f in content["rows"][0]["figures"]}
    assert of["max_box_acc_v2", "native"]["difference"] is None
    assert of["accuracy", "native"]["difference"] is not None
    assert "mean of 3" in printed


def test_without_runs_the_rows_are_listed_with_their_commands(tmp_path):
    done = run_command("reproduce")
    assert done.returncode == 0
    command = "python train.py experiment=casm_imagenet_resnet50_separate_f data.root=ILSVRC2012"
    assert command in done.stdout
    assert f"{len(published_rows())} rows of the papers" in done.stdout
    refused = run_command("reproduce", str(tmp_path))
    assert (refused.returncode, "holds no tested run" in refused.stderr) == (2, True)


def test_a_run_of_the_embedded_data_has_no_row_and_records_its_experiment(small_run, tmp_path):
    words = [*small_run, "pictures.images=0", "+trainer.limit_train_batches=1"]
    done = run_command("train", "experiment=calm_creatures", *words)
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "run/results.json").read_text())
    assert results["experiment"] == "calm_creatures"
    record = json.loads((tmp_path / "run/run.json").read_text())
    assert record["experiment"] == "calm_creatures"
    (tmp_path / "run/results.json").unlink()  # a test that was ended: the run goes on to it
    assert run_command("train", f"resume={tmp_path / 'run'}").returncode == 0
    assert json.loads((tmp_path / "run/results.json").read_text()) == results
    words = [str(tmp_path / "run"), "all=true", f"output_dir={tmp_path / 'out'}"]
    told = run_command("reproduce", *words).stdout
    assert "no paper has a row of data=creatures, the embedded data set" in told
    assert "experiment=fcam_cub_resnet50 data.root=CUB_200_2011" in told


def test_a_run_without_a_command_line_has_no_experiment(small_run, tmp_path):
    short = ["model=cam", "pictures.images=0", "+trainer.limit_train_batches=1"]
    train(compose_checked([*small_run, *short]))
    assert json.loads((tmp_path / "run/run.json").read_text())["experiment"] is None
    assert "experiment" not in json.loads((tmp_path / "run/results.json").read_text())
