"""Test of the maps of all methods of a module, alike for every method."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any

import torch
from torch import Tensor

from learned_saliency.attribution import Classifier, PostHocMethod
from learned_saliency.datamodules import WSOLBatch
from learned_saliency.metrics import FLOORS
from learned_saliency.ops import Activation, activation_of, widen
from learned_saliency.trainers.aside import Deferred
from learned_saliency.trainers.faithfulness import FaithfulnessScores, Observations
from learned_saliency.trainers.map_levels import on_grid
from learned_saliency.trainers.outputs import NATIVE, GivenMaps, TestOutput, known_targets
from learned_saliency.trainers.scores import SplitScores
from learned_saliency.trainers.training import TrainableModule
from learned_saliency.trainers.trial import Explain, Trial

EXPLAINED = ("label", "predicted")
MASK_COLORS = ("mean", "black")

Values = dict[str, dict[str, Tensor]]


class TestableModule(TrainableModule):
    """Module whose test scores the maps of all its methods, image by image.

    A subclass names its ``classifier`` and gives ``maps`` and ``saliency``.

    Args:
        methods: See `SaliencyModule`, as for the arguments below; others go to `TrainableModule`.
        given: Sources of finished maps by name.
        faithfulness: Names of metrics.
        mask_color: One of ``MASK_COLORS``.
        explained: One of ``EXPLAINED``.
        mean: One value per color channel.
        std: One value per color channel.

    Attributes:
        known: Names of methods that are not computed in a test, because their rows are known.
        rounds_maps: Whether maps are rounded to 16 bits before they are scored, because they are
            kept so; see `map_levels`.
        masking: Options of `metrics.masked_probabilities` that follow from ``mask_color``.
        note: Called in test with a description of the current work; a progress bar puts itself
            here.
        results: Metrics of the last test by method.
        curves: The curves behind them.
        class_precision: The average precision of each class; empty for exclusive classes.
    """

    def __init__(
        self,
        *,
        methods: Mapping[str, PostHocMethod] | None,
        given: Mapping[str, GivenMaps] | None,
        faithfulness: Sequence[str],
        mask_color: str,
        explained: str,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.methods, self.given = dict(methods or {}), dict(given or {})
        if both := self.methods.keys() & self.given.keys():
            raise ValueError(f"{sorted(both)} name methods and given maps alike")
        if floors := self.given.keys() & set(FLOORS):
            raise ValueError(f"{sorted(floors)} name floors of the table and given maps alike")
        if NATIVE in self.methods | self.given:
            raise ValueError(
                f"'{NATIVE}' is the module's own map and no name for a post-hoc method"
            )
        if explained not in EXPLAINED:
            raise ValueError(f"explained must be one of {EXPLAINED}, got {explained!r}")
        if mask_color not in MASK_COLORS:
            raise ValueError(f"mask_color must be one of {MASK_COLORS}, got {mask_color!r}")
        self.explained = explained
        self.known: frozenset[str] = frozenset()
        self.rounds_maps = False
        self.note: Callable[[str], None] = lambda what: None
        self.test_scores = SplitScores(self.map_names, floors=True, tested=True)
        self.faithfulness = FaithfulnessScores(self.map_names, faithfulness)
        self.masking = {"mean": tuple(mean), "std": tuple(std)} if mask_color == "black" else {}
        self.results: dict[str, dict[str, float]] = {}
        self.curves: tuple[dict[str, Any], dict[str, Any]] = ({}, {})
        self.class_precision: list[float] = []

    @property
    def classifier(self) -> Classifier:
        """The network whose decisions the maps explain."""
        raise NotImplementedError

    @property
    def activation(self) -> Activation:
        """Function of the logits to probabilities, as the classifier declares it."""
        return activation_of(self.classifier)

    @property
    def map_names(self) -> list[str]:
        """Methods and given maps that are tested; predicted boxes come from the first."""
        return [NATIVE, *self.methods, *self.given]

    @property
    def has_classes(self) -> bool:
        """True if the classifier gives logits of classes, instead of scores of any kind."""
        return True

    @property
    def has_scores(self) -> bool:
        """True if there is a classifier, instead of maps alone."""
        return True

    @property
    def floors(self) -> dict[str, float]:
        """Box accuracies of the last test that need no map, fractions by name."""
        found = {name: self.results.get(name, {}) for name in FLOORS}
        return {name: v["max_box_acc"] for name, v in found.items() if "max_box_acc" in v}

    known_targets = staticmethod(known_targets)

    def maps(
        self, images: Tensor, labels: Tensor | None, names: Iterable[str] | None = None
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Compute maps (B, H, W) in [0, 1] by method, and logits; see `SaliencyModule.maps`."""
        raise NotImplementedError

    def saliency(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Compute native maps, shape (B, H, W) in [0, 1]; see `SaliencyModule.explain`."""
        raise NotImplementedError

    def explainer(self, name: str, targets: Tensor) -> Explain | None:
        """Return the method of a name as a function of images to maps of these classes.

        None stands for given maps: nobody knows their method.

        Args:
            name: One of ``map_names``.
            targets: Classes, int64 (B,).
        """
        if name in self.given:
            return None
        if name == NATIVE:
            return lambda images: self.saliency(images, targets)
        return lambda images: self.methods[name](self.classifier, images, targets)

    def on_test_start(self) -> None:
        """Reset the metrics of ``test``."""
        self.aside.begin(beside=self._trainer is not None)
        self.test_scores.reset()
        self.faithfulness.reset()

    def test_step(self, batch: WSOLBatch, batch_idx: int) -> TestOutput:
        """Update the metrics of ``test`` with the maps of the batch by all methods.

        In a trainer's test the metrics count beside the network's further work: the terms and
        states of the output are waited for when they are read.
        """
        images = batch["image"]
        if not len(images):  # this process has no share of the split
            return TestOutput({}, images.new_empty((0, 1)), batch["label"], {}, {})
        labels = batch["label"] if self.explained == "label" else None
        maps, logits = self.maps(images, labels, [m for m in self.methods if m not in self.known])
        logits = widen(logits)
        maps = {name: widen(values) for name, values in maps.items() if name not in self.known}
        maps |= {name: read(batch) for name, read in self.given.items() if name not in self.known}
        if self.rounds_maps:
            maps = {name: on_grid(values) for name, values in maps.items()}
            logits = logits.float()
        targets = self.known_targets(labels, logits)
        self.aside.wait()  # for the batch before
        scored = self.aside.run(partial(self._scored, maps, logits, self.classified(batch)))
        observed = {}
        for name, saliency in maps.items():
            self.note(f"{name}, faithfulness")
            trial = Trial(
                self.classifier,
                images,
                saliency,
                targets,
                explain=self.explainer(name, targets),
                truth=batch,
                places=batch["index"].tolist() if "index" in batch else None,
                seed=self.seed,
                **self.masking,
            )
            observed[name] = self.faithfulness.observe(trial)
        counted = self.aside.run(partial(self._counted, scored, observed))
        return TestOutput(maps, logits, targets, Deferred(counted, 0), Deferred(counted, 1))

    def classified(self, batch: WSOLBatch) -> WSOLBatch:
        """Return a batch whose labels are classes: all unknown where scores are no classes."""
        if self.has_classes:
            return batch
        kept = {key: value for key, value in batch.items() if key != "labels"}
        return {**kept, "label": torch.full_like(batch["label"], -1)}

    def _scored(
        self, maps: Mapping[str, Tensor], logits: Tensor, batch: WSOLBatch
    ) -> tuple[Values, Values]:
        """Count a batch's maps; return the terms and the states of its images by method."""
        terms = self.test_scores.update(maps, logits, batch, self.activation)
        return terms, self.test_scores.image_states

    def _counted(
        self, scored: Future[tuple[Values, Values]], observed: Mapping[str, Observations]
    ) -> tuple[Values, Values]:
        """Count what was observed of a batch's maps; add it to the terms of its images."""
        terms, states = scored.result()
        for name, of_method in observed.items():
            terms[name] |= self.faithfulness.count(name, of_method)
        return terms, states

    def test_results(self) -> dict[str, dict[str, float]]:
        """Compute the metrics of the batches that `test_step` has seen, fractions by method."""
        self.aside.wait()
        results = self.test_scores.compute()
        for name, figures in self.faithfulness.compute().items():
            results[name] |= figures
        return results

    def on_test_epoch_end(self) -> None:
        """Log the metrics of ``test`` and keep them in ``results``."""
        self.aside.end()
        self.results = self.test_results()
        self.curves = self.test_scores.curves()
        self.class_precision = self.test_scores.class_precision()
        for name, value in flatten(self.results):
            self.log(f"test/{name}", value, sync_dist=True)


def flatten(results: Mapping[str, Mapping[str, float]]) -> Iterator[tuple[str, float]]:
    """Yield the values by ``METHOD/METRIC``."""
    for method, values in results.items():
        for name, value in values.items():
            yield f"{method}/{name}", value
