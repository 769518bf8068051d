"""Table and pictures of what maps say of parts whose effects are known."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from learned_saliency.storage import replacing, write_bytes, write_csv
from learned_saliency.visualization import DEFAULT_COLORMAP, Picture, encode_png, grid, overlay

_AXES = ("completeness", "correctness", "contrastivity")


class BenchExample(NamedTuple):
    """An image, what it is without its parts, and its maps.

    Attributes:
        pictures: The image, the image without each of its P parts, and before a plain background,
            uint8 (P + 2, H, W, 3).
        drops: What the predicted class's logit loses in all pictures but the first, P + 1 numbers.
        maps: Map (H, W) of each method.
        correlations: Rank correlation of the parts' importances with their drops, by method.
    """

    pictures: np.ndarray
    drops: Sequence[float]
    maps: Mapping[str, np.ndarray]
    correlations: Mapping[str, float]


def write_scores(path: Path, found: Mapping[str, Mapping[str, Mapping[str, float]]]) -> None:
    """Write one row per method and kind of importance as CSV, fractions."""
    rows, columns = [], ["method", "importance"]
    for name, kinds in found.items():
        for kind, values in kinds.items():
            cells = {k: "" if math.isnan(v) else f"{v:.6f}" for k, v in values.items()}
            rows.append({"method": name, "importance": kind} | cells)
            columns += [key for key in cells if key not in columns]
    write_csv(path, columns, rows)


def draw_axes(path: Path, results: Mapping[str, Mapping[str, float]]) -> None:
    """Draw the three scores of each method as bars, the best mean on top, as PNG.

    The last row of ``results``, the random maps, is drawn as a line through each axis.
    """
    *names, last = results
    chance = results[last]
    names.sort(key=lambda name: np.nanmean([results[name][f"bench_{axis}"] for axis in _AXES]))
    figure = Figure(figsize=(9, 1.2 + 0.28 * len(names)), layout="constrained")
    for axis, title in zip(figure.subplots(1, 3, sharey=True), _AXES, strict=True):
        values = [100 * results[name][f"bench_{title}"] for name in names]
        axis.barh(names, np.nan_to_num(values), color="#2a7f8e")
        for row, value in enumerate(values):
            told = "none" if math.isnan(value) else f"{value:.0f}"
            axis.text(1, row, told, va="center", color="white" if value > 10 else "black")
        level = chance[f"bench_{title}"]
        axis.axvline(100 * level, color="black", linestyle=":", label="random maps")
        axis.set(title=f"{title}, %", xlim=(0, 100))
    lines, labels = axis.get_legend_handles_labels()
    figure.legend(lines, labels, loc="outside lower right")
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)


def draw_examples(path: Path, rows: Sequence[BenchExample], parts: Sequence[str]) -> None:
    """Draw images without their parts, with the logit's drop, and maps, as PNG."""
    pictures: list[list[Picture]] = []
    captions = []
    for row in rows:
        image = np.ascontiguousarray(row.pictures[0])
        maps = [overlay(image, saliency) for saliency in row.maps.values()]
        pictures.append([*(np.ascontiguousarray(p) for p in row.pictures), *maps])
        told = [[f"drop {round(drop, 1) + 0.0:+.1f}"] for drop in row.drops]
        ranked = [[f"rank corr. {v + 0.0:+.2f}"] for v in row.correlations.values()]
        captions.append([[], *told, *ranked])
    titles = ["image", *(f"no {part}" for part in parts), "plain background", *rows[0].maps]
    drawn = grid(pictures, titles, captions=captions, colormap=DEFAULT_COLORMAP)
    write_bytes(path, encode_png(drawn))
