"""Interface of a classifier on which other networks can be built."""

from typing import Any, Protocol, runtime_checkable

from torch import Tensor


@runtime_checkable
class MultiScaleClassifier(Protocol):
    """Classifier with feature maps of several scales; an ``nn.Module`` implements it.

    ``classifier(images)`` equals ``classifier.head(classifier.levels(images)[-1])``. F-CAM's
    decoder and CASM's mask network read its levels, CALM takes over its backbone.

    Attributes:
        backbone: Network with the widths of its levels in ``channels`` and their reductions of the
            image in ``reductions``, as `MultiScaleBackbone`.
        num_classes: Number of classes C.
    """

    backbone: Any
    num_classes: int

    def levels(self, images: Tensor) -> list[Tensor]:
        """Map images (B, 3, H, W) to maps (B, K_i, h_i, w_i) from fine to coarse."""
        ...

    def features(self, images: Tensor) -> Tensor:
        """Map images (B, 3, H, W) to the last level (B, K, h, w)."""
        ...

    def head(self, features: Tensor) -> Tensor:
        """Map the last level (B, K, h, w) to logits (B, C)."""
        ...

    def __call__(self, images: Tensor) -> Tensor:
        """Map images (B, 3, H, W) to logits (B, C)."""
        ...
