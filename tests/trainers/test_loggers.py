"""Curves on disk and on the dashboard."""

import csv

from trainers import MetricsCSV, WandbDashboard


def rows(folder):
    with (folder / "metrics.csv").open() as file:
        return [{k: v for k, v in row.items() if v} for row in csv.DictReader(file)]


def write(folder, stage, steps, **options):
    logger = MetricsCSV(folder, stage, **options)
    for step in steps:
        logger.log_metrics({"train/loss": step / 10, "epoch": step // 2}, step)
    logger.save()


def test_stages_share_one_file_under_their_own_names(tmp_path):
    write(tmp_path, "classifier", [0, 1])
    write(tmp_path, "", [0, 1])
    assert rows(tmp_path)[:2] == [
        {"classifier/train/loss": "0.0", "classifier/epoch": "0", "step": "0"},
        {"classifier/train/loss": "0.1", "classifier/epoch": "0", "step": "1"},
    ]
    assert rows(tmp_path)[2:] == [
        {"train/loss": "0.0", "epoch": "0", "step": "0"},
        {"train/loss": "0.1", "epoch": "0", "step": "1"},
    ]


def test_a_resumed_stage_replaces_what_it_logs_again_and_nothing_else(tmp_path):
    write(tmp_path, "classifier", range(6))
    write(tmp_path, "", range(4))
    write(tmp_path, "", range(2, 6), resume_step=2)
    assert [row["step"] for row in rows(tmp_path) if "epoch" in row] == list("012345")
    assert [row["step"] for row in rows(tmp_path) if "classifier/epoch" in row] == list("012345")


def test_the_dashboard_is_offline_without_credentials_and_keeps_its_id(tmp_path, monkeypatch):
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    monkeypatch.setattr("wandb.login", lambda **_: False)
    first = WandbDashboard(tmp_path)
    first.log_metrics({"train/loss": 1.0}, 0)
    assert first.experiment.settings._offline
    first.experiment.finish()
    kept = (tmp_path / "wandb_id.txt").read_text().strip()
    assert kept == first.version
    again = WandbDashboard(tmp_path)
    assert again._wandb_init["id"] == kept
    assert list((tmp_path / "wandb").glob("offline-run-*"))
