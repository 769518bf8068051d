"""Kill runs at 20 moments, let them go on, and compare each with the run that nothing killed.

Run by hand from an installed checkout: ``python benchmarks/survival.py [FOLDER] [SEED] [METHOD]``.
Small two-stage runs of the four methods are killed by SIGKILL: in the middle of an epoch of either
stage, while a checkpoint is written, in a validation, in the test, and at random times; those of
CASM also while a file of its pool is written, before a checkpoint names it, and while files that
no checkpoint names are removed. Each run is killed once or twice; with METHOD, those of one method.
Before every second resume its folder is moved elsewhere. At the end the weights and optimizers of
all checkpoints, the snapshots that they name, ``results.json`` and ``metrics.csv`` have to be those
of the whole run to the bit, save for times and speed, and no further snapshot may be left. After
each kill all snapshots that a checkpoint names have to be there.

Printed besides: the longest time from a checkpoint to the last batch before a kill, which is the
work that is done twice, beside the interval between checkpoints. The exit code is 1 if any run
differs.
"""

import csv
import hashlib
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[1]
METHODS = ("cam", "calm", "fcam", "casm")
INTERVAL = 1.0  # seconds between checkpoints within an epoch
WORDS = [
    "data=creatures",
    "data.reader.image_size=48",
    "data.reader.train_images=256",
    "data.reader.val_images=64",
    "data.reader.test_images=64",
    "data.resize_size=36",
    "data.crop_size=32",
    "data.batch_size=8",
    "data.eval_batch_size=8",
    "backbone.channels=[8,8,16,16]",
    "recipe.classifier_epochs=2",
    "++recipe.pretraining_epochs=2",
    "++recipe.epochs=2",
    "++recipe.lr_step=1",
    "pictures.images=2",
    "trainer.log_every_n_steps=3",
    f"trainer.checkpoint_minutes={INTERVAL / 60}",
]
OF_CASM = ["model.pool.thinning=L3", "model.pool.size=4"]
TRIALS = 20
# the step in which a run kills itself, and how often it is called before
MOMENTS = {
    "batch of the first stage": ("log_means", 20, 60),
    "batch of the second stage": ("log_means", 132, 185),
    "validation": ("validation_step", 1, 16),
    "test": ("test_step", 1, 7),
    "writing of a checkpoint": ("write", 200, 3000),
    "random time": ("time", 0, 0),
}
MOMENTS_OF_CASM = {
    "writing of a snapshot": ("sha256", 1, 20),
    "snapshots before their checkpoint": ("sync", 1, 30),
    "removal of snapshots": ("_remove", 1, 12),
}


def child(step: str, at: int, marks: Path, words: list[str]) -> None:
    """Train in this process, which kills itself in the ``at``-th call of a step.

    Args:
        step: Function in `MOMENTS`; ``time`` never kills.
        at: Number of the call.
        marks: Gets a line with the time of each batch.
        words: The command line.
    """
    from learned_saliency.pipeline import commands
    from learned_saliency.pipeline.runs import writing
    from learned_saliency.trainers import SaliencyModule, casm_files

    def patch(owner: Any, name: str, before: Callable[[], None]) -> None:
        victim = getattr(owner, name)

        def patched(*args, **options):
            before()
            return victim(*args, **options)

        setattr(owner, name, patched)

    def mark() -> None:
        with marks.open("a") as file:
            file.write(f"{time.time()}\n")

    calls = itertools.count(1)

    def die() -> None:
        if next(calls) == at:
            os.kill(os.getpid(), signal.SIGKILL)

    patch(SaliencyModule, "log_means", mark)
    owners = {"write": writing._Watched, "sha256": casm_files}
    owners |= dict.fromkeys(("sync", "_remove"), casm_files.SnapshotFiles)
    if step != "time":
        patch(owners.get(step, SaliencyModule), step, die)
    sys.argv = ["train.py", *words]
    commands.main("train")


def start(words: list[str], log: Path, step: str = "time", at: int = 0) -> subprocess.Popen:
    """Start a training; see `child`."""
    marks = log.with_suffix(".marks")
    marks.write_text("")
    command = [sys.executable, __file__, "--child", step, str(at), str(marks), *words]
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    with log.open("ab") as file:
        return subprocess.Popen(command, stdout=file, stderr=file, env=env, cwd=log.parent)


def killed(words: list[str], name: str, seconds: float, log: Path, draw: random.Random) -> bool:
    """Run a training until it is killed at a moment; tell whether it was before its end."""
    step, low, high = (MOMENTS | MOMENTS_OF_CASM)[name]
    process = start(words, log, step, draw.randint(low, high))
    try:
        process.wait(draw.uniform(0.3, 0.95) * seconds if step == "time" else None)
    except subprocess.TimeoutExpired:
        process.kill()
    return process.wait() == -signal.SIGKILL


def lost_work(folder: Path, log: Path) -> float:
    """Measure the seconds from the last checkpoint to the last batch of a killed training."""
    marks = [float(line) for line in log.with_suffix(".marks").read_text().split()]
    files = folder.glob("checkpoints/**/last.ckpt")
    written = max((file.stat().st_mtime for file in files), default=0.0)
    return max(0.0, marks[-1] - max(written, marks[0])) if marks else 0.0


def rows(folder: Path) -> list[dict[str, str]]:
    """Read ``metrics.csv`` without the speed."""
    with (folder / "metrics.csv").open(newline="") as file:
        return [
            {k: v for k, v in row.items() if v and "images_per_second" not in k}
            for row in csv.DictReader(file)
        ]


def lost_snapshots(folder: Path) -> list[str]:
    """List the snapshots that a checkpoint names and that are not there, or not whole."""
    pool = folder / "checkpoints" / "pool"
    return [
        f"{path.name}: {name}"
        for path in sorted(folder.glob("checkpoints/*.ckpt"))
        for name in sorted(named_snapshots(path))
        if not (pool / name).is_file()
        or hashlib.sha256((pool / name).read_bytes()).hexdigest() != name.partition(".")[0]
    ]


def named_snapshots(path: Path) -> set[str]:
    """Read the names of the snapshots in a checkpoint."""
    return set(torch.load(path, weights_only=True).get("snapshots", {}).get("files", []))


def differences(ours: Path, theirs: Path) -> list[str]:
    """List what differs between two finished runs."""
    found = []
    names = sorted(str(p.relative_to(theirs)) for p in theirs.glob("checkpoints/**/*.ckpt"))
    for name in names:
        a, b = (torch.load(folder / name, weights_only=True) for folder in (ours, theirs))
        for part in ("state_dict", "optimizer_states", "lr_schedulers", "epoch"):
            try:
                torch.testing.assert_close(a.get(part), b.get(part), rtol=0, atol=0)
            except AssertionError:
                found.append(f"{name}: {part}")
        if a.get("snapshots") != b.get("snapshots"):  # names of files by their content
            found.append(f"{name}: snapshots")
    found += lost_snapshots(ours)
    pools = [{path.name for path in f.glob("checkpoints/pool/*")} for f in (ours, theirs)]
    if pools[0] != pools[1]:
        found.append("files of the pool")
    results = (json.loads((f / "results.json").read_text()) for f in (ours, theirs))
    if len({json.dumps(r, sort_keys=True) for r in results}) > 1:
        found.append("results.json")
    if rows(ours) != rows(theirs):
        found.append("metrics.csv")
    return found


def words_of(method: str, folder: Path) -> list[str]:
    """Command line of a method's run."""
    own = OF_CASM if method == "casm" else []
    return [f"model={method}", *WORDS, *own, f"output_dir={folder}"]


def trial(number: int, whole: Path, top: Path, draw: random.Random, seconds: float) -> list[str]:
    """Kill a run once or twice, let it go on, and compare it with the whole one."""
    folder, log = top / f"trial{number}", top / f"trial{number}.log"
    method, moments, lost = whole.name, [], 0.0
    words = words_of(method, folder)
    names = [*MOMENTS_OF_CASM, *MOMENTS] if method == "casm" else list(MOMENTS)
    found: list[str] = []
    for attempt in range(draw.randint(1, 2)):
        at = number // len(METHODS) if method == "casm" else number
        name = names[(at + 2 * attempt) % len(names)]
        if not killed(words, name, seconds, log, draw):
            break
        moments.append(name)
        lost = max(lost, lost_work(folder, log))
        if not folder.is_dir():
            continue
        found += lost_snapshots(folder)
        if (number + attempt) % 2:
            folder = Path(shutil.move(folder, f"{folder}-moved{attempt}"))
        words = [f"resume={folder}"]
    code = start(words, log).wait()
    found += differences(folder, whole) if code == 0 else [f"exit code {code}, see {log}"]
    verdict = "the same" if not found else f"DIFFERS: {', '.join(found)}"
    print(
        f"{number:2} {method:5} killed in: {', '.join(moments) or 'nothing'}; {lost:.1f} s of "
        f"work done twice; {verdict}",
        flush=True,
    )
    return found


def main(top: Path, seed: int, chosen: str | None) -> int:
    """Train the whole runs, then all trials."""
    draw = random.Random(seed)
    seconds = {}
    for method in [chosen] if chosen else METHODS:
        began = time.monotonic()
        words = words_of(method, top / method)
        assert start(words, top / f"{method}.log").wait() == 0, top / f"{method}.log"
        seconds[method] = time.monotonic() - began
        print(f"{method}: whole run in {seconds[method]:.0f} s", flush=True)
    bad = count = 0
    for number in range(TRIALS if chosen is None else TRIALS * 2):
        method = METHODS[number % len(METHODS)]
        if method in seconds:
            count += 1
            bad += bool(trial(number, top / method, top, draw, seconds[method]))
    print(f"{count - bad} of {count} are the same; checkpoints every {INTERVAL:g} s")
    return int(bad > 0)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]), sys.argv[5:])
    else:
        given = dict(enumerate(sys.argv[1:]))
        place = Path(given.get(0) or tempfile.mkdtemp(prefix="survival-")).resolve()
        place.mkdir(parents=True, exist_ok=True)
        sys.exit(main(place, int(given.get(1, 0)), given.get(2)))
