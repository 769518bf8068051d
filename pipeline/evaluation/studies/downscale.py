"""Study of what a perfect map of low resolution could reach (paper 003, App. E)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import matplotlib.figure
import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import Metric

from learned_saliency.attribution import Classifier
from learned_saliency.datamodules import WSOLBatch, WSOLDataModule
from learned_saliency.metrics import Localization, PxAP, declared
from learned_saliency.pipeline.cli import UserError
from learned_saliency.pipeline.evaluation.studies.base import (
    Outcome,
    Setting,
    Study,
    regions_of,
)
from learned_saliency.pipeline.evaluation.studies.plots import save_figure
from learned_saliency.storage import write_bytes, write_csv
from learned_saliency.trainers import SaliencyModule, place, spread
from learned_saliency.visualization import Picture, encode_png, grid, overlay

FACTORS = (1, 2, 4, 8, 16, 32)
_SHOWN = {
    "pxap": "PxAP",
    "max_box_acc": "MaxBoxAcc",
    "max_box_acc_v2": "MaxBoxAccV2",
}


class Downscale(Study):
    """Localization of the true regions, scaled down and up again (paper 003, Fig. D.3 and E.4).

    The region of an image, its mask or where there are none its filled boxes, takes the place of a
    map: it is scaled down by a factor z and back to the image's size, both bilinearly, and scored
    like a map. What it loses, no map of that many cells can reach by more than chance. The rows of
    the table are ``truth_1``, ``truth_2`` and so on, by z; methods do not enter.

    The paper says "bilinear interpolation". Without ``antialias``, as here by default, a cell of
    the small region is interpolated from the four pixels around its center, and a small object may
    fall between the cells; with it, a cell is a weighted mean of all pixels that it covers, as
    convolution and pooling would leave it. Ignored pixels (255) count as background in the region,
    and are not scored.

    Args:
        factors: The z, each at least 1; a side of S pixels becomes round(S / z) cells.
        antialias: Whether the region is smoothed when it is scaled down.

    Raises:
        ValueError: If there is no factor, one is below 1 or two are equal.
    """

    name = "downscale"
    needs_network = False
    needs_truth = True

    def __init__(self, factors: Sequence[float] = FACTORS, antialias: bool = False) -> None:
        if not factors or min(factors) < 1 or len(set(factors)) < len(factors):
            raise ValueError(f"factors must be different numbers from 1 on, got {list(factors)}")
        self.factors = list(factors)
        self.rows = [f"truth_{factor:g}" for factor in self.factors]
        self.antialias = antialias

    def check_data(self, data: WSOLDataModule) -> None:
        """Check that each factor leaves a cell.

        Raises:
            UserError: If one does not.
        """
        shorter = min(data.crop_size)
        if max(self.factors) > shorter:
            raise UserError(
                f"studies.downscale.factors: {max(self.factors):g} is more than the "
                f"{shorter} pixels of a side; give smaller ones."
            )

    def run(self, setting: Setting) -> Outcome:
        """Scale the regions of all images down and up, and score them."""
        module, data, split = setting.module, setting.data, setting.config.split
        boxed, masked = data.has_boxes(split), data.has_masks(split)
        scores: dict[str, dict[str, Metric]] = {
            row: ({"pixels": PxAP().to(module.device)} if masked else {})
            | ({"boxes": Localization().to(module.device)} if boxed else {})
            for row in self.rows
        }
        for number, batch in enumerate(setting.batches(scores)):
            setting.note(f"batch {number + 1}")
            self._count(batch, scores)
        results = {name: _values(metrics) for name, metrics in scores.items()}
        own = _own_factor(setting)
        files = {
            "downscale.csv": partial(write_ceilings, factors=self.factors, results=results),
            "pictures/downscale.png": partial(
                plot_ceilings, factors=self.factors, results=results, own=own
            ),
        }
        if setting.pictures and place().rank == 0:
            batch = setting.to_device(spread(data.dataloader(split), setting.pictures))
            files["pictures/downscaled.png"] = partial(self._draw, batch=batch, module=module)
        return Outcome(results, declared(PxAP) | declared(Localization), files)

    def _count(self, batch: WSOLBatch, scores: Mapping[str, Mapping[str, Metric]]) -> None:
        regions = regions_of(batch)
        for factor, metrics in zip(self.factors, scores.values(), strict=True):
            maps = low_resolution(regions, factor, self.antialias)
            if "pixels" in metrics:
                metrics["pixels"].update(maps, regions)
            if "boxes" in metrics:
                metrics["boxes"].update(maps, batch["boxes"])

    def _draw(self, path: Path, batch: WSOLBatch, module: SaliencyModule) -> None:
        """Draw images under their regions at each factor."""
        colors = module.colors(batch["image"]).permute(0, 2, 3, 1).round().byte().cpu().numpy()
        regions = regions_of(batch)
        maps = [low_resolution(regions, z, self.antialias).cpu().numpy() for z in self.factors]
        rows: list[list[Picture]] = [
            [image, *(overlay(image, of_factor[row]) for of_factor in maps)]
            for row, image in enumerate(colors)
        ]
        titles = ["image", *(f"z = {factor:g}" for factor in self.factors)]
        write_bytes(path, encode_png(grid(rows, titles)))


def low_resolution(regions: Tensor, factor: float, antialias: bool = False) -> Tensor:
    """Scale regions down by a factor and up to their size, bilinearly (paper 003, App. E).

    Args:
        regions: Masks uint8 (B, H, W): 1 inside; anything else, such as 255, is outside.
        factor: The factor z, at least 1; there are max(round(H / z), 1) x max(round(W / z), 1)
            cells, with half-pixel centers.
        antialias: Whether the region is smoothed when it is scaled down.

    Returns:
        float32 (B, H, W) in [0, 1], not normalized.
    """
    size = regions.shape[-2:]
    cells = [max(round(side / factor), 1) for side in size]
    small = F.interpolate(
        (regions == 1).float()[:, None], cells, mode="bilinear", antialias=antialias
    )
    return F.interpolate(small, tuple(size), mode="bilinear")[:, 0].clamp(0, 1)


def _values(metrics: Mapping[str, Metric]) -> dict[str, float]:
    """Compute the values of one factor; with several processes every one has to call this."""
    found: dict[str, float] = {}
    if "pixels" in metrics:
        found["pxap"] = float(metrics["pixels"].compute())
    if "boxes" in metrics:
        found |= {name: float(value) for name, value in metrics["boxes"].compute().items()}
    return found


def _own_factor(setting: Setting) -> float | None:
    """Compute the factor between images and the activations of the network, if there is one."""
    if not isinstance(setting.module.classifier, Classifier):
        return None
    data = setting.data.dataloader(setting.config.split).dataset
    image = setting.to_device(data.__getitems__([0]))["image"]
    features = setting.module.classifier.features(image)
    return math.sqrt(image[0, 0].numel() / features[0, 0].numel())


def write_ceilings(
    path: Path, factors: Sequence[float], results: Mapping[str, Mapping[str, float]]
) -> None:
    """Write one row per factor as CSV."""
    rows = [
        {"factor": f"{factor:g}"} | {name: f"{value:.6f}" for name, value in values.items()}
        for factor, values in zip(factors, results.values(), strict=True)
    ]
    write_csv(path, list(rows[0]), rows)


def plot_ceilings(
    path: Path,
    factors: Sequence[float],
    results: Mapping[str, Mapping[str, float]],
    own: float | None = None,
) -> None:
    """Draw the metrics against the factor (Fig. D.3) as PNG.

    Args:
        path: PNG to write.
        factors: The factors.
        results: Values of each factor, in the same order.
        own: Factor of the explained network's activations, to mark it.
    """
    figure = matplotlib.figure.Figure(figsize=(6, 4.2), layout="constrained")
    axis = figure.subplots()
    order = torch.tensor(factors).argsort().tolist()
    rows = list(results.values())
    for name, label in _SHOWN.items():
        if name in rows[0]:
            values = [100 * rows[i][name] for i in order]
            axis.plot([factors[i] for i in order], values, marker="o", label=label)
    if own is not None:
        axis.axvline(own, color="gray", linestyle=":", label="this network's activations")
    axis.set(
        xscale="log", xlabel="factor z between image and map", ylabel="metric of the true region, %"
    )
    axis.set_xticks(list(factors), [f"{factor:g}" for factor in factors], minor=False)
    axis.minorticks_off()
    axis.set_ylim(bottom=0)
    axis.grid(alpha=0.3)
    axis.legend()
    save_figure(figure, path)
