"""Training of ACoL, two classifiers of which the second learns without what the first finds."""

from __future__ import annotations

from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from learned_saliency.models import ACoL
from learned_saliency.ops import widen
from learned_saliency.trainers.cam import CAMModule, ClassifierLosses


class ACoLModule(CAMModule):
    """Module that trains both branches of ACoL (Zhang et al., CVPR 2018) together.

    The loss is the sum of both branches' cross-entropies; the true class's map erases. The native
    map is the maximum of both branches' maps of the class, resized and normalized as a CAM.

    Args:
        network: A `models.ACoL`.
        **options: See `CAMModule`.
    """

    tasks: ClassVar[frozenset[str]] = frozenset({"multiclass"})
    network: ACoL

    @property
    def compiled_parts(self) -> list[nn.Module]:
        """The backbone; see `SaliencyModule`."""
        return [self.network.backbone]

    def losses(self, images: Tensor, labels: Tensor) -> ClassifierLosses:
        """Compute the cross-entropy of each branch; the accuracy is counted by branch A.

        Args:
            images: Normalized images of shape (B, 3, H, W).
            labels: Their classes, int64 (B,) in 0..C-1.
        """
        found = self.network.branches(self.network.features(images), labels)
        terms = {
            "classification": F.cross_entropy(widen(found.logits), labels),
            "erased": F.cross_entropy(widen(found.erased_logits), labels),
        }
        return ClassifierLosses(terms, found.logits)
