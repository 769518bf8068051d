"""A sweep of train.py ends with one table over its runs."""

import csv
import json

import pytest

from tests.support.commands import run_command


def test_a_sweep_ends_with_means_and_standard_deviations_over_seeds(small_run, tmp_path):
    words = [word for word in small_run if not word.startswith("output_dir=")]
    words += ["model=cam", "methods=[native]", "pictures.images=0", "seed=0,1"]
    words += ["+trainer.limit_train_batches=1", f"hydra.sweep.dir={tmp_path}/sweep"]
    done = run_command("train", "-m", *words, f"output_dir={tmp_path}/run-${{seed}}")
    assert done.returncode == 0, done.stderr[-3000:]
    table = done.stdout[done.stdout.index("Sweep, ") :].splitlines()
    title, head, _, native, full, center, *_, path = table
    assert title.startswith("Sweep, test split: mean ± standard deviation over seeds, percent")
    assert path == f"{tmp_path}/sweep/sweep.csv"
    assert head.split()[:3] == ["method", "runs", "max_box_acc"]
    runs = [json.loads((tmp_path / f"run-{seed}" / "results.json").read_text()) for seed in (0, 1)]
    with open(path) as file:
        rows = {row["method"]: row for row in csv.DictReader(file)}
    assert list(rows) == ["native", "full_image", "centered_box"]
    for method, line in (("native", native), ("full_image", full), ("centered_box", center)):
        a, b = (run["test"][method]["max_box_acc"] for run in runs)
        mean, std = (a + b) / 2, abs(a - b) / 2**0.5
        assert float(rows[method]["max_box_acc_mean"]) == pytest.approx(mean)
        assert float(rows[method]["max_box_acc_std"]) == pytest.approx(std)
        assert line.split()[:5] == [method, "2", f"{100 * mean:.1f}", "±", f"{100 * std:.1f}"]
