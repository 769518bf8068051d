"""Base of the methods that train a decoder to one foreground map on a frozen classifier."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from learned_saliency.models import FCAM, MultiScaleClassifier
from learned_saliency.trainers.base import SaliencyModule
from learned_saliency.trainers.outputs import Explanation, NativeMap


class ForegroundModule(SaliencyModule):
    """Module around F-CAM's network, a decoder on a frozen classifier; a subclass trains it.

    The native map is the softmax probability of the foreground, as it is: it needs no class and no
    min-max normalization.

    Args:
        network: A `models.FCAM`.
        **options: See `SaliencyModule`.
    """

    for_given: ClassVar[Mapping[str, Any]] = {}
    network: FCAM

    @property
    def classifier(self) -> MultiScaleClassifier:
        """The frozen classifier below the decoder."""
        return self.network.classifier

    @property
    def native(self) -> NativeMap:
        """Probability of the foreground, one map for all classes."""
        return NativeMap(per_class=False, probabilities=True, in_parts=True)

    def explain(self, images: Tensor, labels: Tensor | None) -> Explanation:
        """Compute foreground probabilities, alike for every class; see `SaliencyModule.explain`."""
        output = self.network(images)
        return Explanation(self.network.foreground(output.scores), output.logits, output.features)
