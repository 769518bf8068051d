"""Base of the methods that train a decoder to foreground maps on a frozen classifier."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from learned_saliency.models import FCAM, MultiScaleClassifier
from learned_saliency.ops import widen
from learned_saliency.trainers.base import SaliencyModule
from learned_saliency.trainers.of_features import OfFeatures
from learned_saliency.trainers.outputs import Explanation, NativeMap


class ForegroundModule(SaliencyModule):
    """Module around F-CAM's network, a decoder on a frozen classifier; a subclass trains it.

    The native map is the softmax probability of the foreground, as it is, without min-max
    normalization: one for all classes, or that of a class where the network has one of each.

    Args:
        network: A `models.FCAM`.
        **options: See `SaliencyModule`.
    """

    for_given: ClassVar[Mapping[str, Any]] = {}
    network: FCAM

    def __init__(self, *, network: FCAM, **options: Any) -> None:
        super().__init__(network=network, **options)
        self._scores = OfFeatures()

    @property
    def classifier(self) -> MultiScaleClassifier:
        """The frozen classifier below the decoder."""
        return self.network.classifier

    @property
    def native(self) -> NativeMap:
        """Probability of the foreground, of a class where the network tells them apart."""
        per_class = self.network.per_class
        return NativeMap(per_class=per_class, probabilities=True, in_parts=True)

    def explain(self, images: Tensor, labels: Tensor | None) -> Explanation:
        """Compute foreground probabilities of the given classes; see `SaliencyModule.explain`."""
        output = self.network(images)
        targets = None
        if self.network.per_class:
            targets = self.known_targets(labels, output.logits)
            self._scores.keep(output.features, output.scores)
        saliency = self.network.foreground(output.scores, targets)
        return Explanation(saliency, output.logits, output.features)

    def native_maps(self, features: Tensor, images: Tensor, targets: Tensor) -> Tensor:
        """Compute foreground probabilities of further classes; see `SaliencyModule.native_maps`.

        The scores are those of the pass that gave the features; of features from elsewhere it takes
        another pass.
        """
        scores = self._scores.get(features)
        if scores is None:
            return super().native_maps(features, images, targets)
        return self.network.foreground(scores, targets)

    def explain_all(self, images: Tensor) -> Explanation:
        """Compute foreground probabilities of all classes; see `SaliencyModule.explain_all`."""
        output = self.network(images)
        saliency = widen(output.scores).softmax(dim=1)[:, 1:]
        return Explanation(saliency, output.logits, output.features)
