"""Training of TriLite, light branches for classification and localization on a frozen trunk."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor

from learned_saliency.datamodules import WSOLBatch
from learned_saliency.losses import TriLiteLoss
from learned_saliency.models import MultiScaleClassifier, TriLite
from learned_saliency.trainers.base import SaliencyModule
from learned_saliency.trainers.outputs import Explanation, NativeMap


class TriLiteModule(SaliencyModule):
    """Module that trains the branches of TriLite (Sabaghi and Oramas, CVPR 2026) together.

    The classification branch learns by the cross-entropy of the image, the localization branch by
    the cross-entropy of the foreground's features and the adversarial loss of the background's.
    The branches share nothing but the frozen trunk, so that neither disturbs the other. In
    multi-label tasks these are binary cross-entropies, and the background may tell none of the
    image's classes: the foreground is that of all of them.

    The native map is the probability of the foreground, as it is: it needs no class and no min-max
    normalization.

    Args:
        network: A `models.TriLite`.
        loss: The loss of both branches.
        **options: See `SaliencyModule`.
    """

    tasks: ClassVar[frozenset[str]] = frozenset({"multiclass", "multilabel"})
    network: TriLite

    def __init__(self, *, network: TriLite, loss: TriLiteLoss, **options: Any) -> None:
        super().__init__(network=network, **options)
        self.loss = loss

    @property
    def classifier(self) -> MultiScaleClassifier:
        """The classification branch with the trunk."""
        return self.network.classifier

    @property
    def native(self) -> NativeMap:
        """Probability of the foreground, one map for all classes."""
        return NativeMap(per_class=False, probabilities=True, in_parts=True)

    def explain(self, images: Tensor, labels: Tensor | None) -> Explanation:
        """Compute foreground probabilities, alike for every class; see `SaliencyModule.explain`."""
        output = self.network(images)
        saliency = self.network.foreground(output.regions, images.shape[-2:])
        return Explanation(saliency, output.logits, output.features)

    def training_step(self, batch: WSOLBatch, batch_idx: int) -> Tensor:
        """Compute the loss of both branches."""
        labels = self.task.truth_of(batch)
        output = self.network(batch["image"])
        regions = self.network.region_logits(output.features, output.regions)
        terms = self.loss(output.logits, *regions, labels)
        self.log_losses(terms.total, terms.parts(), len(labels))
        accuracy = self.task.hits(output.logits, labels).mean()
        self.log_means({"train/accuracy": accuracy}, len(labels), on_step=False)
        return terms.total
