"""Table and pictures of the study of randomized networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.axes import Axes
from torch import Tensor

from learned_saliency.metrics import MapSimilarity
from learned_saliency.pipeline.evaluation.studies.random_layers import Step
from learned_saliency.pipeline.evaluation.studies.shown import plot_panels
from learned_saliency.storage import write_bytes, write_csv
from learned_saliency.visualization import DEFAULT_COLORMAP, encode_png, grid, overlay

_TITLES = {
    "rank_correlation": "rank correlation",
    "absolute_rank_correlation": "rank correlation of |map|",
    "ssim": "SSIM",
    "hog": "correlation of HOG",
}


class Similarities(NamedTuple):
    """Similarities with the maps of the trained network.

    Attributes:
        steps: The randomizations.
        values: By method, by name of a randomization (``labels`` for permuted labels) and by
            figure of `metrics.MapSimilarity`.
    """

    steps: Sequence[Step]
    values: Mapping[str, Mapping[str, Mapping[str, float]]]


def write_similarities(path: Path, table: Similarities) -> None:
    """Write one row per method and randomization as CSV; cells without a value stay empty."""
    known = {step.name: step for step in table.steps}
    rows = []
    for method, found in table.values.items():
        for name, values in found.items():
            step = known.get(name)
            row = {"method": method, "randomized": name if step is None else step.kind}
            row |= {} if step is None else {"lowest": step.lowest, "layers": len(step.layers)}
            rows.append(row | {k: f"{v:.6f}" for k, v in values.items() if v == v})
    columns = ["method", "randomized", "lowest", "layers", *MapSimilarity.figures]
    write_csv(path, columns, rows)


def plot_similarities(path: Path, table: Similarities) -> None:
    """Draw the similarities as layers become random from the top down (Fig. A6), as PNG.

    Solid lines are cascading, dashed ones independent randomization, diamonds permuted labels.
    """
    kinds = list(dict.fromkeys(step.kind for step in table.steps))
    names = [step.label for step in table.steps if step.kind == kinds[0]]

    def draw(metric: str, axis: Axes) -> None:
        for number, (method, found) in enumerate(table.values.items()):
            color = f"C{number % 10}"
            for kind, line in zip(kinds, ("-", "--"), strict=False):
                steps = [step.name for step in table.steps if step.kind == kind]
                values = [found[name][metric] for name in steps]
                label = method if kind == kinds[0] else f"{method}, {kind}"
                places = range(1, len(values) + 1)
                axis.plot(places, values, line, color=color, marker="o", markersize=3, label=label)
            if "labels" in found:
                value, place = found["labels"][metric], len(names) + 1
                axis.plot([place], [value], "D", color=color, label=f"{method}, permuted labels")
        axis.axhline(0, color="gray", linewidth=0.8)
        axis.set(xlabel="random down to", ylim=(min(axis.get_ylim()[0], -0.05), 1.05))
        axis.set_xticks(
            range(1, len(names) + 1), names, rotation=60, ha="right", fontsize="x-small"
        )

    plot_panels(path, _TITLES, draw)


def draw_cascade(path: Path, colors: Tensor, maps: Tensor, titles: Sequence[str]) -> None:
    """Draw each image with its maps as more and more layers are random (Fig. A7).

    Args:
        path: PNG to write.
        colors: Images (B, 3, H, W) in 0..255.
        maps: N maps per image, shape (N, B, H, W) in [0, 1].
        titles: Titles of the N + 1 columns.
    """
    pictures = colors.round().byte().permute(0, 2, 3, 1).cpu().numpy()
    rows = [
        [picture, *(overlay(picture, each) for each in own)]
        for picture, own in zip(pictures, maps.transpose(0, 1).float().cpu().numpy(), strict=True)
    ]
    write_bytes(path, encode_png(grid(rows, titles, colormap=DEFAULT_COLORMAP)))
