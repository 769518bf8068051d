"""Two processes on CPUs: the test's figures equal those of one, also where shares are uneven."""

import json
import subprocess
import sys

import pytest
import torch

from tests.support.commands import run_command
from tests.support.paths import ROOT


def test_two_processes_train_and_count_as_one_does(small_run, tmp_path):
    two = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.precision=32-true"]
    words = [word for word in small_run if not word.startswith("output_dir")]
    words = [*words, *two, "trainer.devices=2", f"output_dir={tmp_path}/two"]
    done = subprocess.run(
        [sys.executable, "train.py", *words], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "recommended" not in done.stderr  # Lightning's advice, a line for each metric
    # 17 test images on two processes; the same weights, tested by one process
    last = tmp_path / "two" / "checkpoints" / "last.ckpt"
    found = json.loads((tmp_path / "two" / "results.json").read_text())["test"]
    one = run_command("train", f"resume={last}", "trainer=cpu")
    assert one.returncode == 0, one.stderr[-3000:]
    assert not torch.distributed.is_initialized()  # another trainer leaves nothing of the first
    again = json.loads((tmp_path / "two" / "results.json").read_text())["test"]
    assert set(found) == {"native", "cam", "full_image", "centered_box"}
    for method, values in found.items():
        assert again[method] == pytest.approx(values, abs=1e-6), method
