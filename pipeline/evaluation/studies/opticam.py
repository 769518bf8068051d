"""Study of what Opti-CAM's maps owe to each of its options, one changed at a time."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor, nn
from torchmetrics import MeanMetric, Metric

from learned_saliency.attribution import split
from learned_saliency.datamodules import WSOLDataModule
from learned_saliency.metrics import Figure
from learned_saliency.pipeline.cli import UserError, first_sentence, nearest
from learned_saliency.pipeline.evaluation.studies.base import Outcome, Setting, Study, named_network
from learned_saliency.pipeline.evaluation.studies.opticam_report import (
    Ablation,
    plot_iterations,
    plot_objectives,
    write_ablations,
)
from learned_saliency.pipeline.evaluation.studies.opticam_variants import (
    RANDOM,
    ZEROS,
    Variant,
    build_variants,
)
from learned_saliency.pipeline.evaluation.studies.shown import (
    SHOWN_FIGURES,
    ShownBatch,
    computed,
    shown_scores,
)
from learned_saliency.trainers import SaliencyModule


class OptiCAMStudy(Study):
    """Ablations of Opti-CAM around what is configured (paper 000, Tab. 4, A11, A12, Fig. A5).

    What ``attribution.opticam`` says is the center, whose options are changed one at a time, except
    that numbers of iterations and learning rates are crossed. Maps after fewer iterations are read
    off the run with the most, which they equal.

    Args:
        layers: Layers to explain beside the configured one, by their names in the network.
        iterations: Numbers of iterations.
        learning_rates: Learning rates.
        objectives: Objectives; see `attribution.OptiCAM`, as for the next two.
        normalizations: Normalizations.
        targets: Scores of the class that the masked image shall keep.
        starts: First u: ``zeros``, ``random``, or the name of a method in ``attribution``.
        seed: Seed of the random start.

    Raises:
        ValueError: If a number of iterations is below 1, or a learning rate not above 0.
    """

    name = "opticam"
    figures: Mapping[str, Figure] = SHOWN_FIGURES

    def __init__(
        self,
        layers: Sequence[str] = (),
        iterations: Sequence[int] = (10, 20, 50, 100, 200),
        learning_rates: Sequence[float] = (0.01, 0.1, 1.0),
        objectives: Sequence[str] = ("mask", "diff", "iomask", "iodiff"),
        normalizations: Sequence[str] = ("range", "max", "sigmoid"),
        targets: Sequence[str] = (),
        starts: Sequence[str] = (ZEROS, RANDOM),
        seed: int = 0,
    ) -> None:
        if any(step < 1 for step in iterations) or not all(rate > 0 for rate in learning_rates):
            raise ValueError(
                "iterations must be at least 1 and learning_rates above 0, got "
                f"{list(iterations)} and {list(learning_rates)}"
            )
        words = {"objective": objectives, "normalization": normalizations}
        self.layers = list(layers)
        self._options = {
            "layers": self.layers,
            "iterations": iterations,
            "learning_rates": learning_rates,
            "words": words | {"target": targets, "start": starts},
            "seed": seed,
        }
        self._variants: list[Variant] = []
        self._module: SaliencyModule | None = None
        self._split = ""

    def check(self, config: DictConfig) -> None:
        """Build all variants.

        Raises:
            UserError: If an option is unknown, or the class that is explained has no words.
        """
        self._split = config.split
        self._variants = list(build_variants(config, **self._options))

    def check_module(self, module: SaliencyModule) -> None:
        """Check that the network has the layers.

        Raises:
            UserError: If it lacks one.
        """
        self._module = module.eval()
        known = [name for name, _ in named_network(module).named_modules() if name]
        for layer in self.layers:
            if layer not in known:
                raise UserError(
                    f"studies.opticam.layers: no layer is named {layer}"
                    f"{nearest(layer, known, at_least=3)}."
                )

    def check_data(self, data: WSOLDataModule) -> None:
        """Check on one image that each layer gives a grid of activations, and no start is refused.

        Raises:
            UserError: If one does not.
        """
        images = data.dataloader(self._split).dataset.__getitems__([0])["image"]
        for variant in self._variants:
            if variant.layer is None and variant.factor != "start":
                continue
            try:
                with torch.no_grad():
                    one = copy.copy(variant.method)
                    one.iterations = 1
                    one(_classifier(self._module, variant.layer), images)
            except (ValueError, RuntimeError) as error:
                raise UserError(
                    f"studies.opticam.{variant.factor}s: {variant.value}: {first_sentence(error)}."
                ) from None

    def run(self, setting: Setting) -> Outcome:
        """Optimize all maps in all ways, and show the images through them."""
        module, device = setting.module, setting.module.device
        scores: dict[str, dict[str, Any]] = {
            variant.name: {str(step): shown_scores(device) for step in variant.at}
            | {f"seconds {step}": MeanMetric().to(device) for step in variant.at}
            | {"objective": ObjectiveCurve(variant.method.iterations).to(device)}
            for variant in self._variants
        }
        cut = {v.layer: _classifier(module, v.layer) for v in self._variants if v.layer}
        for number, batch in enumerate(setting.batches(scores)):
            shown = ShownBatch(module, batch)
            for variant in self._variants:
                setting.note(f"{variant.name}, batch {number + 1}")
                classifier = cut.get(variant.layer, shown.classifier)
                count_variant(variant, classifier, shown, scores[variant.name])
        found = [_ablation(variant, scores[variant.name]) for variant in self._variants]
        results = {each.variant.name: each.rows[each.variant.iterations] for each in found}
        files = {
            "opticam.csv": partial(write_ablations, found=found),
            "pictures/opticam_iterations.png": partial(plot_iterations, found=found),
            "pictures/opticam_objective.png": partial(plot_objectives, found=found),
        }
        return Outcome(results, self.figures, files)


class ObjectiveCurve(Metric):
    """Mean over images of Opti-CAM's objective before each update; NaN before any image.

    Args:
        iterations: Number T of updates.
        **kwargs: Options of ``torchmetrics.Metric``.
    """

    full_state_update = False
    total: Tensor
    images: Tensor

    def __init__(self, iterations: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        state = torch.zeros(iterations, dtype=torch.float64)
        self.add_state("total", state, dist_reduce_fx="sum")
        self.add_state("images", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, objective: Tensor) -> None:
        """Add the objectives (T', B) of a batch whose last image stopped after T' <= T."""
        self.total[: len(objective)] += objective.double().sum(1)
        self.total[len(objective) :] += objective[-1].double().sum()
        self.images += objective.shape[1]

    def compute(self) -> Tensor:
        """Return the curve, float64 (T,)."""
        return self.total / self.images


def count_variant(
    variant: Variant, classifier: nn.Module, shown: ShownBatch, scores: Mapping[str, Any]
) -> None:
    """Optimize the maps of a batch once; count them after each wanted number of updates.

    Args:
        variant: The method.
        classifier: The classifier, cut at the variant's layer.
        shown: The batch.
        scores: By number of updates the three metrics, by ``seconds`` and number a mean of the time
            per image, and ``objective``, an `ObjectiveCurve`.
    """
    count, began, taken = len(shown.images), time.perf_counter(), {}

    def progress(step: int, iterations: int) -> None:
        taken[step] = time.perf_counter() - began

    variant.method.progress = progress
    found = variant.method.optimize(classifier, shown.images, shown.targets, at=variant.at)
    whole = time.perf_counter() - began
    shown.show(found.earlier, *(scores[str(step)] for step in variant.at))
    scores["objective"].update(found.objective)
    for step in variant.at:
        scores[f"seconds {step}"].update(taken.get(step, whole) / count, count)


def _ablation(variant: Variant, scores: Mapping[str, Any]) -> Ablation:
    rows = {step: computed(scores[str(step)]) for step in variant.at}
    seconds = {step: float(scores[f"seconds {step}"].compute()) for step in variant.at}
    return Ablation(variant, rows, seconds, scores["objective"].compute().tolist())


def _classifier(module: SaliencyModule, layer: str | None) -> nn.Module:
    """Cut the module's network at a layer; None for the classifier as it is."""
    return module.classifier if layer is None else split(named_network(module), layer)
