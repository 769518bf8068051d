"""Metrics of maps that need no pass of a network, against the same metrics of Quantus.

Run by hand from the checkout, with the Python of an environment that has Quantus for the other
side: ``python benchmarks/map_metrics.py PYTHON_WITH_QUANTUS``. Both sides get the same maps and
masks and have to give the same values; each runs on one thread in a process of its own, in turn,
and the best of the repetitions counts, in CPU time, which the machine's other work disturbs least.
The aim is at most a tenth of Quantus' time per image.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

SIZE = 224
BATCH = 32
REPETITIONS = 5
ROUNDS = 2
NAMES = (
    "PointingGame",
    "RelevanceMassAccuracy",
    "RelevanceRankAccuracy",
    "Sparseness",
    "Complexity",
)
KINDS = ("noise", "smooth")


def inputs(kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Maps (B, H, W) in [0, 1] and masks of one object per image, equal on both sides."""
    draws = np.random.default_rng(0)
    y, x = np.mgrid[:SIZE, :SIZE]
    if kind == "noise":
        maps = draws.random((BATCH, SIZE, SIZE), dtype=np.float32)
    else:
        at, width = draws.uniform(40, 180, (BATCH, 2)), draws.uniform(30, 60, BATCH)
        squares = (y - at[:, :1, None]) ** 2 + (x - at[:, 1:, None]) ** 2
        maps = np.exp(-squares / (2 * width[:, None, None] ** 2)).astype(np.float32)
    masks = np.zeros((BATCH, SIZE, SIZE), np.uint8)
    masks[:, 50:150, 60:170] = 1
    return maps, masks


def ours(maps: np.ndarray, masks: np.ndarray) -> dict[str, Callable[[], np.ndarray]]:
    """The metrics here as functions without arguments."""
    import torch

    from learned_saliency import metrics

    torch.set_num_threads(1)
    given, truth = torch.from_numpy(maps), torch.from_numpy(masks)

    def score(name: str) -> np.ndarray:
        masked = name not in ("Sparseness", "Complexity")
        metric = getattr(metrics, "MaskPointingGame" if name == "PointingGame" else name)()
        metric.update(given, truth) if masked else metric.update(given)
        return next(iter(metric.terms.values())).numpy()

    return {name: lambda name=name: score(name) for name in NAMES}


def theirs(maps: np.ndarray, masks: np.ndarray) -> dict[str, Callable[[], np.ndarray]]:
    """The metrics of Quantus likewise."""
    import quantus

    images, classes = np.zeros((BATCH, 3, SIZE, SIZE), np.float32), np.zeros(BATCH, int)

    def score(name: str) -> np.ndarray:
        options = {"abs": False, "normalise": False, "display_progressbar": False}
        metric = getattr(quantus, name)(disable_warnings=True, **options)
        channel = maps[:, None].copy()  # some metrics change their maps in place
        return np.array(metric(None, images, classes, channel, masks[:, None]), float)

    return {name: lambda name=name: score(name) for name in NAMES}


def measure(side: str, path: Path) -> None:
    """Write each metric's milliseconds per image and its values."""
    found: dict[str, dict[str, object]] = {}
    for kind in KINDS:
        for name, score in {"ours": ours, "theirs": theirs}[side](*inputs(kind)).items():
            values, best = score(), float("inf")
            for _ in range(REPETITIONS):
                start = time.process_time()
                score()
                best = min(best, time.process_time() - start)
            found[f"{name}, {kind}"] = {"ms": 1000 * best / BATCH, "values": values.tolist()}
    path.write_text(json.dumps(found))


def main(other: str) -> None:
    """Print both times per image and their ratio."""
    best: dict[str, dict[str, float]] = {}
    alone = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    for _ in range(ROUNDS):
        values: dict[str, dict[str, np.ndarray]] = {}
        for side, python in (("ours", sys.executable), ("theirs", other)):
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "found.json"
                subprocess.run([python, __file__, side, str(path)], check=True, env=alone)
                for name, row in json.loads(path.read_text()).items():
                    values.setdefault(name, {})[side] = np.array(row["values"])
                    of_name = best.setdefault(name, {})
                    of_name[side] = min(of_name.get(side, np.inf), row["ms"])
        for name, row in values.items():
            np.testing.assert_allclose(row["ours"], row["theirs"], atol=1e-4, err_msg=name)
    print(f"{'metric, maps':32}{'Quantus, ms':>13}{'here, ms':>10}{'ratio':>8}")
    for name, row in best.items():
        ratio = row["ours"] / row["theirs"]
        print(f"{name:32}{row['theirs']:13.2f}{row['ours']:10.3f}{ratio:8.3f}")


if __name__ == "__main__":
    if sys.argv[1] in ("ours", "theirs"):
        measure(sys.argv[1], Path(sys.argv[2]))
    else:
        main(sys.argv[1])
