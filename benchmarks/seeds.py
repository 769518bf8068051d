"""Time F-CAM's seeds for 32 maps of 224x224 beside per-image scikit-image loops.

Run by hand from an installed checkout: ``python benchmarks/seeds.py``. All variants run on one
thread. The aim is a ratio of at most 0.25 to the plain loop. The tuned loop does the same with the
fastest calls that scikit-image and numpy have for each step.
"""

import time
import warnings
from collections.abc import Callable

import numpy as np
import torch
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
            start = time.perf_counter()
            function()
            best[name] = min(best[name], 1e3 * (time.perf_counter() - start))
    return best


def main() -> None:
    """Print one line a variant."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # scikit-image renames its binary morphology
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(BATCH, 1, 7, 7, generator=generator)
    maps = F.interpolate(coarse, size=SIDE, mode="bilinear")[:, 0]
    array, sampler = maps.numpy(), SeedSampler(background_share=SHARE)
    times = milliseconds(
        {
            "losses.SeedSampler": lambda: sampler(maps),
            "plain scikit-image loop": lambda: plain_loop(array),
            "tuned scikit-image loop": lambda: tuned_loop(array),
        }
    )
    ours = times["losses.SeedSampler"]
    print(f"{BATCH} maps of {SIDE}x{SIDE}, one thread, best of {ROUNDS}")
    print(f"{'':<26}{'ms':>8}{'ours / it':>12}")
    for name, value in times.items():
        print(f"{name:<26}{value:>8.1f}{ours / value:>12.3f}")


if __name__ == "__main__":
    main()
