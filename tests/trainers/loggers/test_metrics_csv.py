"""Curves in a file."""

import csv
import resource

import pytest

from learned_saliency.trainers import MetricsCSV, MetricsFile
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


def test_a_row_is_on_the_disk_at_once_and_a_new_column_costs_none_of_them(tmp_path):
    logger = MetricsCSV(tmp_path)
    logger.log_metrics({"train/loss": 0.5, "epoch": 0}, 0)
    assert rows(tmp_path) == [{"train/loss": "0.5", "epoch": "0", "step": "0"}]
    logger.log_metrics({"val/pxap": 0.25, "epoch": 0}, 0)
    assert rows(tmp_path) == [
        {"train/loss": "0.5", "epoch": "0", "step": "0"},
        {"val/pxap": "0.25", "epoch": "0", "step": "0"},
    ]


def test_a_row_that_a_kill_has_cut_is_dropped(tmp_path):
    write(tmp_path, "", range(3))
    path = tmp_path / "metrics.csv"
    path.write_bytes(path.read_bytes()[:-2])
    assert MetricsFile(path).count == 2
    assert [row["step"] for row in rows(tmp_path)] == ["0", "1"]


def test_a_row_that_does_not_fit_on_the_disk_leaves_the_others_whole(tmp_path):
    write(tmp_path, "", range(2))
    path = tmp_path / "metrics.csv"
    before = path.read_bytes()
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 3, limit[1]))
    try:
        with pytest.raises(OSError, match="No space left"):
            MetricsFile(path).log_metrics({"train/loss": 1.0, "epoch": 1}, 2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert path.read_bytes() == before


def test_an_unfinished_run_keeps_its_first_rows(tmp_path):
    write(tmp_path, "", range(5))
    MetricsFile(tmp_path / "metrics.csv").keep(3)
    assert [row["step"] for row in rows(tmp_path)] == ["0", "1", "2"]
