"""Time F-CAM's seeds for 32 maps of 224x224 beside per-image scikit-image loops.

Run by hand from an installed checkout: ``python benchmarks/seeds.py``. All variants run on one
thread. The aim is a ratio of at most 0.25 to the plain loop and 0.5 to the tuned one, which does
the same with the fastest calls that scikit-image and numpy have for each step. The commit before
the work on speed is measured in processes between those of the present code; the digest tells that
both draw the same labels. Times are of the processor, the least of all rounds.
"""

import argparse
import hashlib
import json
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from commit_before import ROOT, checked_out, measured_there
from skimage import filters, morphology
from torch.nn import functional as F

from learned_saliency.losses import IGNORE, SeedSampler

BATCH, SIDE, SHARE, ROUNDS = 32, 224, 0.3, 9
EROSION, DILATION = np.ones((11, 11), dtype=bool), np.ones((3, 3), dtype=bool)


def plain_loop(maps: np.ndarray) -> np.ndarray:
    """Follow the description step by step, an image at a time."""
    labels = np.full(maps.shape, IGNORE, dtype=np.int64)
    for saliency, label in zip(maps, labels, strict=True):
        levels = (255 * saliency).astype(np.uint8)
        foreground = levels > max(filters.threshold_otsu(levels), 1)
        eroded = morphology.binary_erosion(foreground, EROSION)
        candidates = np.flatnonzero(eroded if eroded.any() else foreground)
        lowest = np.argsort(saliency, axis=None)[: int(SHARE * saliency.size)]
        masks = []
        for region in (candidates, lowest):
            mask = np.zeros(saliency.shape, dtype=bool)
            mask.flat[np.random.choice(region, 1, replace=False)] = True  # noqa: NPY002
            masks.append(morphology.binary_dilation(mask, DILATION))
        label[masks[0] & ~masks[1]] = 1
        label[masks[1] & ~masks[0]] = 0
    return labels


def tuned_loop(maps: np.ndarray) -> np.ndarray:
    """Do the same with the fastest calls."""
    labels = np.full(maps.shape, IGNORE, dtype=np.int64)
    generator = np.random.default_rng(0)
    for saliency, label in zip(maps, labels, strict=True):
        levels = (255 * saliency).astype(np.uint8)
        foreground = levels > max(filters.threshold_otsu(levels), 1)
        eroded = morphology.erosion(foreground, EROSION)
        candidates = np.flatnonzero(eroded if eroded.any() else foreground)
        count = int(SHARE * saliency.size)
        lowest = np.argpartition(saliency, count, axis=None)[:count]
        masks = []
        for region in (candidates, lowest):
            mask = np.zeros(saliency.shape, dtype=bool)
            mask.flat[generator.choice(region, 1, replace=False)] = True
            masks.append(morphology.dilation(mask, DILATION))
        label[masks[0] & ~masks[1]] = 1
        label[masks[1] & ~masks[0]] = 0
    return labels


def milliseconds(functions: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Time the functions in turn, so that a busy machine slows all of them; best of the rounds."""
    best = dict.fromkeys(functions, float("inf"))
    for _ in range(ROUNDS):
        for name, function in functions.items():
            start = time.process_time()
            function()
            best[name] = min(best[name], 1e3 * (time.process_time() - start))
    return best


def measure() -> dict[str, object]:
    """Milliseconds of each variant, and a digest of the labels of the package as imported."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # scikit-image renames its binary morphology
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(BATCH, 1, 7, 7, generator=generator)
    maps = F.interpolate(coarse, size=SIDE, mode="bilinear")[:, 0]
    array, sampler = maps.numpy(), SeedSampler(background_share=SHARE)
    digest = hashlib.md5(b"".join(sampler(maps).numpy().tobytes() for _ in range(3))).hexdigest()
    times = milliseconds(
        {
            "losses.SeedSampler": lambda: sampler(maps),
            "plain scikit-image loop": lambda: plain_loop(array),
            "tuned scikit-image loop": lambda: tuned_loop(array),
        }
    )
    return {"times": times, "digest": digest}


def main() -> None:
    """Print one line a variant."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=3, help="processes of each commit")
    parser.add_argument("--json", action="store_true", help="measure the imported package alone")
    options = parser.parse_args()
    if options.json:
        print(json.dumps(measure()))
        return
    found: dict[str, list[dict]] = {"now": [], "before": []}
    with checked_out() as before:
        for _ in range(options.turns):
            for name, folder in (("now", ROOT), ("before", before)):
                found[name].append(measured_there(folder, Path(__file__), ["--json"]))
    digests = {one["digest"] for turns in found.values() for one in turns}
    times = {
        name: min(one["times"][name] for one in found["now"]) for name in found["now"][0]["times"]
    }
    times["commit before"] = min(one["times"]["losses.SeedSampler"] for one in found["before"])
    ours = times["losses.SeedSampler"]
    print(f"{BATCH} maps of {SIDE}x{SIDE}, one thread; labels equal: {len(digests) == 1}")
    print(f"{'':<26}{'ms':>8}{'ours / it':>12}")
    for name, value in times.items():
        print(f"{name:<26}{value:>8.1f}{ours / value:>12.3f}")


if __name__ == "__main__":
    main()
