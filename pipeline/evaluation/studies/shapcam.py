"""Study of SHAP-CAM's orderings, and of how near other methods come to it (paper 002, Tab. 1-2)."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import mean, stdev
from typing import Any, NamedTuple

import matplotlib.figure
import torch
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig
from torch import Tensor

from learned_saliency.attribution import (
    SHAPCAM,
    ChannelWeightedMethod,
    PostHocMethod,
    Query,
    SharedFeatures,
)
from learned_saliency.datamodules import WSOLBatch, WSOLDataModule
from learned_saliency.metrics import Figure, WeightSimilarity, declared
from learned_saliency.pipeline.cli import UserError, first_sentence
from learned_saliency.pipeline.evaluation.studies.base import (
    Outcome,
    Setting,
    Study,
    class_wise_methods,
)
from learned_saliency.pipeline.evaluation.studies.plots import save_figure
from learned_saliency.storage import write_csv
from learned_saliency.trainers import (
    TEST_FIGURES,
    FaithfulnessScores,
    SaliencyModule,
    Trial,
)

_TABLE = {"average_increase": "IC", "average_drop": "AD", "average_drop_in_deletion": "ADD"}
((_SIMILARITY, _SIMILARITY_FIGURE),) = declared(WeightSimilarity).items()

#: Declarations of the values of the study.
FIGURES: dict[str, Figure] = {
    **{name: TEST_FIGURES[name] for name in _TABLE},
    **{
        f"{name}_std": Figure(None, short=f"{short} std", needs=TEST_FIGURES[name].needs)
        for name, short in _TABLE.items()
    },
    _SIMILARITY: _SIMILARITY_FIGURE,
}


class ShapCAM(Study):
    """Faithfulness of SHAP-CAM by its number of orderings, and cosines of channel weights.

    Paper 002, Tab. 1: for each number of orderings the maps are made several times with different
    random orderings; the rows ``shapcam_1`` and so on hold the means over these repetitions of IC
    (``average_increase``), AD and ADD, and as ``..._std`` their standard deviations.

    Tab. 2: ``shap_similarity`` is the mean over images of the cosine between the channel weights
    of a method and those of SHAP-CAM with many orderings of its own, for the evaluated methods as
    for the rows above. Methods without channel weights are named and left out.

    Maps and weights are of the class that the test explains. Where the head is affine, all
    orderings give the same weights, and SHAP-CAM's are exact. Elsewhere the head runs K times for
    each image and ordering, K being the number of channels.

    Args:
        orderings: Numbers of orderings, each at least 1.
        repetitions: Number of times that the maps are made, at least 1; 10 in the paper.
        reference: Number of orderings of the weights that others are compared with, at least 1;
            10,000 in the paper.
        batch_size: Most variants of the activations that the head gets at a time, at least 1.
        seed: Seed of the orderings.

    Raises:
        ValueError: If a number is out of range.
    """

    name = "shapcam"

    def __init__(
        self,
        orderings: Sequence[int] = (1, 10, 100),
        repetitions: int = 10,
        reference: int = 1000,
        batch_size: int = 256,
        seed: int = 0,
    ) -> None:
        numbers = [*orderings, repetitions, reference, batch_size]
        if not orderings or min(numbers) < 1 or len(set(orderings)) < len(orderings):
            raise ValueError(
                "orderings must be different numbers from 1 on, repetitions, reference and "
                f"batch_size at least 1, got {list(orderings)}, {numbers[-3:]}"
            )
        self.orderings = list(orderings)
        self.repetitions, self.reference = repetitions, reference
        self.batch_size = batch_size
        self.seed = seed
        self._split = ""
        self._module: SaliencyModule | None = None
        self._weighted: dict[str, PostHocMethod] = {}

    def check(self, config: DictConfig) -> None:
        """Remember the split."""
        self._split = config.split

    def check_module(self, module: SaliencyModule) -> None:
        """Remember the module."""
        self._module = module

    def check_data(self, data: WSOLDataModule) -> None:
        """Find the methods with channel weights, by trying each on an image.

        Raises:
            UserError: If SHAP-CAM does not fit the network.
        """
        image = data.dataloader(self._split).dataset.__getitems__([0])["image"]
        shared = SharedFeatures(self._module.classifier, image)
        left_out = []
        for name, method in class_wise_methods(self._module).items():
            if _gives_weights(method, shared, image):
                self._weighted[name] = method
            else:
                left_out.append(name)
        if left_out and rank_zero_only.rank == 0:
            names = ", ".join(left_out)
            print(
                f"shapcam: without channel weights, and left out of the cosines: {names}",
                file=sys.stderr,
            )
        try:
            SHAPCAM(orderings=1, batch_size=self.batch_size).coefficients(shared, image)
        except ValueError as error:
            raise UserError(
                f"studies=[shapcam]: does not fit this network: {first_sentence(error)}."
            ) from None

    def run(self, setting: Setting) -> Outcome:
        """Make the maps of all orderings, and compare the weights."""
        module = setting.module
        names = {f"{p}_{r}": p for p in self.orderings for r in range(self.repetitions)}
        scores = {
            "faithfulness": FaithfulnessScores(names, list(_TABLE)).to(module.device),
            "similarity": {
                name: WeightSimilarity().to(module.device)
                for name in [*self._weighted, *map(_row, self.orderings)]
            },
        }
        for number, batch in enumerate(setting.batches(scores)):
            self._count(batch, scores, setting, f"batch {number + 1}")
        found = scores["faithfulness"].compute()
        similar = {name: float(m.compute()) for name, m in scores["similarity"].items()}
        by_count = {p: [found[f"{p}_{r}"] for r in range(self.repetitions)] for p in self.orderings}
        results = shap_figures(by_count, similar)
        files = {
            "shapcam.csv": partial(write_repetitions, by_count=by_count),
            "pictures/shapcam.png": partial(plot_orderings, by_count=by_count, similar=similar),
        }
        return Outcome(results, FIGURES, files)

    def _count(self, batch: WSOLBatch, scores: Any, setting: Setting, where: str) -> None:
        """Count a batch."""
        module, images = setting.module, batch["image"]
        shared = SharedFeatures(module.classifier, images)
        logits = shared(images)
        labels = batch["label"] if module.explained == "label" else None
        explained = _Explained(shared, images, module.known_targets(labels, logits))
        setting.note(f"reference, {where}")
        reference = self._weights(explained, self.reference, self.repetitions)
        for name, method in self._weighted.items():
            setting.note(f"{name}, {where}")
            weights = method.coefficients(*explained)
            scores["similarity"][name].update(weights, reference)
        last, trial = None, None
        for count in self.orderings:
            for repetition in range(self.repetitions):
                setting.note(f"{count} orderings, repetition {repetition + 1}, {where}")
                weights = self._weights(explained, count, repetition)
                scores["similarity"][_row(count)].update(weights, reference)
                if last is None or not torch.equal(weights, last):  # equal where the head is affine
                    maps = _Weighted(weights)(*explained)
                    targets = explained.targets
                    trial = Trial(module.classifier, images, maps, targets, **module.masking)
                last = weights
                scores["faithfulness"].update(f"{count}_{repetition}", trial)

    def _weights(self, explained: _Explained, count: int, repetition: int) -> Tensor:
        """Compute SHAP-CAM's weights (B, K) with orderings that no other repetition has."""
        seed = (self.seed * 1_000_003 + repetition) * 1_000_003 + count
        method = SHAPCAM(orderings=count, batch_size=self.batch_size, seed=seed % 2**63)
        return method.coefficients(*explained)


class _Explained(NamedTuple):
    """Arguments of a method: classifier, images (B, 3, H, W) and classes (B,)."""

    classifier: SharedFeatures
    images: Tensor
    targets: Tensor


class _Weighted(ChannelWeightedMethod):
    """The map of channel weights (B, K) that are there already."""

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.weights = weights

    def _coefficients(self, query: Query) -> Tensor:
        return self.weights


def _gives_weights(method: PostHocMethod, classifier: SharedFeatures, image: Tensor) -> bool:
    """Tell whether a method has channel weights for a network, by trying."""
    if not hasattr(method, "coefficients"):
        return False
    try:
        method.coefficients(classifier, image)
    except ValueError:
        return False
    return True


def _row(count: int) -> str:
    """Name the row of SHAP-CAM with a number of orderings."""
    return f"shapcam_{count}"


def shap_figures(
    by_count: Mapping[int, Sequence[Mapping[str, float]]], similar: Mapping[str, float]
) -> dict[str, dict[str, float]]:
    """Summarize the repetitions by the names of `FIGURES`.

    Args:
        by_count: IC, AD and ADD of each repetition, by number of orderings.
        similar: Mean cosine by row.
    """
    results: dict[str, dict[str, float]] = {}
    for count, repetitions in by_count.items():
        results[_row(count)] = {
            name: mean(one[name] for one in repetitions) for name in repetitions[0]
        }
        if len(repetitions) > 1:
            results[_row(count)] |= {
                f"{name}_std": stdev(one[name] for one in repetitions) for name in repetitions[0]
            }
    for name, value in similar.items():
        results.setdefault(name, {})[_SIMILARITY] = value
    return results


def write_repetitions(path: Path, by_count: Mapping[int, Sequence[Mapping[str, float]]]) -> None:
    """Write one row per number of orderings and repetition as CSV."""
    rows = [
        {"orderings": count, "repetition": number}
        | {name: f"{value:.6f}" for name, value in one.items()}
        for count, repetitions in by_count.items()
        for number, one in enumerate(repetitions, start=1)
    ]
    write_csv(path, list(rows[0]), rows)


def plot_orderings(
    path: Path,
    by_count: Mapping[int, Sequence[Mapping[str, float]]],
    similar: Mapping[str, float],
) -> None:
    """Draw means and deviations by number of orderings, and the cosines, as PNG."""
    height = max(3.0, 0.32 * len(similar) + 1)
    figure = matplotlib.figure.Figure(figsize=(13, height), layout="constrained")
    *axes, last = figure.subplots(1, len(_TABLE) + 1)
    counts = sorted(by_count)
    for axis, (name, short) in zip(axes, _TABLE.items(), strict=True):
        values = [[100 * one[name] for one in by_count[count]] for count in counts]
        means = [mean(of_count) for of_count in values]
        spread = [stdev(of_count) if len(of_count) > 1 else 0.0 for of_count in values]
        axis.errorbar(counts, means, yerr=spread, marker="o", capsize=3)
        axis.set(title=f"{short}, %", xscale="log", xlabel="orderings")
        axis.set_xticks(counts, list(map(str, counts)))
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    ordered = sorted(similar, key=similar.__getitem__)
    last.barh(ordered, [similar[name] for name in ordered])
    for place, name in enumerate(ordered):
        last.text(max(similar[name], 0), place, f" {similar[name]:.3f}", va="center")
    last.set(title="cosine to SHAP values", xlim=(min(0, *similar.values()), 1.25))
    save_figure(figure, path)
