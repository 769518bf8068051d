"""Base of methods whose map is made of products of activations and gradients, cell by cell."""

from torch import Tensor

from learned_saliency.attribution.core.classifier import Classifier
from learned_saliency.attribution.core.method import PostHocMethod
from learned_saliency.attribution.core.parts import MeanActivations, PartMaps
from learned_saliency.attribution.core.query import Query
from learned_saliency.ops import widen


class ElementwiseMethod(PostHocMethod):
    """A method whose map is, at each cell, a function of its activations and their gradients.

    A subclass supplies `_products`, which scales with the gradients by any positive factor.

    Args:
        **options: See `PostHocMethod`.
    """

    needs_gradients = True
    export_obstacle = None

    def part_obstacle(self, classifier: Classifier) -> None:
        """Return None: see `PostHocMethod`."""
        return None

    def of_parts(self, whole: MeanActivations, targets: Tensor) -> PartMaps:
        """Find the gradients, the same for all cells; see `PostHocMethod.of_parts`."""
        with self._query(whole, whole.images, targets) as query:
            gradients = query.gradients

        def maps(classifier: Classifier, images: Tensor) -> Tensor:
            return self._products(gradients, widen(classifier.features(images)))

        return maps

    def _cams(self, query: Query) -> Tensor:
        return self._products(query.gradients, query.features)

    def _products(self, gradients: Tensor, features: Tensor) -> Tensor:
        """Compute maps (B, h, w) of gradients and activations (B, K, h, w)."""
        raise NotImplementedError
