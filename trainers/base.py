"""Contract of every learned saliency method, and the steps that all methods share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from learned_saliency.attribution import Classifier, PostHocMethod, SharedFeatures
from learned_saliency.datamodules import WSOLBatch
from learned_saliency.models import is_frozen
from learned_saliency.ops import Activation, activation_of, widen
from learned_saliency.trainers.coverage import CoverageSums
from learned_saliency.trainers.outputs import (
    NATIVE,
    ClassMaps,
    Explanation,
    GivenMaps,
    LearnedShare,
    NativeMap,
    Prediction,
    PredictionBatch,
    choose_classes,
)
from learned_saliency.trainers.scores import BOX_THRESHOLD, CLASSIFIER_FIGURES, SplitScores
from learned_saliency.trainers.strategies.ddp import broadcast_buffers
from learned_saliency.trainers.tasks import TASKS
from learned_saliency.trainers.testing import TestableModule, flatten
from learned_saliency.trainers.training import OptimizerFactory, SchedulerFactory
from learned_saliency.trainers.zerobox import ZeroBoxScores
from learned_saliency.visualization import shown_channels as choose_shown


class SaliencyModule(TestableModule):
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
        shown_channels: The three of the channels that are shown as red, green and blue, and that
            terms on colors look at; None for the first three, of one channel gray.
        seed: Seed of all random draws in training.
        zerobox: Criteria of ``val`` that need no box; None for none of them.
        task: What labels are to the classifier, a key of `trainers.TASKS`.

    Attributes:
        tasks: Names of the tasks that the method is defined for.
        refusals: Reasons why it is not defined for others, by the names of the tasks; each follows
            the method's name and has no full stop.
        for_given: Keys of ``model`` with the values that they need where the classifier is a given
            network, which stays as it is; None for a method that cannot be trained for it.
    """

    for_given: ClassVar[Mapping[str, Any] | None] = None
    tasks: ClassVar[frozenset[str]] = frozenset({"multiclass"})
    refusals: ClassVar[Mapping[str, str]] = {}

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
        mean: tuple[float, ...] = (0.485, 0.456, 0.406),
        std: tuple[float, ...] = (0.229, 0.224, 0.225),
        shown_channels: Sequence[int] | None = None,
        seed: int = 0,
        zerobox: ZeroBoxScores | None = None,
        task: str = "multiclass",
    ) -> None:
        super().__init__(
            optimizer=optimizer,
            scheduler=scheduler,
            seed=seed,
            methods=methods,
            given=given,
            faithfulness=faithfulness,
            mask_color=mask_color,
            explained=explained,
            mean=mean,
            std=std,
        )
        self.task = TASKS[task].of(network)
        self.network = network.to(memory_format=torch.channels_last)  # makes convolutions faster
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1), persistent=False)
        self.shown_channels = choose_shown(len(mean), shown_channels)
        # Threshold with the native map's best MaxBoxAcc on `val`, or what a criterion without boxes
        # chose there, in [0, 1); 0.5 before the first validation.
        self.register_buffer("box_threshold", torch.tensor(0.5))
        self.coverage = CoverageSums()
        self.validation_scores = SplitScores([NATIVE])
        self.zerobox = zerobox or ZeroBoxScores()
        if self.task.activation is Activation.IDENTITY:
            for scores in (self.validation_scores, self.test_scores):
                scores.expect_values(self.classifier.num_classes)
        self._declare_activation()

    def _declare_activation(self) -> None:
        """Let the classifier declare the activation of its task, see `ops.Activation`."""
        classifier: Any = self.classifier
        if activation_of(classifier) is not self.task.activation:
            classifier.activation = self.task.activation

    @property
    def native(self) -> NativeMap | None:
        """Declaration of the native map; None for a module that has no native map."""
        raise NotImplementedError

    @property
    def has_classes(self) -> bool:
        """False in regression, whose scores are no logits of classes."""
        return self.task.activation is not Activation.IDENTITY

    @property
    def learned_share(self) -> LearnedShare | None:
        """Share of ``val`` whose boxes or masks are learned from; None: the training sees none."""
        return None

    @property
    def export_obstacle(self) -> str | None:
        """Reason why no graph can hold the native map, as a sentence without its full stop."""
        return None

    @property
    def compiled_parts(self) -> list[nn.Module]:
        """Parts whose ``forward`` a training step calls and `CompiledTraining` compiles."""
        return [self.network]

    @property
    def compile_obstacle(self) -> str | None:
        """Reason why no part can be compiled, as a sentence without its full stop."""
        return None

    @property
    def shard_obstacle(self) -> str | None:
        """Reason why the processes of a training cannot share the weights of the trunk out.

        Returns:
            A sentence without its full stop; None where the trunk is frozen and a training step
            calls it alone, none of its layers.
        """
        backbone = self.classifier.backbone
        if next(backbone.parameters(), None) is None:
            return "the layers of a given network are read by hooks, which shares leave out"
        if not is_frozen(backbone):
            return "its trunk is trained, and only the weights of a frozen one are shared out"
        return None

    @property
    def map_parts(self) -> dict[str, Any]:
        """Trained parts of the native map that a post-hoc method is built with; mostly none."""
        return {}

    def explain(self, images: Tensor, labels: Tensor | None) -> Explanation:
        """Compute native maps of the given classes, from one pass.

        Args:
            images: Normalized images of shape (B, 3, H, W).
            labels: Classes to explain, int64 (B,), -1 for the predicted class; ``None`` for the
                predicted classes of all images. `known_targets` gives the classes.
        """
        raise NotImplementedError

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
        self,
        images: Tensor,
        targets: Tensor | None = None,
        top_k: int = 1,
        present: float | None = None,
    ) -> ClassMaps:
        """Compute maps of several classes per image by all methods, from one backbone pass.

        Args:
            images: Normalized images of shape (B, 3, H, W).
            targets: Classes to explain, int64 (B, T); ``None`` for those of `choose_classes`.
            top_k: See there.
            present: See there.

        Returns:
            Logits, classes and maps (B, T, H, W), ``native`` first.
        """
        explanation = self.explain(images, None)
        features, predicted = explanation.features, explanation.logits.argmax(1)
        if targets is None:
            targets = choose_classes(explanation.logits, top_k, present, self.activation)
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
        maps = {}
        for name, method in self.methods.items():
            self.note(name)
            maps[name] = method.of_classes(classifier, images, targets)
        return maps

    def colors(self, images: Tensor) -> Tensor:
        """Undo the normalization: return what is shown of images, (..., 3, H, W) in 0..255.

        These are the ``shown_channels``.
        """
        values = images * self.std + self.mean
        if self.shown_channels != list(range(len(self.mean))):
            values = values[..., self.shown_channels, :, :]
        return values.clamp(0, 1) * 255

    @property
    def needs_labels(self) -> bool:
        """Tell whether the training needs the class of every image: it trains the classifier."""
        return any(p.requires_grad for p in self.classifier.parameters())

    @property
    def constant_monitors(self) -> set[str]:
        """Names in `MONITORS` of metrics that this training cannot change."""
        return set() if self.needs_labels else set(CLASSIFIER_FIGURES)

    def on_validation_start(self) -> None:
        """Under DDP, give all ranks the BatchNorm statistics of the first rank, which is saved."""
        broadcast_buffers(self.network)

    def on_validation_epoch_start(self) -> None:
        """Reset the metrics of ``val``."""
        self.aside.begin(beside=self._trainer is not None)
        self.validation_scores.reset()
        self.coverage.reset()
        self.zerobox.reset()

    def validation_step(self, batch: WSOLBatch, batch_idx: int) -> None:
        """Update the metrics of ``val`` with the native maps of the batch.

        Boxes, masks and statistics are counted beside the network's pass over the next batch.
        """
        if not len(batch["image"]):  # this process has no share of the split
            return
        found = self.explain(batch["image"], batch["label"])
        self.aside.wait()  # for the batch before
        truth = self.classified(batch)
        scored = {NATIVE: found.saliency}, found.logits, truth, self.activation
        self.aside.run(partial(self.validation_scores.update, *scored))
        self.zerobox.update(self, batch, found)
        self.coverage.update(self, batch, found)

    def predict_step(self, batch: PredictionBatch, batch_idx: int) -> Prediction:
        """Explain the classes that the batch asks for, or the predicted classes, by all methods.

        The result is at least float32, whatever precision the network runs in.
        """
        images, present = batch["image"], batch.get("present")
        wanted = batch.get("targets"), batch.get("top_k", 1), present
        found = self.explain_classes(images, *wanted)
        maps = {name: widen(values) for name, values in found.maps.items()}
        logits = widen(found.logits)
        result = batch["image_id"], logits, found.targets, maps, self.box_threshold
        return Prediction(*result, present)

    def on_validation_epoch_end(self) -> None:
        """Log the metrics of ``val``; keep its best box threshold and its losses of regions."""
        self.aside.end()
        results = self.validation_scores.compute()
        threshold = results[NATIVE].pop(BOX_THRESHOLD, 0.5)
        values = self.zerobox.compute()
        results[NATIVE] |= values
        self.box_threshold.fill_(self.zerobox.box_threshold(values, threshold))
        self.coverage.keep()
        for name, value in flatten(results):
            self.log(f"val/{name}", value, sync_dist=True)  # equal on all processes
