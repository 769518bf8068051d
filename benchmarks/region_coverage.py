"""Measure how often regions of a promised coverage cover, and how large they are.

Run by hand from an installed checkout: ``python benchmarks/region_coverage.py RUN [RUN ...]``. Of
each run's best checkpoint the maps of the predicted classes on ``test`` are split 200 times at
random into halves: one calibrates a threshold, on the other the share that is covered and the mean
area are measured. Beside it stand a square and a disc in the middle of all images, whose size is
calibrated on the same half by the same rule. Last, the threshold of ``val``, which the checkpoint
is shipped with, on all of ``test``. Nothing measured here goes into a checkpoint.
"""

import argparse
import itertools
import math
from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from learned_saliency.metrics import (
    COVERAGE_THRESHOLDS,
    FORMS,
    TRUTHS,
    CoverageCalibration,
    calibrated_threshold,
    region,
)
from learned_saliency.metrics.coverage import box_losses, mask_losses
from learned_saliency.pipeline.runs import build_data, load_module, read_checkpoint
from learned_saliency.trainers import NATIVE

LEVEL, SPLITS, UNIT = 0.9, 200, 2**32


class Maps(NamedTuple):
    """Maps (N, S, S) of a split's N images with the truth that it has."""

    saliency: Tensor
    boxes: list[Tensor] | None
    masks: Tensor | None

    def truths(self) -> Iterator[str]:
        """Yield the kinds of truth."""
        given = {"masks": self.masks, "boxes": self.boxes}
        yield from (truth for truth in TRUTHS if given[truth] is not None)

    def losses(self, truth: str) -> Tensor:
        """Compute the losses of the maps' regions, int64 (N, 2, T)."""
        if truth == "masks":
            return mask_losses(self.saliency, self.masks)
        return box_losses(self.saliency, self.boxes)

    def objects(self, truth: str) -> Tensor:
        """Return the pixels of the objects, bool (N, S, S)."""
        if truth == "masks":
            return self.masks == 1
        pixels = torch.zeros_like(self.saliency, dtype=torch.bool)
        for image, boxes in zip(pixels, self.boxes, strict=True):
            for x0, y0, x1, y1 in boxes.tolist():
                image[y0 : y1 + 1, x0 : x1 + 1] = True
        return pixels


def collect(module, loader) -> Maps:
    """Explain a split as predict.py does."""
    parts = {"saliency": [], "boxes": [], "mask": []}
    for batch in loader:
        parts["saliency"].append(module.explain_classes(batch["image"]).maps[NATIVE][:, 0])
        parts["boxes"] += batch.get("boxes", [])
        if "mask" in batch:
            parts["mask"].append(batch["mask"])
    masks = torch.cat(parts["mask"]) if parts["mask"] else None
    return Maps(torch.cat(parts["saliency"]), parts["boxes"] or None, masks)


def areas(maps: Tensor, threshold: float | None, truth: str) -> Tensor:
    """Compute the regions' shares of the images, (N,)."""
    if threshold is None:
        return torch.ones(len(maps))
    inside = region(maps, threshold)
    if truth == "boxes":
        widths, heights = (_extent(inside.any(axis)) for axis in (1, 2))
        return widths * heights / inside[0].numel()
    return inside.double().mean((1, 2))


def _extent(present: Tensor) -> Tensor:
    """Compute the distance from the first to the last true place, both counted, (N,)."""
    places = torch.arange(present.shape[1])
    first = torch.where(present, places, present.shape[1]).amin(1)
    return (torch.where(present, places, -1).amax(1) - first + 1).clamp(min=0)


def fixed_losses(shape: str, objects: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the losses of centered regions from the largest to none, and their areas.

    Returns:
        Losses, float64 (N, 2, L), and areas, (L,).
    """
    places = torch.arange(objects.shape[1]) - (objects.shape[1] - 1) / 2
    across, down = places.abs()[None], places.abs()[:, None]
    far = torch.maximum(across, down) if shape == "square" else torch.hypot(across, down)
    radii = far.unique().flip(0)
    size = objects.sum((1, 2)).double()
    rows = []
    for radius in radii:
        outside = (objects & (far > radius)).sum((1, 2)).double()
        rows.append(torch.stack([(outside > 0).double(), outside / size], 1))
    return torch.stack(rows, 2), torch.stack([(far <= r).double().mean() for r in radii])


def calibrated_index(losses: Tensor) -> int:
    """Find the smallest fixed region whose bound holds; see `calibrated_threshold`."""
    allowed = (1 - Fraction(str(LEVEL))) * (len(losses) + 1) - 1
    return max(int((losses.sum(0) <= float(allowed) + 1e-9).sum()) - 1, 0)


def measure(maps: Maps, truth: str, form: int) -> dict[str, list[tuple[float, float]]]:
    """Measure the share covered and the mean area in each of the random splits, by region."""
    losses, objects = maps.losses(truth)[:, form], maps.objects(truth)
    assert len(losses) == len(maps.saliency), "an image has no object"
    fixed = {shape: fixed_losses(shape, objects) for shape in ("square", "disc")}
    generator, half = torch.Generator().manual_seed(0), len(losses) // 2
    found = {name: [] for name in ("map", *fixed)}
    for _ in range(SPLITS):
        order = torch.randperm(len(losses), generator=generator)
        one, other = order[:half], order[half:]
        threshold = calibrated_threshold(losses[one].sum(0), half, LEVEL)
        place = int(np.searchsorted(COVERAGE_THRESHOLDS, threshold or 0))
        covered = 1 - losses[other, place].double().mean() / UNIT
        area = areas(maps.saliency[other], threshold, truth).mean()
        found["map"].append((float(covered), float(area)))
        for shape, (theirs, sizes) in fixed.items():
            index = calibrated_index(theirs[one, form])
            covered = 1 - theirs[other, form, index].mean()
            found[shape].append((float(covered), float(sizes[index])))
    return found


def shipped(val: Maps, test: Maps, truth: str, form: int) -> tuple[float, float, float]:
    """Calibrate on ``val``; measure share covered, its standard error and mean area on ``test``."""
    metric = CoverageCalibration()
    metric.update(val.saliency, val.boxes, val.masks)
    losses, images = metric.compute()
    place = TRUTHS.index(truth)
    threshold = calibrated_threshold(losses[place, form], int(images[place]), LEVEL)
    covered = 1 - test.losses(truth)[:, form].double() / UNIT
    covered = covered[:, int(np.searchsorted(COVERAGE_THRESHOLDS, threshold or 0))]
    area = float(areas(test.saliency, threshold, truth).mean())
    return float(covered.mean()), float(covered.std()) / math.sqrt(len(covered)), area


@torch.no_grad()
def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+")
    print("| data, truth, form | region | covered | standard error | mean area |")
    print("| --- | --- | --- | --- | --- |")
    for run in parser.parse_args().runs:
        checkpoint = read_checkpoint(run, "best.ckpt")
        module, data = load_module(checkpoint).eval(), build_data(checkpoint.config)
        data.setup()
        val, test = (collect(module, data.dataloader(split)) for split in ("val", "test"))
        for truth, (form, name) in itertools.product(test.truths(), enumerate(FORMS)):
            what = f"{checkpoint.config.data.name}, {truth}, {name}"
            for shape, values in measure(test, truth, form).items():
                covered, sizes = np.array(values).T
                error = covered.std(ddof=1) / math.sqrt(SPLITS)
                row = (100 * covered.mean(), 100 * error, 100 * sizes.mean())
                print(f"| {what} | {shape} | {row[0]:.2f} | {row[1]:.2f} | {row[2]:.1f} |")
            row = (100 * value for value in shipped(val, test, truth, form))
            print("| {} | map, calibrated on val | {:.2f} | {:.2f} | {:.1f} |".format(what, *row))


if __name__ == "__main__":
    main()
