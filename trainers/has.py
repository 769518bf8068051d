"""Training of a CAM classifier on images with hidden cells."""

from typing import Any, ClassVar

from torch import Tensor

from learned_saliency.models import HideAndSeek
from learned_saliency.trainers.cam import CAMModule, ClassifierLosses


class HaSModule(CAMModule):
    """Module that trains a CAM classifier by Hide-and-Seek (Singh and Lee, ICCV 2017).

    The cross-entropy is that of images of which random cells are hidden. Network, maps and all
    figures are those of CAM, on whole images. The logged accuracy is that on the hidden ones.

    Args:
        hiding: What hides the cells of training images.
        **options: See `CAMModule`.
    """

    alters_images: ClassVar[bool] = True

    def __init__(self, *, hiding: HideAndSeek, **options: Any) -> None:
        super().__init__(**options)
        self.hiding = hiding

    def losses(self, images: Tensor, labels: Tensor) -> ClassifierLosses:
        """Compute the cross-entropy of images with hidden cells; see `CAMModule.losses`."""
        return super().losses(self.hiding(images), labels)
