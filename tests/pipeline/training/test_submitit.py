"""Runs of a sweep as jobs of submitit, which are processes of this machine here."""

import csv
import subprocess
import sys

import pytest

from tests.support.paths import ROOT

pytest.importorskip("hydra_plugins.hydra_submitit_launcher", reason="extra `cluster`")


def test_a_run_of_a_sweep_is_a_job_and_ends_in_the_table(small_run, tmp_path):
    words = [word for word in small_run if not word.startswith("output_dir=")]
    words += ["model=cam", "methods=[native]", "pictures.images=0", "pictures.gallery=0"]
    words += ["trainer.limit_train_batches=1", "seed=0", "hydra/launcher=submitit_local"]
    words += [f"hydra.sweep.dir={tmp_path}/sweep", f"output_dir={tmp_path}/run-${{seed}}"]
    done = subprocess.run(
        [sys.executable, ROOT / "train.py", "-m", *words],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.rstrip().endswith(f"{tmp_path}/sweep/sweep.csv")
    with open(tmp_path / "sweep" / "sweep.csv") as file:
        assert {row["runs"] for row in csv.DictReader(file)} == {"1"}
    assert (tmp_path / "run-0" / "results.json").is_file()
    assert len(list((tmp_path / "sweep" / ".submitit").glob("*/*_log.err"))) == 1
