"""Training of the CAM classifier: the baseline, whose decisions other methods explain."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from learned_saliency.attribution import CAM, SharedFeatures, normalize, resize
from learned_saliency.datamodules import WSOLBatch
from learned_saliency.models import CAMClassifier, Values
from learned_saliency.trainers.base import SaliencyModule
from learned_saliency.trainers.layer_rates import check_decay, rate_groups
from learned_saliency.trainers.outputs import Explanation, NativeMap


class ClassifierLosses(NamedTuple):
    """Losses of a batch of labeled images.

    Attributes:
        terms: Means over the batch by name, each with its weight; their sum is minimized.
        logits: Class scores (B, C) that the accuracy is counted by.
    """

    terms: dict[str, Tensor]
    logits: Tensor


class CAMModule(SaliencyModule):
    """Module that trains a CAM classifier (Zhou et al., CVPR 2016) with cross-entropy.

    For multi-label tasks that is the binary cross-entropy of each class, for regression Huber's
    loss of values in standard deviations of those of the training images.

    The native map is the class map of the network, resized as in the WSOL benchmark (bicubic) and
    min-max normalized. The other classifiers of the benchmark are trained by the same loop: a
    network of their own gives `cams`, a subclass other `losses`.

    Args:
        network: A `models.CAMClassifier`.
        head_lr_factor: Learning rate of the layers on top of the backbone, over the backbone's.
        layer_decay: Learning rate of each layer of the backbone, over that of the layer above it,
            in (0, 1]; None for one rate. See `rate_groups`.
        **options: See `SaliencyModule`.

    Raises:
        ValueError: If ``layer_decay`` is out of range.
    """

    tasks: ClassVar[frozenset[str]] = frozenset(
        {"multiclass", "multilabel", "binary", "regression"}
    )
    network: CAMClassifier

    def __init__(
        self,
        *,
        network: CAMClassifier,
        head_lr_factor: float = 1.0,
        layer_decay: float | None = None,
        **options: Any,
    ) -> None:
        super().__init__(network=network, **options)
        check_decay(layer_decay)
        self.head_lr_factor = head_lr_factor
        self.layer_decay = layer_decay
        self.cam = CAM(interpolation="bicubic")

    @property
    def classifier(self) -> CAMClassifier:
        """The trained network itself."""
        return self.network

    @property
    def native(self) -> NativeMap:
        """CAM, one per class."""
        return NativeMap(per_class=True, probabilities=False, class_wise=self.cam)

    def explain(self, images: Tensor, labels: Tensor | None) -> Explanation:
        """Compute CAMs of the given classes, from one pass; see `SaliencyModule.explain`."""
        features = self.network.features(images)
        logits = self.network.head(features)
        targets = self.known_targets(labels, logits)
        return Explanation(self.native_maps(features, images, targets), logits, features)

    def native_maps(self, features: Tensor, images: Tensor, targets: Tensor) -> Tensor:
        """Compute CAMs of any classes from the features; see `SaliencyModule.native_maps`."""
        shared = SharedFeatures(self.network, images, features)
        return self.cam(shared, images, targets)

    def explain_all(self, images: Tensor) -> Explanation:
        """Compute CAMs of all classes; see `SaliencyModule.explain_all`."""
        features = self.network.features(images)
        maps = resize(self.network.cams(features), images.shape[-2:], self.cam.interpolation)
        return Explanation(normalize(maps), self.network.head(features), features)

    def on_fit_start(self) -> None:
        """Let a network of values take their units from the training images."""
        super().on_fit_start()
        if isinstance(answers := getattr(self.network, "answers", None), Values):
            answers.set_units(torch.from_numpy(self.trainer.datamodule.values("train")))

    def losses(self, images: Tensor, labels: Tensor) -> ClassifierLosses:
        """Compute the cross-entropy of the image labels.

        Args:
            images: Normalized images of shape (B, 3, H, W).
            labels: What the task learns of them: classes, int64 (B,) in 0..C-1, or for multi-label
                tasks bool (B, C), or values, float (B, T).
        """
        logits = self.network(images)
        return ClassifierLosses({"classification": self.task.loss(logits, labels)}, logits)

    def training_step(self, batch: WSOLBatch, batch_idx: int) -> Tensor:
        """Compute the sum of the `losses` of a batch."""
        labels = self.task.truth_of(batch)
        terms, logits = self.losses(batch["image"], labels)
        loss = sum(terms.values())
        self.log_losses(loss, terms, len(labels))
        if self.task.hits is not None:
            accuracy = self.task.hits(logits, labels).mean()
            self.log_means({"train/accuracy": accuracy}, len(labels), on_step=False)
        return loss

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Group what is trained by its learning rate; see `rate_groups`."""
        return rate_groups(self.network, self.head_lr_factor, self.layer_decay)
