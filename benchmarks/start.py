"""Time `train.py` from the command to its first batch, beside the commit before the work on speed.

Run by hand from an installed checkout: ``python benchmarks/start.py [--runs 5] [words]``. Both
start in turn, each in a process of its own that ends at its first batch; the first run of each
fills the caches and does not count. Printed are medians of wall time and of the processor's time
of the process, and their ratios.
"""

import argparse
import importlib.abc
import importlib.util
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

from commit_before import ROOT, checked_out, measured_there

_CALLS = "lightning.pytorch.trainer.call"
_FIRST = "on_train_batch_start"


class _EndAtFirstBatch(importlib.abc.MetaPathFinder):
    """Finder that changes a module of Lightning's when it is imported, and finds nothing itself."""

    def __init__(self, began: float) -> None:
        self._began = began

    def find_spec(self, name, path, target=None):
        """Find Lightning's calls of a module's hooks, to which the end is added."""
        if name != _CALLS:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        load = spec.loader.exec_module

        def load_and_change(module) -> None:
            load(module)
            call = module._call_lightning_module_hook

            def call_or_end(trainer, hook, *args, **options):
                return self._end() if hook == _FIRST else call(trainer, hook, *args, **options)

            module._call_lightning_module_hook = call_or_end

        spec.loader.exec_module = load_and_change
        return spec

    def _end(self) -> None:
        found = {"wall": time.time() - self._began, "cpu": time.process_time()}
        print(f"\n{json.dumps(found)}", flush=True)
        os._exit(0)


def child(began: float, words: list[str]) -> None:
    """Train in this process until the first batch."""
    sys.meta_path.insert(0, _EndAtFirstBatch(began))
    from learned_saliency.pipeline import main as command

    sys.argv = ["train.py", *words]
    command("train")


def main() -> None:
    """Measure both, in turn."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("words", nargs="*", help="words of train.py")
    options = parser.parse_args()
    times = {"before": [], "now": []}
    with checked_out() as before, tempfile.TemporaryDirectory() as folder:
        places = {"before": before, "now": ROOT}
        for run in range(options.runs + 1):
            for name, place in places.items():
                words = [*options.words, f"output_dir={folder}/{name}{run}"]
                began = ["--child", str(time.time())]
                found = measured_there(place, Path(__file__), [*began, *words])
                times[name] += [found] if run else []
    print(f"{'seconds':<8}{'before':>9}{'now':>9}{'ratio':>9}")
    for kind in ("wall", "cpu"):
        old, new = (statistics.median(each[kind] for each in times[name]) for name in times)
        print(f"{kind:<8}{old:>9.2f}{new:>9.2f}{new / old:>9.2f}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(float(sys.argv[2]), sys.argv[3:])
    else:
        main()
