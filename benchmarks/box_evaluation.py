"""Box evaluation against the benchmark's plain loop and against the commit before.

Run by hand from the checkout: ``python benchmarks/box_evaluation.py``. Each kind of map is measured
here and with the commit before, in processes that take turns, and kinds of the protocol also by the
benchmark's loop over 1000 thresholds. One thread; CPU time, which the machine's other work disturbs
least, and the best of the repetitions; IoUs are asserted to be equal to the last bit. With
``--random 10000``, random maps of all kinds and sizes are compared with plain tracing instead, and
with ``--compile`` the time of a process's first map is measured, with loops that are compiled and
with loops that are read from the cache.
"""

import argparse
import hashlib
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from commit_before import ROOT, checked_out, measured_there
from torch import Tensor
from torch.nn.functional import interpolate

from learned_saliency.metrics.boxes import THRESHOLDS, best_ious

SIZE = 224
REPETITIONS = 5  # in each process
SLOW = 300  # milliseconds from which on once is enough
TURNS = 2
BOXES = [
    torch.tensor([[40, 50, 160, 170]]),
    torch.tensor([[100, 20, 220, 200], [8, 8, 60, 90]]),
]


def plain_loop(image: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Best IoU of the largest and of all contours, (2, 1000), of a float64 map (H, W)."""
    height, width = image.shape
    eight_bit = (image * 255).astype(np.uint8)
    best = np.zeros((2, len(THRESHOLDS)))
    for index, threshold in enumerate(THRESHOLDS):
        level = int(threshold * eight_bit.max())
        binary = cv2.threshold(eight_bit, level, 255, cv2.THRESH_BINARY)[1]
        contours = cv2.findContours(binary, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)[0]
        boxes, chosen = [[0, 0, 0, 0]], 0
        if contours:
            rects = map(cv2.boundingRect, contours)
            boxes = [[x, y, min(x + w, width - 1), min(y + h, height - 1)] for x, y, w, h in rects]
            chosen = int(np.argmax([cv2.contourArea(contour) for contour in contours]))
        found = np.array(boxes)[:, None]
        shared = np.minimum(found[..., 2:], truth[:, 2:]) - np.maximum(found[..., :2], truth[:, :2])
        shared = np.maximum(shared + 1, 0).prod(-1)
        union = (found[..., 2:] - found[..., :2] + 1).prod(-1) - shared
        union = union + (truth[:, 2:] - truth[:, :2] + 1).prod(-1)
        ious = (shared / union).max(1)
        best[:, index] = ious[chosen], ious.max()
    return best


def normalize(maps: Tensor) -> Tensor:
    """Min-max normalize maps (B, H, W)."""
    maps = maps - maps.amin((1, 2), keepdim=True)
    return maps / maps.amax((1, 2), keepdim=True)


def noise(cells: int, generator: torch.Generator, size: int = SIZE) -> Tensor:
    """Two maps of random values, enlarged as class activation maps are."""
    raw = torch.randn(2, 1, cells, cells, generator=generator)
    return normalize(interpolate(raw, (size, size), mode="bicubic", align_corners=False)[:, 0])


def examples() -> dict[str, Tensor]:
    """Maps (2, 224, 224) of each kind of the protocol."""
    generator = torch.Generator().manual_seed(0)
    kinds = {
        f"noise, {cells} x {cells} cells": noise(cells, generator) for cells in (7, 14, 28, 56, 112)
    }
    grid = torch.arange(SIZE) - SIZE / 2
    bump = torch.exp(-(grid[:, None] ** 2 + grid**2) / (2 * 40**2))
    kinds["one smooth blob"] = normalize(torch.stack([bump, bump.roll(60, 1)]))
    kinds["white noise"] = normalize(torch.rand(2, SIZE, SIZE, generator=generator))
    return kinds


def adversaries() -> dict[str, Tensor]:
    """Maps (2, 224, 224) made to have many contours, long ones or deeply nested ones."""
    generator = torch.Generator().manual_seed(1)
    values = torch.randint(0, 128, (2, SIZE, SIZE), generator=generator)
    y, x = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    odd = (x + y) % 2
    rings = torch.maximum((x - 112).abs(), (y - 112).abs())
    kinds = {
        "checkerboard": 255 * odd,
        "checkerboard, noisy": values + 128 * odd,
        "single pixels, noisy": (values + 128) * (x % 2) * (y % 2),
        "noise of 3 values": values % 3 * 127,
        "comb": torch.where(x % 2 == 1, y, 255 - y // 2),
        "rings within rings": torch.where(rings % 2 == 1, 255 - rings, rings),
        "spiral": spiral(),
    }
    return {name: (maps.expand(2, SIZE, SIZE) + 0.5) / 256 for name, maps in kinds.items()}


def spiral() -> Tensor:
    """Map of a path that winds inward and rises on its way, one pixel wide."""
    path, turn, at = np.zeros((SIZE, SIZE), np.int64), [(0, 1), (1, 0), (0, -1), (-1, 0)], 0
    y, x, side = 0, 0, SIZE - 1
    lengths = [side, *(side - 2 * k for k in range(side // 2) for _ in range(2))]
    for index, length in enumerate(lengths):
        for _ in range(length):
            path[y, x] = at = at + 1
            y, x = y + turn[index % 4][0], x + turn[index % 4][1]
    return torch.from_numpy(255 * path // at)


def random_map(index: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw an 8-bit map, of another kind and size for each index, and one to three true boxes."""
    rng, generator = np.random.default_rng([2, index]), torch.Generator().manual_seed(index)
    kind = index % 10
    if kind < 5:  # smooth, of full size unless plain tracing takes too long
        cells, size = ((7, SIZE), (14, SIZE), (28, SIZE), (56, 96), (112, 64))[kind]
        image = noise(cells, generator)[0].numpy()[:size, :size] * 255
    elif kind == 5:  # blobs
        y, x = np.mgrid[:SIZE, :SIZE]
        spots = rng.uniform(0, SIZE, (4, 2))
        image = sum(np.exp(-((y - b) ** 2 + (x - a) ** 2) / 1500) for b, a in spots)
        image = image / image.max() * rng.uniform(30, 255)
    elif kind == 6:  # plateaus
        image = noise(14, generator)[0].numpy() * 255 // 40 * 40
    elif kind == 7:  # two values
        image = (noise(20, generator)[0].numpy() > 0.5) * rng.integers(1, 256)
    elif kind == 8:  # white noise
        image = rng.integers(0, 256, rng.integers(10, 40, 2))
    else:  # tiny, of few values
        image = rng.integers(0, rng.integers(2, 7), rng.integers(1, 13, 2)) * 42
    image = image.astype(np.uint8)
    ends = rng.integers(0, np.array(image.shape)[::-1], (2, rng.integers(1, 4), 2))
    return image, np.concatenate([ends.min(0), ends.max(0)], axis=1)


def compare(indices: range) -> None:
    """Compare random maps with plain tracing, to the last bit."""
    from learned_saliency.ops import overlap  # the commit before has none

    for index in indices:
        image, truth = random_map(index)
        assert (overlap.level_ious(image, truth) == overlap._traced_ious(image, truth)).all(), index
    print(f"{len(indices)} maps are equal.")


def best_time(function: Callable[[], np.ndarray], repetitions: int) -> tuple[float, np.ndarray]:
    """Least CPU time of a call in milliseconds and what it returns."""
    times = []
    for _ in range(repetitions):
        start = time.process_time()
        result = function()
        times.append(time.process_time() - start)
    return 1000 * min(times), result


def measure_here() -> dict[str, tuple[float, str]]:
    """Milliseconds a map, and a digest of all IoUs, of each kind, with the package in use."""
    best_ious(torch.eye(9)[None], BOXES[:1])
    found = {}
    for name, maps in (examples() | adversaries()).items():
        spent, ious = best_time(lambda maps=maps: best_ious(maps, BOXES).numpy(), 1)
        if spent < SLOW:
            spent = min(spent, best_time(lambda maps=maps: best_ious(maps, BOXES), REPETITIONS)[0])
        found[name] = spent / 2, hashlib.sha256(ious.tobytes()).hexdigest()
    return found


def measure_start() -> None:
    """Print CPU and wall time of a process's first map, compiled and from the cache."""
    image = torch.eye(9)[None]
    start = time.perf_counter(), time.process_time()
    best_ious(image, BOXES[:1])
    spent = time.perf_counter() - start[0], time.process_time() - start[1]
    print(json.dumps(spent))


def plain(maps: Tensor) -> tuple[float, np.ndarray]:
    """Milliseconds a map and IoUs of the benchmark's loop."""
    wide, truth = maps.double().numpy(), [boxes.numpy() for boxes in BOXES]
    spent, ious = best_time(lambda: np.stack(list(map(plain_loop, wide, truth))), 1)
    return spent / 2, ious


def main() -> None:
    """Print times a map and their ratios."""
    with checked_out() as before:
        runs = {"before": [], "here": []}
        for _ in range(TURNS):
            runs["before"].append(measured_there(before, Path(__file__), ["--there"]))
            runs["here"].append(measured_there(ROOT, Path(__file__), ["--there"]))
    smooth = min(run["noise, 7 x 7 cells"][0] for run in runs["here"])
    heads = ("plain, ms", "before, ms", "here, ms", "of plain", "of before", "of smooth")
    print(f"{'map':22}" + "".join(f"{head:>12}" for head in heads))
    kinds = examples()
    for name in runs["here"][0]:
        times = {key: min(run[name][0] for run in found) for key, found in runs.items()}
        digests = {run[name][1] for found in runs.values() for run in found}
        slow = float("nan")
        if name in kinds:
            slow, ious = plain(kinds[name])
            digests.add(hashlib.sha256(ious.tobytes()).hexdigest())
        assert len(digests) == 1, name
        here = times["here"]
        print(f"{name:22}{slow:12.1f}{times['before']:12.1f}{here:12.2f}", end="")
        print(f"{here / slow:12.4f}{here / times['before']:12.3f}{here / smooth:12.2f}", flush=True)


def main_or_part() -> None:
    """Do what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--random", type=int, default=0, metavar="MAPS")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--there", action="store_true")
    parser.add_argument("--first", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    if asked.random:
        compare(range(asked.random))
    elif asked.compile:
        with tempfile.TemporaryDirectory() as folder:
            for state in ("compiled", "from the cache"):
                wall, cpu = measured_there(
                    ROOT, Path(__file__), ["--first"], NUMBA_CACHE_DIR=folder
                )
                print(f"first map, {state}: {cpu:.2f} s CPU, {wall:.2f} s")
    elif asked.first:
        measure_start()
    elif asked.there:
        print(json.dumps(measure_here()))
    else:
        main()


if __name__ == "__main__":
    main_or_part()
