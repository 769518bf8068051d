"""Training of a CAM classifier on mixed images."""

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from learned_saliency.losses import mixed_cross_entropy
from learned_saliency.models import CutMix
from learned_saliency.trainers.cam import CAMModule, ClassifierLosses


class CutMixModule(CAMModule):
    """Module that trains a CAM classifier by CutMix (Yun et al., ICCV 2019).

    The loss is the cross-entropy of mixed images with mixed labels, for multi-label tasks the
    binary one: a class of both images counts in full. Network, maps and all figures
    are those of CAM, on images as they are. The logged accuracy is that on the mixed images, for
    the classes outside of the boxes.

    Args:
        mixing: What mixes the images of a batch.
        **options: See `CAMModule`.
    """

    tasks: ClassVar[frozenset[str]] = frozenset({"multiclass", "multilabel", "binary"})
    refusals: ClassVar[Mapping[str, str]] = {
        "regression": "mixes labels by their shares of the pixels, which values are not sums of"
    }
    alters_images: ClassVar[bool] = True

    def __init__(self, *, mixing: CutMix, **options: Any) -> None:
        super().__init__(**options)
        self.mixing = mixing

    def losses(self, images: Tensor, labels: Tensor) -> ClassifierLosses:
        """Compute the cross-entropy of mixed images; see `CAMModule.losses`."""
        mixed = self.mixing(images)
        logits = self.network(mixed.images)
        loss = mixed_cross_entropy(logits, labels, labels[mixed.partners], mixed.share)
        return ClassifierLosses({"classification": loss}, logits)
