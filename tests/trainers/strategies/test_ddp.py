"""Two processes on CPUs: the test's figures equal those of one, and one's end is that of both."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tests.support.commands import run_command
from tests.support.paths import ROOT


def test_two_processes_train_and_count_as_one_does(small_run, tmp_path):
    two = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.precision=32-true"]
    words = [word for word in small_run if not word.startswith("output_dir")]
    done = subprocess.run(
        [sys.executable, ROOT / "train.py", *words, *two, "trainer.devices=2"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "recommended" not in done.stderr  # Lightning's advice, a line for each metric
    # 17 test images on two processes; the same weights, tested by one process
    (folder,) = tmp_path.glob("outputs/*/*")  # the time in its name is the first process's
    results = folder / "results.json"
    found = json.loads(results.read_text())["test"]
    results.unlink()
    one = run_command("train", f"resume={folder}", "trainer=cpu")
    assert one.returncode == 0, one.stderr[-3000:]
    assert not torch.distributed.is_initialized()  # another trainer leaves nothing of the first
    again = json.loads(results.read_text())["test"]
    assert set(found) == {"native", "cam", "full_image", "centered_box"}
    for method, values in found.items():
        assert again[method] == pytest.approx(values, abs=1e-6), method


def children(parent):
    """Processes that a process has started."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = path.read_text().rpartition(")")
        except OSError:
            continue
        if int(rest.split()[1]) == parent:
            found.append(int(name.split()[0]))
    return found


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads the list of processes")
def test_a_killed_process_ends_the_others_within_seconds(small_run, tmp_path):
    two = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.precision=32-true"]
    words = [*small_run, *two, "trainer.devices=2", "model=cam", "recipe.classifier_epochs=1000"]
    first = subprocess.Popen(
        [sys.executable, "train.py", *words, "pictures.images=0"],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    until = time.monotonic() + 120
    while not (tmp_path / "run" / "metrics.csv").exists() and time.monotonic() < until:
        assert first.poll() is None, first.communicate()[1]
        time.sleep(0.1)
    for process in children(first.pid):
        os.kill(process, signal.SIGKILL)
    _, told = first.communicate(timeout=15)
    assert first.returncode == 1
    assert "train.py: process 1" in told.splitlines()[-1]
    assert "Traceback" not in told
