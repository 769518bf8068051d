"""Counts, table and picture of the study ``cues``."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from learned_saliency.datamodules import ClassPair
from learned_saliency.metrics import CueLocalization, declared
from learned_saliency.storage import write_bytes, write_csv
from learned_saliency.trainers import Kept, gathered
from learned_saliency.visualization import DEFAULT_COLORMAP, encode_png, grid, overlay

((NAME, FIGURE),) = declared(CueLocalization).items()


class CueResult(NamedTuple):
    """Result of cue localization.

    Attributes:
        results: By method: mPxAP over all pairs as ``cue_mpxap``, over the pairs with n differing
            parts as ``cue_mpxap_n``; fractions, NaN without a pair.
        per_pair: By method: PxAP of each pair, fractions (P,), NaN without an image.
        pairs: The P pairs.
        examples: First images with their masks and maps, for `draw_cues`.
    """

    results: dict[str, dict[str, float]]
    per_pair: dict[str, list[float]]
    pairs: list[ClassPair]
    examples: list[dict[str, Any]]


class CueCounts(Kept):
    """Counts of cue localization: a metric of each method, and some images for a picture.

    Args:
        methods: Names of the methods.
        pairs: The pairs.
        scale: See `metrics.CueLocalization`; ``"log"`` goes with probabilities.
        accumulate: See `metrics.CueLocalization`.
        examples: Number of images to keep for a picture: the first of the split with a question.
        device: Device of the counts.

    Raises:
        ValueError: If an option is unknown.
    """

    def __init__(
        self,
        methods: Iterable[str],
        pairs: Sequence[ClassPair],
        *,
        scale: str = "even",
        accumulate: bool = False,
        examples: int = 6,
        device: torch.device | str = "cpu",
    ) -> None:
        make = partial(CueLocalization, len(pairs), scale=scale, accumulate=accumulate)
        self.scores = {name: make().to(device) for name in methods}
        self.pairs = list(pairs)
        self.wanted = examples
        self.examples: list[dict[str, Any]] = []

    def kept(self) -> list[dict[str, Any]]:
        """Return the examples so far."""
        return list(self.examples)

    def take(self, kept: list[dict[str, Any]]) -> None:
        """Add examples of before."""
        self.examples = _first(self.examples + kept, self.wanted)

    def result(self) -> CueResult:
        """Compute mPxAP; with several processes every one has to call this."""
        values = {name: metric.per_pair().cpu() for name, metric in self.scores.items()}
        examples = _first([e for share in gathered(self.examples) for e in share], self.wanted)
        figures = {name: _figures(found, self.pairs) for name, found in values.items()}
        per_pair = {name: found.tolist() for name, found in values.items()}
        return CueResult(figures, per_pair, self.pairs, examples)


def _first(examples: list[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    return sorted(examples, key=lambda example: example["index"])[:count]


def _figures(values: Tensor, pairs: Sequence[ClassPair]) -> dict[str, float]:
    counts = torch.tensor([len(pair.parts) for pair in pairs])
    figures = {NAME: float(values.nanmean())}
    for number in sorted(set(counts.tolist())):
        figures[f"{NAME}_{number}"] = float(values[counts == number].nanmean())
    return figures


def write_pairs(path: Path, found: CueResult, part_names: Sequence[str]) -> None:
    """Write PxAP of each pair by each method as CSV."""
    rows = []
    for i, pair in enumerate(found.pairs):
        parts = " ".join(part_names[label - 1] for label in pair.parts)
        rows.append({"first": pair.first, "second": pair.second, "parts": parts})
        for name, values in found.per_pair.items():
            rows[-1][name] = "" if math.isnan(values[i]) else f"{values[i]:.6f}"
    write_csv(path, ["first", "second", "parts", *found.per_pair], rows)


def draw_cues(path: Path, found: CueResult, colors: Callable[[Tensor], Tensor]) -> None:
    """Draw images, the differing parts and the absolute counterfactual maps (Fig. 4).

    Args:
        path: PNG to write.
        found: Result of `cue_localization`, with examples.
        colors: Function that undoes the images' normalization: floats to 0..255.
    """
    rows = []
    for example in found.examples:
        image = colors(example["image"]).permute(1, 2, 0).round().byte().cpu().numpy()
        mask = np.where(example["mask"].numpy()[..., None] > 0, image, image // 4)
        maps = (overlay(image, saliency.numpy()) for saliency in example["maps"].values())
        rows.append([image, mask, *maps])
    titles = ["image", "differing parts", *found.results]
    write_bytes(path, encode_png(grid(rows, titles, colormap=DEFAULT_COLORMAP)))
