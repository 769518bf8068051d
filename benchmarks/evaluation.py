"""Measure whole commands, evaluate.py of a trained F-CAM or train.py, beside the commit before.

Run by hand from the checkout: ``python benchmarks/evaluation.py evaluate`` or ``... train``. Both
commits run in turn, as a user starts them, on the embedded creatures, which are rendered before.
``evaluate`` tests three methods on the 640 images of ``test`` in a run that is given by ``--run``
or trained briefly before; ``--faithfulness`` measures the figures that evaluate.py measures by
default, too, of which nearly all is passes of the network. ``train`` trains with defaults; further
words such as ``recipe.epochs=1`` shorten it. Told are wall and CPU time, the latter with all
threads, and their ratios: of the medians, and of the least. The written figures are compared to the
last bit: ``results.json`` without versions and paths, ``images.csv`` and the states beside it,
``metrics.csv`` without speeds.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from statistics import median
from typing import NamedTuple

from commit_before import BEFORE, ROOT, checked_out, environment

METHODS = "methods=[native,gradcam,liftcam]"
BRIEF = ("recipe.classifier_epochs=2", "recipe.epochs=1", "test=false")
FREE = ("checkpoint", "versions")  # keys of results.json that differ where the figures are equal
SPEED = "images_per_second"


class Cost(NamedTuple):
    """Seconds of a command: on the clock, and of all its threads and processes."""

    wall: float
    cpu: float


def start(folder: Path, script: str, words: list[str]) -> Cost:
    """Run an entry point of a folder with the package; end with its output if it fails."""
    command = [sys.executable, str(folder / script), *words]
    with tempfile.TemporaryFile() as log:
        began = time.monotonic()
        process = subprocess.Popen(command, env=environment(folder), stdout=log, stderr=log)
        _, status, used = os.wait4(process.pid, 0)
        cost = Cost(time.monotonic() - began, used.ru_utime + used.ru_stime)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            log.seek(0)
            sys.exit(log.read().decode())
    return cost


def figures(folder: Path) -> dict[str, object]:
    """Read all figures that a command has written."""
    found: dict[str, object] = {}
    results = folder / "results.json"
    if results.is_file():
        told = json.loads(results.read_text())
        found["results.json"] = {key: value for key, value in told.items() if key not in FREE}
    for path in (folder / "images.csv", folder / "image_states.npz"):
        if path.is_file():
            found[path.name] = path.read_bytes()
    if (folder / "metrics.csv").is_file():
        with (folder / "metrics.csv").open(newline="") as file:
            rows = csv.DictReader(file)
            kept = [{k: v for k, v in row.items() if v and SPEED not in k} for row in rows]
        found["metrics.csv"] = [row for row in kept if row]
    return found


def check(ours: Path, theirs: Path) -> None:
    """End if two folders hold other figures."""
    one, other = figures(ours), figures(theirs)
    unlike = [name for name in one.keys() | other.keys() if one.get(name) != other.get(name)]
    if unlike or not one:
        sys.exit(f"{ours} and {theirs} differ in {unlike or 'having nothing'}")


@contextmanager
def run_folder(given: Path | None, top: Path) -> Iterator[Path]:
    """Give the run to evaluate, trained here where none is given."""
    if given is None:
        given = top / "run"
        print("training the run to evaluate", flush=True)
        start(ROOT, "train.py", [*BRIEF, f"output_dir={given}"])
    yield given


def compare(before: Path, script: str, words: list[str], pairs: int, top: Path) -> None:
    """Run both commits in turn; print what they cost."""
    costs: dict[str, list[Cost]] = {"before": [], "here": []}
    for pair in range(pairs):
        places = {name: top / f"{name}{pair}" for name in costs}
        for name, folder in {"before": before, "here": ROOT}.items():
            cost = start(folder, script, [*words, f"output_dir={places[name]}"])
            costs[name].append(cost)
            print(f"{pair} {name:7} wall {cost.wall:7.1f} s  CPU {cost.cpu:7.1f} s", flush=True)
        check(places["here"], places["before"])
    for kind in Cost._fields:
        before_s, here_s = ([getattr(cost, kind) for cost in costs[name]] for name in costs)
        print(
            f"{kind}: here over before {median(here_s) / median(before_s):.2f} of the medians, "
            f"{min(here_s) / min(before_s):.2f} of the least"
        )
    print("all figures are equal to the last bit")


def main() -> None:
    """Read the command line; compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", choices=["evaluate", "train"])
    parser.add_argument("words", nargs="*", help="further words of the command")
    parser.add_argument("--run", type=Path, help="run to evaluate")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--commit", default=BEFORE, help="commit to measure beside")
    parser.add_argument("--faithfulness", action="store_true", help="the default figures, too")
    options = parser.parse_args()
    evaluates = options.command == "evaluate"
    with tempfile.TemporaryDirectory() as name, checked_out(options.commit) as before:
        top = Path(name)
        words = [METHODS, "reuse=false"] if evaluates else []
        if evaluates and not options.faithfulness:
            words.append("evaluate.faithfulness=[]")
        with run_folder(options.run, top) if evaluates else nullcontext() as run:
            words += [f"checkpoint={run.resolve()}"] if run is not None else []
            print("once, to fill caches", flush=True)
            first = ["limit=16"] if evaluates else [*BRIEF]
            start(ROOT, f"{options.command}.py", [*words, *first, f"output_dir={top / 'first'}"])
            compare(before, f"{options.command}.py", [*words, *options.words], options.pairs, top)


if __name__ == "__main__":
    main()
