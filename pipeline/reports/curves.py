"""The curves behind the figures, as a picture."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import cycle
from pathlib import Path

from matplotlib.figure import Figure
from torch import Tensor

from learned_saliency.metrics import PrecisionRecall
from learned_saliency.storage import replacing


def plot_curves(
    path: Path,
    boxes: Mapping[str, Mapping[str, Tensor]],
    pixels: Mapping[str, PrecisionRecall],
    floors: Mapping[str, float] | None = None,
) -> None:
    """Draw box accuracy against threshold, and precision against recall, one line a method.

    Args:
        path: PNG to write.
        boxes: Curves of `metrics.Localization` by method; empty without boxes.
        pixels: Curves of `metrics.PxAP` by method; empty without masks.
        floors: Box accuracies at IoU 0.5 that need no map, fractions by name: drawn as lines that a
            method has to pass.
    """
    kinds = [kind for kind in (boxes, pixels) if kind]
    if not kinds:
        return
    figure = Figure(figsize=(6 * len(kinds), 4.5), layout="constrained")
    axes = list(figure.subplots(1, len(kinds), squeeze=False)[0])
    if boxes:
        axis = axes.pop(0)
        for name, curves in boxes.items():
            axis.plot(curves["thresholds"].cpu(), curves["largest_contour_50"].cpu(), label=name)
        for (name, value), style in zip((floors or {}).items(), cycle(("--", ":")), strict=False):
            axis.axhline(value, color="gray", linestyle=style, linewidth=1, label=name)
        axis.set(xlabel="threshold", ylabel="box accuracy at IoU 0.5", xlim=(0, 1), ylim=(0, 1))
        axis.legend()
    if pixels:
        axis = axes.pop(0)
        for name, curve in pixels.items():
            axis.plot(curve.recall.cpu(), curve.precision.cpu(), label=name)
        axis.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1))
        axis.legend()
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)
