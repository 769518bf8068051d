"""MLflow and Trackio, read back by their own readers; no network, no value twice, no run ended."""

import importlib.util
import json
import shutil
import socket
from pathlib import Path

import cv2
import numpy as np
import pytest

from learned_saliency.trainers import MetricsCSV, MLflowDashboard, Report, TrackioDashboard

PROJECT = "learned-saliency"


class OnMLflow:
    """Values and artifacts that MLflow's client reads of a run's folder."""

    name, dashboard = "mlflow", MLflowDashboard

    def __init__(self, folder):
        from mlflow import MlflowClient

        self.client = MlflowClient((folder / "mlruns").as_uri())
        experiment = self.client.get_experiment_by_name(PROJECT).experiment_id
        (self.run,) = self.client.search_runs([experiment])
        self.place = folder / "mlruns" / experiment / self.run.info.run_id / "artifacts"

    def curve(self, name):
        found = self.client.get_metric_history(self.run.info.run_id, name)
        return sorted((m.step, m.value) for m in found)

    def config(self):
        return self.run.data.params

    def results(self):
        return (self.place / "test/results.md").read_text().splitlines()[2:]

    def pictures(self, name):
        return [p.read_bytes() for p in (self.place / "classifier" / name).iterdir()]

    def page(self):
        return (self.place / "report.html").read_bytes()

    def checkpoint(self):
        facts = json.loads((self.place / "checkpoints/cam/facts.json").read_text())
        return (self.place / "checkpoints/cam/best.ckpt").read_bytes(), facts["epoch"]


class OnTrackio:
    """Values and artifacts that Trackio's storage holds of a run."""

    name, dashboard = "trackio", TrackioDashboard

    def __init__(self, folder):
        from trackio.sqlite_storage import SQLiteStorage

        self.run = (folder / "trackio_id.txt").read_text().strip()
        self.storage, self.place = SQLiteStorage, folder / "read"
        self.rows = SQLiteStorage.get_logs(PROJECT, self.run)

    def curve(self, name):
        return sorted((row["step"], row[name]) for row in self.rows if name in row)

    def config(self):
        return {
            f"{group}.{key}": str(value)
            for group, values in self.storage.get_run_config(PROJECT, self.run).items()
            if isinstance(values, dict)
            for key, value in values.items()
        }

    def results(self):
        ((_, table),) = self.curve("test/results")
        cells = [
            [v if isinstance(v, str) else f"{v:.4f}" for v in r.values()] for r in table["_value"]
        ]
        return [f"| {' | '.join(row)} |" for row in cells]

    def pictures(self, name):
        from trackio.utils import MEDIA_DIR

        found = self.curve(f"classifier/{name}")
        return [(MEDIA_DIR / value["file_path"]).read_bytes() for _, value in found]

    def _artifact(self, name):
        import trackio

        run = trackio.init(PROJECT, name="reader", embed=False)
        try:
            artifact = run.use_artifact(f"{name}-{self.run}")
            (file,) = Path(artifact.download(self.place / name)).iterdir()
            return file.read_bytes(), artifact.metadata
        finally:
            trackio.finish()

    def page(self):
        return self._artifact("report")[0]

    def checkpoint(self):
        content, facts = self._artifact("cam")
        return content, facts["epoch"]


@pytest.fixture(params=[OnMLflow, OnTrackio], ids=lambda kind: kind.name)
def service(request, monkeypatch, trackio_dir):
    """The reader of a service that is installed and finds no server."""
    if importlib.util.find_spec(request.param.name) is None:
        pytest.skip(f"the extra {request.param.name} is not installed")
    for name in ("MLFLOW_TRACKING_URI", "TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("it asks the network"))
    return request.param


def log(logger, *steps):
    for step in steps:
        logger.log_metrics({"train/loss": step / 10, "epoch": step // 4}, step)
        logger.save()


def told(record):
    return [str(w.message) for w in record if " could not " in str(w.message)]


def test_everything_of_a_run_is_there_under_the_names_of_the_stages(
    service, recwarn, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "run"
    folder.mkdir()
    cv2.imwrite(str(folder / "epoch_000.png"), np.full((8, 8, 3), 7, np.uint8))
    (folder / "report.html").write_text("<p>the page")
    (folder / "best.ckpt").write_bytes(b"weights")
    first, last = (service.dashboard(folder, stage=stage) for stage in ("classifier", ""))
    for logger in (first, last):
        logger.log_config({"model": {"name": "cam", "epochs": 2}})
    log(first, 0, 1)
    first.log_picture("pictures/validation", folder / "epoch_000.png", 0, 1)
    log(last, 0, 1, 2)
    last.log_metrics({"test/native/pxap": 0.5})
    results = {"native": {"pxap": 0.5}, "full_image": {"pxap": 0.25}}
    pictures = [folder / "epoch_000.png"]
    last.log_report(Report("test", results, {}, {}, [], ["cat"], pictures, folder / "report.html"))
    last.log_checkpoint("cam", [folder / "best.ckpt"], ["best"], {"epoch": 3})
    for logger in (first, last):
        logger.finish()
    found = service(folder)
    assert found.curve("classifier/train/loss") == [(0, 0.0), (1, 0.1)]
    assert found.curve("train/loss") == [(0, 0.0), (1, 0.1), (2, 0.2)]
    assert found.curve("test/native/pxap") == [(2, 0.5)]
    assert found.config() == {"model.name": "cam", "model.epochs": "2"}
    assert found.results() == ["| native | 0.5000 |", "| full_image | 0.2500 |"]
    assert found.pictures("pictures/validation") == [(folder / "epoch_000.png").read_bytes()]
    assert found.page() == b"<p>the page"
    assert found.checkpoint() == (b"weights", 3)
    assert not told(recwarn)


def test_a_resumed_run_neither_repeats_nor_lacks_a_value_also_after_a_move(
    service, recwarn, tmp_path
):
    """The dashboard had got to step 9, but lost 6 and 7; the checkpoint is of step 8."""
    folder = tmp_path / "run"
    log(MetricsCSV(folder), *range(8))
    logger = service.dashboard(folder)
    log(logger, *range(6), 8, 9)
    logger.finish(failed=True)
    folder = shutil.move(folder, tmp_path / "moved")
    resumed = service.dashboard(folder, resume_step=8)
    resumed.log_config({"model": {"epochs": 4}})
    log(resumed, *range(8, 12))
    resumed.log_checkpoint("cam", [folder / "metrics.csv"], [], {"epoch": 3})
    resumed.finish()
    found = service(folder)
    assert found.curve("train/loss") == [(step, step / 10) for step in range(12)]
    if service is OnMLflow:
        assert found.run.info.status == "FINISHED"
        assert (found.place / "checkpoints/cam/metrics.csv").is_file()
    assert not told(recwarn)


def test_an_evaluation_that_is_done_again_is_shown_again_only_where_it_differs(service, tmp_path):
    for value in (0.5, 0.5, 0.75):
        logger = service.dashboard(tmp_path / "run")
        logger.log_metrics({"test/native/pxap": value}, 0)
        logger.finish()
    assert service(tmp_path / "run").curve("test/native/pxap") == [(0, 0.5), (0, 0.75)]


def test_runs_of_one_process_do_not_mix(service, tmp_path):
    for name, first in (("a", 0), ("b", 5)):
        logger = service.dashboard(tmp_path / name)
        log(logger, first, first + 1)
        if name == "b":  # the other one ended badly: nobody closed it
            logger.finish()
    assert service(tmp_path / "a").curve("train/loss") == [(0, 0.0), (1, 0.1)]
    assert service(tmp_path / "b").curve("train/loss") == [(5, 0.5), (6, 0.6)]


def test_a_service_that_cannot_start_ends_no_run(service, recwarn, tmp_path):
    (tmp_path / "run").write_text("a file in the folder's place")
    logger = service.dashboard(tmp_path / "run", resume_step=1)
    logger.log_config({"seed": 0})
    log(logger, 0, 1)
    logger.log_report(Report("test", {"native": {"pxap": 0.5}}, {}, {}, [], ["cat"], []))
    logger.log_checkpoint("cam", [tmp_path / "run"], ["best"], {"epoch": 0})
    logger.finish()
    (message,) = told(recwarn)
    assert message.startswith(f"{logger.service} could not start (")
    assert message.endswith("; this run has no dashboard.")


def test_what_mlflow_refuses_is_told_and_the_rest_goes_on(recwarn, tmp_path):
    pytest.importorskip("mlflow", reason="the extra mlflow is not installed")
    logger = MLflowDashboard(tmp_path / "run")
    logger.log_config({"model": {"name": "cam"}})
    logger.log_checkpoint("cam", [tmp_path / "none"], ["best"], {"epoch": 0})
    logger.log_metrics({"test/maps.a@0.5 [mine]/pxap": 0.5}, 0)
    (tmp_path / "run" / "mlflow_id.txt").write_text("f" * 32)
    other = MLflowDashboard(tmp_path / "run")
    log(other, 0)
    assert [message.split(" (")[0] for message in told(recwarn)] == [
        "MLflow could not log checkpoint",
        "MLflow could not find the run of mlflow id.txt, so that a new one is made",
    ]
    (before,) = logger.experiment.get_metric_history(logger.run_id, "test/maps.a_0.5 _mine_/pxap")
    assert before.value == 0.5
    assert other.experiment.get_run(other.run_id).data.metrics["train/loss"] == 0
