"""Table and pictures of the study ``bank``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib.figure
from torch import Tensor

from learned_saliency.metrics import masked_variants
from learned_saliency.pipeline.evaluation.studies.plots import save_figure
from learned_saliency.storage import write_bytes, write_csv
from learned_saliency.visualization import Picture, encode_png, grid

Accuracies = dict[str, dict[str, dict[str, float]]]  # by method, by classifier, by variant

_PANELS = {
    "masked_in": "the mask's part alone",
    "masked_out": "without it",
    "inpainted": "without it, repainted",
}
_LISTED = 8  # classifiers that a legend names


def write_accuracies(path: Path, accuracies: Accuracies) -> None:
    """Write one row per method and classifier as CSV."""
    rows = [
        {"method": method, "classifier": name, **values}
        for method, found in accuracies.items()
        for name, values in found.items()
    ]
    write_csv(path, list(rows[0]), rows)


def draw_variants(
    path: Path,
    images: Tensor,
    binary: Tensor,
    mean: Tensor,
    std: Tensor,
    shown_channels: Sequence[int] = (0, 1, 2),
) -> None:
    """Draw each image with its mask's part alone, hidden and repainted (paper 004, Fig. 2).

    Args:
        path: PNG to write.
        images: Normalized images (B, 3, H, W), one per row.
        binary: Pixels that the masks show, bool (B, H, W).
        mean: Mean that the images are normalized with, (3, 1, 1).
        std: Standard deviation that they are normalized with, (3, 1, 1).
        shown_channels: The three channels that are shown.
    """
    variants = masked_variants(images, binary, mean, std)
    planes = list(shown_channels)
    columns = [_pictures((shown * std + mean)[:, planes]) for shown in variants.values()]
    rows = [list(row) for row in zip(*columns, strict=True)]
    titles = [name.replace("_", " ") for name in variants]
    write_bytes(path, encode_png(grid(rows, titles)))


def _pictures(colors: Tensor) -> list[Picture]:
    shown = (colors.clamp(0, 1) * 255).round().byte()
    return list(shown.permute(0, 2, 3, 1).cpu().numpy())


def plot_accuracies(path: Path, accuracies: Accuracies, references: Sequence[str]) -> None:
    """Draw the accuracy of each classifier on each kind of image (paper 004, Fig. 3) as PNG.

    Args:
        path: PNG to write.
        accuracies: Accuracies of methods and reference maps.
        references: Names of the reference maps, which stand behind a line.
    """
    names, classifiers = list(accuracies), list(next(iter(accuracies.values())))
    labels = [Path(classifier).name for classifier in classifiers]
    labels = labels if len(set(labels)) == len(labels) else classifiers
    size = (1.5 + 3 * max(1.0, 0.28 * len(names)) * 1.1, 4.4)
    figure = matplotlib.figure.Figure(figsize=(max(size[0], 9.0), size[1]), layout="constrained")
    for axis, (variant, title) in zip(
        figure.subplots(1, len(_PANELS), sharey=True), _PANELS.items(), strict=True
    ):
        for number, classifier in enumerate(classifiers):
            aside = 0.3 * ((number + 0.5) / len(classifiers) - 0.5)  # dots stand side by side
            values = [100 * accuracies[name][classifier][variant] for name in names]
            places = [place + aside for place in range(len(names))]
            label = labels[number] if len(classifiers) <= _LISTED else None
            (dots,) = axis.plot(places, values, "o", markersize=4, label=label)
            if len(classifiers) <= _LISTED:
                clean = 100 * accuracies[names[0]][classifier]["clean"]
                axis.axhline(clean, color=dots.get_color(), linewidth=0.7, linestyle=":")
        axis.axvline(len(names) - len(references) - 0.5, color="gray", linewidth=0.8)
        axis.set_xticks(range(len(names)), names, rotation=90)
        axis.set(title=title, xlim=(-0.6, len(names) - 0.4), ylim=(-3, 103))
        axis.grid(alpha=0.3, axis="y")
    figure.axes[0].set_ylabel("accuracy, %")
    if len(classifiers) <= _LISTED:
        figure.axes[0].plot([], [], ":", color="gray", label="on the images as they are")
        figure.legend(
            *figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3
        )
    save_figure(figure, path)
