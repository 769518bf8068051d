"""Training of ACoL, two classifiers of which the second learns without what the first finds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor, nn

from learned_saliency.models import ACoL
from learned_saliency.trainers.cam import CAMModule, ClassifierLosses


class ACoLModule(CAMModule):
    """Module that trains both branches of ACoL (Zhang et al., CVPR 2018) together.

    The loss is the sum of both branches' cross-entropies; the true class's map erases. In
    multi-label tasks the maps of all classes of the image erase: branch B has to classify every one
    of them by what A did not find, where the evidence that A finds for a class whose map did not
    erase would be left to B. Of an image without a class nothing is erased. The native
    map is the maximum of both branches' maps of the class, resized and normalized as a CAM.

    Args:
        network: A `models.ACoL`.
        **options: See `CAMModule`.
    """

    tasks: ClassVar[frozenset[str]] = frozenset({"multiclass", "multilabel"})
    refusals: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("binary", "regression"), "has two branches whose last layers have a row per class"
    )
    network: ACoL

    @property
    def compiled_parts(self) -> list[nn.Module]:
        """The backbone; see `SaliencyModule`."""
        return [self.network.backbone]

    def losses(self, images: Tensor, labels: Tensor) -> ClassifierLosses:
        """Compute the cross-entropy of each branch; the accuracy is counted by branch A.

        Args:
            images: Normalized images of shape (B, 3, H, W).
            labels: What the task learns of them; see `CAMModule.losses`.
        """
        found = self.network.branches(self.network.features(images), labels)
        terms = {
            "classification": self.task.loss(found.logits, labels),
            "erased": self.task.loss(found.erased_logits, labels),
        }
        return ClassifierLosses(terms, found.logits)
