"""Whole runs on the dashboards, read back with their own tools, also after a kill."""

import csv
import json
import os
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import cv2
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from learned_saliency.metrics import boxes_from_saliency
from learned_saliency.pipeline.cli.compose import compose_checked
from learned_saliency.pipeline.evaluation.evaluate import evaluate
from learned_saliency.pipeline.training.fit import train
from learned_saliency.trainers.callbacks import pictures
from learned_saliency.trainers.loggers.wandb_history import read_records
from tests.support.paths import ROOT

TENSORBOARD = "+logger.tensorboard._target_=learned_saliency.trainers.TensorBoardDashboard"
EXTRAS = [
    f"+logger.{name}._target_=learned_saliency.trainers.{dashboard}"
    for name, dashboard in {"mlflow": "MLflowDashboard", "trackio": "TrackioDashboard"}.items()
    if find_spec(name)
]


@pytest.fixture(autouse=True)
def offline(monkeypatch, trackio_dir):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.delenv("WANDB_DATA_DIR", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


class Recorded:
    """A run's offline folders, put together in the order of their times."""

    def __init__(self, folder):
        self.folders = sorted(folder.glob("wandb/offline-run-*"))
        files = [file for each in self.folders for file in each.glob("*.wandb")]
        records = [record for file in files for record in read_records(file)]
        kinds = ("run", "history", "config", "artifact", "exit")
        self.of = {kind: [r[kind] for r in records if r["type"] == kind] for kind in kinds}
        self.rows = [record["item"] for record in self.of["history"]]

    def curve(self, name):
        return [row[name] for row in self.rows if name in row]

    def files(self, name):
        """Files of the media that were logged under a name."""
        paths = self.curve(f"{name}.path")
        return [
            next(p for f in self.folders if (p := f / "files" / path).is_file()) for path in paths
        ]

    def table(self, name):
        return json.loads(self.files(name)[-1].read_text())

    def artifact(self, start):
        (found,) = [a for a in self.of["artifact"] if a["name"].startswith(start)]
        return found


def curves(path):
    """Values of ``metrics.csv`` by name."""
    with path.open() as file:
        rows = list(csv.DictReader(file))
    return {name: [float(row[name]) for row in rows if row[name]] for name in rows[0]}


def check_extras(folder, expected):
    """Check values and steps by name on MLflow and Trackio, where they are installed."""
    for word in EXTRAS:
        if "mlflow" in word:
            from mlflow import MlflowClient

            client, run = MlflowClient((folder / "mlruns").as_uri()), "mlflow_id.txt"
            run = (folder / run).read_text().strip()
            found = {
                name: [(m.step, m.value) for m in client.get_metric_history(run, name)]
                for name in client.get_run(run).data.metrics
            }
        else:
            from trackio.sqlite_storage import SQLiteStorage

            found = {}
            run = (folder / "trackio_id.txt").read_text().strip()
            for row in SQLiteStorage.get_logs("learned-saliency", run):
                for name, value in row.items():
                    found.setdefault(name, []).append((row["step"], value))
        for name, values in expected.items():
            steps, expected_steps = ([s for s, _ in each] for each in (sorted(found[name]), values))
            assert steps == expected_steps, (word, name)
            assert [v for _, v in sorted(found[name])] == pytest.approx(
                [v for _, v in values], rel=1e-5
            ), name


def scalars(folder):
    """Values and steps of TensorBoard's scalars by name."""
    found = EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0, "tensors": 0})
    found.Reload()
    return found, {name: found.Scalars(name) for name in found.Tags()["scalars"]}


def test_a_run_and_its_evaluation_are_whole_on_the_dashboards(small_run, tmp_path):
    words = [*small_run, "model=fcam", "recipe.epochs=2", "logger=wandb", TENSORBOARD]
    words += [*EXTRAS, "recipe.head_lr_factor=5"]
    run = train(compose_checked(words))
    logged = curves(run.folder / "metrics.csv")
    on_wandb = Recorded(run.folder)
    for name, values in logged.items():
        if name != "step" and "epoch" not in name:
            assert on_wandb.curve(name) == pytest.approx(values), name
    for name in (
        "classifier/train/loss_step",
        "classifier/train/lr_head",
        "train/lr",
        "val/native/pxap",
    ):
        assert logged[name], name
    assert len(logged["train/images_per_second"]) == 8
    rates = logged["classifier/train/lr"], logged["classifier/train/lr_head"]
    assert rates[1] == pytest.approx([5 * rate for rate in rates[0]])

    for name, count in [
        ("classifier/pictures/validation", 1),
        ("pictures/validation", 2),
        ("pictures/test_curves", 1),
        ("pictures/test_maps", 1),
    ]:
        pictures = on_wandb.files(name)
        assert len(pictures) == count, name
        assert all(cv2.imread(str(path)) is not None for path in pictures), name
    check_tables(on_wandb, run.results, ["native", "cam"])
    (start,) = on_wandb.of["run"]
    assert start["run_id"] == (run.folder / "wandb_id.txt").read_text().strip()
    config = on_wandb.of["config"][0]["update"]
    assert config["model"]["loss"]["crf"]["_target_"] == "learned_saliency.losses.DenseCRFLoss"
    assert config["seed"] == 0

    for name, folder in [("fcam-", "checkpoints"), ("cam-", "checkpoints/classifier")]:
        artifact = on_wandb.artifact(name)
        assert artifact["type"] == "model"
        assert {"best", "latest"} < set(artifact["aliases"])
        held = {c["path"]: Path(c["local_path"]) for c in artifact["manifest"]["contents"]}
        assert held == {n: run.folder / folder / n for n in ("best.ckpt", "best.md")}
    metadata = json.loads(on_wandb.artifact("fcam-")["metadata"])
    assert metadata["metrics"]["test"]["native"]["pxap"] == run.results["native"]["pxap"]

    _, first = scalars(run.folder / "tensorboard" / "classifier")
    board, last = scalars(run.folder / "tensorboard" / "model")
    assert set(first) | set(last) | {"step"} == set(logged)
    for name, events in (first | last).items():
        assert [e.value for e in events] == pytest.approx(logged[name], rel=1e-5), name
    names = {"pictures/validation", "pictures/test_curves", "pictures/test_maps"}
    assert set(board.Tags()["images"]) == names
    assert "test/results/text_summary" in board.Tags()["tensors"]
    both = {name: [(e.step, e.value) for e in events] for name, events in (first | last).items()}
    check_extras(run.folder, both)

    words = [f"checkpoint={run.folder}", "methods=[native,gradcam]", "logger=wandb"]
    words += [*EXTRAS, "evaluate.faithfulness=[average_drop]", "pictures.images=3"]
    words += [f"output_dir={tmp_path}/evaluated"]
    again = evaluate(compose_checked(words, "evaluate", complete=False))
    on_wandb = Recorded(again.folder)
    check_tables(on_wandb, again.results, ["native", "gradcam"], images=3)
    assert on_wandb.curve("test/gradcam/average_drop") == [again.results["gradcam"]["average_drop"]]
    assert on_wandb.of["config"][0]["update"]["methods"] == ["native", "gradcam"]
    assert on_wandb.of["run"][0]["run_id"] != start["run_id"]
    check_extras(
        again.folder,
        {
            f"test/{method}/{name}": [(0, value)]
            for method, values in again.results.items()
            for name, value in values.items()
        },
    )


def test_pictures_have_the_box_threshold_of_their_own_epoch(small_run, monkeypatch):
    used = []

    def watched(maps, threshold):
        used.append(threshold)
        return boxes_from_saliency(maps, threshold)

    monkeypatch.setattr(pictures, "boxes_from_saliency", watched)
    run = train(compose_checked([*small_run, "model=cam", "test=false"]))
    (path,) = (run.folder / "pictures").rglob("epoch_000.png")
    assert cv2.imread(str(path)) is not None
    state = torch.load(run.folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert used == [pytest.approx(float(state["box_threshold"]))]
    assert used[0] != 0.5  # the first one


def check_tables(on_wandb, results, methods, images=2):
    table = on_wandb.table("test/results")
    assert [row[0] for row in table["data"]] == list(results)
    for method, *cells in table["data"]:
        values = dict(zip(table["columns"][1:], cells, strict=True))
        assert (values.pop("maps") is not None) == (method in methods)
        figures = {name: value for name, value in values.items() if value is not None}
        assert figures == pytest.approx(results[method]), method
    table = on_wandb.table("test/examples")
    assert table["columns"][4:] == ["image", *methods]
    assert len(table["data"]) == images
    kept = [c for a in on_wandb.of["artifact"] for c in a["manifest"]["contents"]]
    drawn = [Path(c["local_path"]) for c in kept if c["path"].endswith(".png")]
    # per image the image and its maps, per method a strip of them
    assert len(drawn) == images * (1 + len(methods)) + len(methods)
    assert all(cv2.imread(str(path)) is not None for path in drawn)
    for name in ("test/box_accuracy_table", "test/precision_recall_table"):
        lines = on_wandb.table(name)
        assert {row[1] for row in lines["data"]} == set(methods)
        assert all(0 <= row[0] <= 1 and 0 <= row[2] <= 1 for row in lines["data"])
    plots = {name for each in on_wandb.of["config"] for name in each["update"]}
    for name in ("box_accuracy", "precision_recall"):
        assert f"_wandb.visualize.test/{name}" in plots


def test_a_killed_run_goes_on_with_its_dashboards(small_run, tmp_path):
    folder = tmp_path / "run"
    words = [
        *small_run,
        "model=cam",
        "logger=wandb",
        TENSORBOARD,
        *EXTRAS,
        "recipe.classifier_epochs=2",
    ]
    words += ["data.batch_size=1", "pictures.images=0"]
    kill(words, folder / "metrics.csv", step=40)  # within the second of two epochs of 32
    kept = (folder / "wandb_id.txt").read_text()
    config = compose_checked([*words, f"resume={folder}/checkpoints/last.ckpt"])
    assert train(config).folder == folder
    assert (folder / "wandb_id.txt").read_text() == kept
    on_wandb = Recorded(folder)
    assert len(on_wandb.folders) == 2
    assert {start["run_id"] for start in on_wandb.of["run"]} == {kept.strip()}
    assert on_wandb.curve("step") == list(range(65))
    assert len(on_wandb.curve("val/native/pxap")) == 2
    assert on_wandb.curve("_step") == list(range(66))  # the last one: the tables
    _, found = scalars(folder / "tensorboard" / "model")
    assert [event.step for event in found["train/loss_step"]] == list(range(64))
    assert [event.step for event in found["val/native/pxap"]] == [31, 63]
    names = ("train/loss_step", "val/native/pxap")
    check_extras(folder, {name: [(e.step, e.value) for e in found[name]] for name in names})


def kill(words, curves, step):
    """Start train.py, and kill it when it has logged a step."""
    command = [sys.executable, str(ROOT / "train.py"), *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    environment.pop("WANDB_SERVICE", None)  # this process's own, which a kill would leave alive
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 120
    try:
        while process.poll() is None and time.monotonic() < until:
            time.sleep(0.02)
            if curves.is_file() and f",{step}," in curves.read_text():
                break
        assert process.poll() is None, "the run ended before it was killed"
    finally:
        process.kill()
        process.wait()


def test_the_id_is_there_before_the_first_batch_and_a_failure_is_told(
    small_run, tmp_path, monkeypatch
):
    from learned_saliency.trainers import CAMModule

    folder = tmp_path / "run"

    def failing(self, batch, batch_idx):
        assert (folder / "wandb_id.txt").is_file()
        raise OSError("no more disk")

    monkeypatch.setattr(CAMModule, "training_step", failing)
    with pytest.raises(OSError, match="no more disk"):
        train(compose_checked([*small_run, "model=cam", "logger=wandb"]))
    assert [end["exit_code"] for end in Recorded(folder).of["exit"]] == [1]
