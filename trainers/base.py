"""Contract of every learned saliency method, and the steps that all methods share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from learned_saliency.attribution import Classifier, PostHocMethod, SharedFeatures
from learned_saliency.datamodules import WSOLBatch
from learned_saliency.metrics import FLOORS
from learned_saliency.ops import widen
from learned_saliency.trainers.coverage import CoverageSums
from learned_saliency.trainers.faithfulness import FaithfulnessScores
from learned_saliency.trainers.outputs import (
    NATIVE,
    ClassMaps,
    Explanation,
    GivenMaps,
    NativeMap,
    Prediction,
    PredictionBatch,
    TestOutput,
    known_targets,
)
from learned_saliency.trainers.scores import BOX_THRESHOLD, SplitScores
from learned_saliency.trainers.strategies.ddp import broadcast_buffers
from learned_saliency.trainers.training import OptimizerFactory, SchedulerFactory, TrainableModule
from learned_saliency.trainers.trial import Explain, Trial
from learned_saliency.trainers.zerobox import ZeroBoxScores

EXPLAINED = ("label", "predicted")
MASK_COLORS = ("mean", "black")


class SaliencyModule(TrainableModule):
    """Base of the learned saliency methods.

    A subclass names its ``classifier``, declares what its ``native`` map is, gives
    ``explain(images, labels)``, the maps and logits of one pass, and a ``training_step``.
    Validation, test and prediction are the same for all methods. Validation scores the native map,
    by which the checkpoint is chosen; test and prediction run any post-hoc methods over the same
    batches too, on the features of the same pass, and test feeds their maps to the same metrics.

    True classes are explained in validation and, by default, in test, where an image's class is
    unknown the predicted one; in prediction the classes that the batch asks for, or the predicted
    classes.
    A map is scored for the class that it explains: the WSOL benchmark explains the true class, and
    average drop, increase and gain look at its probability (paper 000, Sec. 4); insertion and
    deletion look at the predicted class there (App. B.1), which is ``explained="predicted"``. So
    one set of maps serves all metrics of a test.

    Args:
        network: The trained network.
        optimizer: Factory of the optimizer, given parameter groups.
        scheduler: Factory of the scheduler, given the optimizer; stepped once per epoch.
        methods: Post-hoc methods by name, tested and predicted beside the native map.
        given: Sources of finished maps by name, tested beside the methods; see `GivenMaps`.
        faithfulness: Names of the metrics of `trainers.faithfulness` to test all maps by.
        mask_color: Color of the pixels that these metrics mask: ``"mean"``, 0 in the normalized
            image, or ``"black"``.
        explained: Class that the tested maps explain: the ``"label"`` or the ``"predicted"`` class.
        mean: Mean of each color channel that the images were normalized with, in [0, 1].
        std: Standard deviation of each color channel, in [0, 1].
        seed: Seed of all random draws in training.
        zerobox: Criteria of ``val`` that need no box; None for none of them.

    Attributes:
        masking: Options of `metrics.masked_probabilities` that follow from ``mask_color``.
        for_given: Keys of ``model`` with the values that they need where the classifier is a given
            network, which stays as it is; None for a method that cannot be trained for it.
        known: Names of methods that are not computed in a test, because their rows are known.
        note: Called in test with a description of the current work; a progress bar puts itself
            here.
    """

    for_given: ClassVar[Mapping[str, Any] | None] = None

    def __init__(
        self,
        *,
        network: nn.Module,
        optimizer: OptimizerFactory,
        scheduler: SchedulerFactory | None = None,
        methods: Mapping[str, PostHocMethod] | None = None,
        given: Mapping[str, GivenMaps] | None = None,
        faithfulness: Sequence[str] = (),
        mask_color: str = "mean",
        explained: str = "label",
        mean: tuple[float, float, float] = (0.485, 0.456, 0.406),
        std: tuple[float, float, float] = (0.229, 0.224, 0.225),
        seed: int = 0,
        zerobox: ZeroBoxScores | None = None,
    ) -> None:
        super().__init__(optimizer=optimizer, scheduler=scheduler, seed=seed)
        self.network = network.to(memory_format=torch.channels_last)  # makes convolutions faster
        self.methods, self.given = dict(methods or {}), dict(given or {})
        if both := self.methods.keys() & self.given.keys():
            raise ValueError(f"{sorted(both)} name methods and given maps alike")
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
        self.note: Callable[[str], None] = lambda what: None
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)
        # Threshold with the native map's best MaxBoxAcc on `val`, or what a criterion without boxes
        # chose there, in [0, 1); 0.5 before the first validation.
        self.register_buffer("box_threshold", torch.tensor(0.5))
        self.coverage = CoverageSums()
        self.validation_scores = SplitScores([NATIVE])
        self.zerobox = zerobox or ZeroBoxScores()
        self.test_scores = SplitScores(self.map_names, floors=True)
        self.faithfulness = FaithfulnessScores(self.map_names, faithfulness)
        self.masking = {"mean": tuple(mean), "std": tuple(std)} if mask_color == "black" else {}
        # Metrics of the last test by method, and the curves behind them.
        self.results: dict[str, dict[str, float]] = {}
        self.curves: tuple[dict[str, Any], dict[str, Any]] = ({}, {})

    @property
    def classifier(self) -> Classifier:
        """The network whose decisions the maps explain."""
        raise NotImplementedError

    @property
    def map_names(self) -> list[str]:
        """Methods and given maps that are tested; predicted boxes come from the first."""
        return [NATIVE, *self.methods, *self.given]

    @property
    def native(self) -> NativeMap | None:
        """Declaration of the native map; None for a module that has no native map."""
        raise NotImplementedError

    @property
    def has_classes(self) -> bool:
        """True if the classifier gives logits of classes, instead of scores of any kind."""
        return True

    @property
    def has_scores(self) -> bool:
        """True if there is a classifier, instead of maps alone."""
        return True

    @property
    def export_obstacle(self) -> str | None:
        """Reason why no graph can hold the native map, as a sentence without its full stop."""
        return None

    @property
    def map_parts(self) -> dict[str, Any]:
        """Trained parts of the native map that a post-hoc method is built with; mostly none."""
        return {}

    @property
    def floors(self) -> dict[str, float]:
        """Box accuracies of the last test that need no map, fractions by name."""
        found = {name: self.results.get(name, {}) for name in FLOORS}
        return {name: v["max_box_acc"] for name, v in found.items() if "max_box_acc" in v}

    def explain(self, images: Tensor, labels: Tensor | None) -> Explanation:
        """Compute native maps of the given classes, from one pass.

        Args:
            images: Normalized images of shape (B, 3, H, W).
            labels: Classes to explain, int64 (B,), -1 for the predicted class; ``None`` for the
                predicted classes of all images. `known_targets` gives the classes.
        """
        raise NotImplementedError

    known_targets = staticmethod(known_targets)

    def native_maps(self, features: Tensor, images: Tensor, targets: Tensor) -> Tensor:
        """Compute native maps of further classes of images that were explained already.

        The base takes another pass; a subclass that can uses the features of the first pass.

        Args:
            features: The ``features`` of the `Explanation`, (B, K, h, w).
            images: The explained images (B, 3, H, W).
            targets: Classes, int64 (B,).

        Returns:
            Maps (B, H, W) in [0, 1].
        """
        return self.explain(images, targets).saliency

    def explain_all(self, images: Tensor) -> Explanation:
        """Compute native maps of all classes, (B, C, H, W), from one pass.

        A method whose map is the same for every class has no such maps, see `native`.

        Args:
            images: Normalized images of shape (B, 3, H, W).
        """
        raise NotImplementedError

    def saliency(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Compute native maps, shape (B, H, W) in [0, 1]; see `explain`."""
        return self.explain(images, labels).saliency

    def maps(
        self, images: Tensor, labels: Tensor | None, names: Iterable[str] | None = None
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Compute the maps of the native and of post-hoc methods.

        Args:
            images: Normalized images of shape (B, 3, H, W).
            labels: Classes to explain, int64 (B,), -1 for the predicted class; ``None`` for the
                predicted classes of all images.
            names: Keys of ``methods``; ``None`` for all.

        Returns:
            Maps (B, H, W) in [0, 1] by method, ``native`` first, and the logits (B, C).
        """
        explanation = self.explain(images, labels)
        targets = self.known_targets(labels, explanation.logits)
        shared = SharedFeatures(self.classifier, images, explanation.features)
        post_hoc = self.post_hoc_maps(shared, images, targets, names)
        return {NATIVE: explanation.saliency} | post_hoc, explanation.logits

    def post_hoc_maps(
        self,
        classifier: Classifier,
        images: Tensor,
        targets: Tensor,
        names: Iterable[str] | None = None,
    ) -> dict[str, Tensor]:
        """Compute maps (B, H, W) of post-hoc methods by name; ``targets`` are int64 (B,)."""
        maps = {}
        for name in self.methods if names is None else names:
            self.note(name)
            maps[name] = self.methods[name](classifier, images, targets)
        return maps

    @torch.no_grad()
    def explain_classes(
        self, images: Tensor, targets: Tensor | None = None, top_k: int = 1
    ) -> ClassMaps:
        """Compute maps of several classes per image by all methods, from one backbone pass.

        Args:
            images: Normalized images of shape (B, 3, H, W).
            targets: Classes to explain, int64 (B, T); ``None`` for the ``top_k`` most probable.
            top_k: Number T of classes where there are no ``targets``, in [1, C].

        Returns:
            Logits, classes and maps (B, T, H, W), ``native`` first.
        """
        explanation = self.explain(images, None)
        features, predicted = explanation.features, explanation.logits.argmax(1)
        if targets is None:
            targets = explanation.logits.topk(top_k).indices
        if not self.native.per_class:
            native = explanation.saliency[:, None]
        else:
            native = torch.stack(
                [
                    explanation.saliency
                    if torch.equal(column, predicted)
                    else self.native_maps(features, images, column)
                    for column in targets.unbind(1)
                ],
                dim=1,
            )
        shared = SharedFeatures(self.classifier, images, features)
        post_hoc = self.post_hoc_of_classes(shared, images, targets)
        return ClassMaps(explanation.logits, targets, {NATIVE: native} | post_hoc)

    def post_hoc_of_classes(
        self, classifier: Classifier, images: Tensor, targets: Tensor
    ) -> dict[str, Tensor]:
        """Compute maps (B, T, H, W) of post-hoc methods by name; ``targets`` are int64 (B, T)."""
        columns = [self.post_hoc_maps(classifier, images, column) for column in targets.unbind(1)]
        return {name: torch.stack([maps[name] for maps in columns], 1) for name in self.methods}

    def colors(self, images: Tensor) -> Tensor:
        """Undo the normalization: return colors in 0..255, float of the same shape."""
        return (images * self.std + self.mean).clamp(0, 1) * 255

    @property
    def needs_labels(self) -> bool:
        """Tell whether the training needs the class of every image: it trains the classifier."""
        return any(p.requires_grad for p in self.classifier.parameters())

    @property
    def constant_monitors(self) -> set[str]:
        """Names in `MONITORS` of metrics that this training cannot change."""
        return set() if self.needs_labels else {"accuracy"}

    def on_validation_start(self) -> None:
        """Under DDP, give all ranks the BatchNorm statistics of the first rank, which is saved."""
        broadcast_buffers(self.network)

    def on_validation_epoch_start(self) -> None:
        """Reset the metrics of ``val``."""
        self.validation_scores.reset()
        self.coverage.reset()
        self.zerobox.reset()

    def on_test_start(self) -> None:
        """Reset the metrics of ``test``."""
        self.test_scores.reset()
        self.faithfulness.reset()

    def validation_step(self, batch: WSOLBatch, batch_idx: int) -> None:
        """Update the metrics of ``val`` with the native maps of the batch."""
        if not len(batch["image"]):  # this process has no share of the split
            return
        found = self.explain(batch["image"], batch["label"])
        self.validation_scores.update({NATIVE: found.saliency}, found.logits, batch)
        self.zerobox.update(self, batch, found)
        self.coverage.update(self, batch, found)

    def test_step(self, batch: WSOLBatch, batch_idx: int) -> TestOutput:
        """Update the metrics of ``test`` with the maps of the batch by all methods."""
        images = batch["image"]
        if not len(images):  # this process has no share of the split
            return TestOutput({}, images.new_empty((0, 1)), batch["label"], {})
        labels = batch["label"] if self.explained == "label" else None
        maps, logits = self.maps(images, labels, [m for m in self.methods if m not in self.known])
        logits = widen(logits)
        maps = {name: widen(values) for name, values in maps.items() if name not in self.known}
        maps |= {name: read(batch) for name, read in self.given.items() if name not in self.known}
        targets = self.known_targets(labels, logits)
        unknown = {} if self.has_classes else {"label": torch.full_like(batch["label"], -1)}
        self.test_scores.update(maps, logits, {**batch, **unknown})
        terms = {}
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
            terms[name] = self.faithfulness.update(name, trial)
        return TestOutput(maps, logits, targets, terms)

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

    def predict_step(self, batch: PredictionBatch, batch_idx: int) -> Prediction:
        """Explain the classes that the batch asks for, or the predicted classes, by all methods.

        The result is at least float32, whatever precision the network runs in.
        """
        images = batch["image"]
        found = self.explain_classes(images, batch.get("targets"), batch.get("top_k", 1))
        maps = {name: widen(values) for name, values in found.maps.items()}
        logits = widen(found.logits)
        return Prediction(batch["image_id"], logits, found.targets, maps, self.box_threshold)

    def on_validation_epoch_end(self) -> None:
        """Log the metrics of ``val``; keep its best box threshold and its losses of regions."""
        results = self.validation_scores.compute()
        threshold = results[NATIVE].pop(BOX_THRESHOLD, 0.5)
        values = self.zerobox.compute()
        results[NATIVE] |= values
        self.box_threshold.fill_(self.zerobox.box_threshold(values, threshold))
        self.coverage.keep()
        for name, value in _flatten(results):
            self.log(f"val/{name}", value, sync_dist=True)  # equal on all processes

    def test_results(self) -> dict[str, dict[str, float]]:
        """Compute the metrics of the batches that `test_step` has seen, fractions by method."""
        results = self.test_scores.compute()
        for name, figures in self.faithfulness.compute().items():
            results[name] |= figures
        return results

    def on_test_epoch_end(self) -> None:
        """Log the metrics of ``test`` and keep them in ``results``."""
        self.results = self.test_results()
        self.curves = self.test_scores.curves()
        for name, value in _flatten(self.results):
            self.log(f"test/{name}", value, sync_dist=True)


def _flatten(results: Mapping[str, Mapping[str, float]]) -> Iterator[tuple[str, float]]:
    for method, values in results.items():
        for name, value in values.items():
            yield f"{method}/{name}", value
