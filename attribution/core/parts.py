"""Explanation of images that no single run of a network sees: what is known of the whole."""

from collections.abc import Callable

from torch import Tensor, nn

from learned_saliency.attribution.core.classifier import Classifier, Head

#: Function of a classifier and parts (B, 3, H, W) of an image to their raw maps (B, h, w).
PartMaps = Callable[[Classifier, Tensor], Tensor]


class MeanActivations(nn.Module):
    """A classifier that knows each channel's mean activation, and no cell, of one image.

    A head that begins with global average pooling gives the same logits of these means, as an image
    of a single cell, as of all cells.

    Args:
        classifier: The `Classifier` whose activations these are.
        means: Mean activations of the whole image, shape (1, K).
        images: Any input of the classifier (1, 3, H, W), which stands for the image.
        head: Function of activations (R, K, 1, 1) to logits (R, C); None for the classifier's own.

    Attributes:
        images: As above; it is handed to the methods with this classifier.
    """

    def __init__(
        self, classifier: nn.Module, means: Tensor, images: Tensor, head: Head | None = None
    ) -> None:
        super().__init__()
        self.classifier = classifier
        self.images = images
        self._means = means[:, :, None, None]
        self._head = classifier.head if head is None else head

    def features(self, images: Tensor) -> Tensor:
        """Return the means as activations of one cell, (1, K, 1, 1)."""
        return self._means

    def head(self, features: Tensor) -> Tensor:
        """Map activations (R, K, 1, 1) to logits (R, C)."""
        return self._head(features)

    def forward(self, images: Tensor) -> Tensor:
        """Classify the whole image: logits (1, C)."""
        return self.head(self._means)
