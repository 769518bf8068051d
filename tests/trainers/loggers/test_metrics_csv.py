"""Curves in a file."""

import csv

from learned_saliency.trainers import MetricsCSV
from learned_saliency.trainers.loggers.metrics_csv import read_rows


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


def test_rows_are_read_back_with_their_stage_and_step(tmp_path):
    write(tmp_path, "classifier", [3])
    write(tmp_path, "", [1])
    assert list(read_rows(tmp_path / "metrics.csv")) == [
        ("classifier", 3, {"classifier/train/loss": 0.3, "classifier/epoch": 1.0}),
        ("", 1, {"train/loss": 0.1, "epoch": 0.0}),
    ]
