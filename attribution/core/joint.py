"""Base of methods whose runs of the network serve all classes of an image."""

from torch import Tensor

from learned_saliency.attribution.core.classifier import Classifier
from learned_saliency.attribution.core.method import PostHocMethod
from learned_saliency.attribution.core.query import Query
from learned_saliency.ops import widen


class JointMethod(PostHocMethod):
    """A method that explains several classes of an image by the same runs.

    A subclass supplies `_class_maps`.
    """

    def of_classes(self, classifier: Classifier, images: Tensor, targets: Tensor) -> Tensor:
        """Explain several classes of each image together.

        Args:
            classifier: See `PostHocMethod.of_classes`, as for the errors.
            images: Shape (B, 3, H, W).
            targets: Classes, int (B, T) in [0, C).

        Returns:
            Maps (B, T, H, W).
        """
        with self._query(classifier, images, None) as query:
            maps = widen(self._class_maps(query, self._classes(query, targets))).detach()
            return self.finish(maps, images.shape[-2:])

    def _cams(self, query: Query) -> Tensor:
        return self._class_maps(query, self._classes(query, None))[:, 0]

    def _classes(self, query: Query, targets: Tensor | None) -> Tensor | None:
        """Return the classes (B, T), int64, by default the query's own (B, 1)."""
        return query.targets[:, None] if targets is None else query.checked(targets)

    def _class_maps(self, query: Query, targets: Tensor) -> Tensor:
        """Compute the raw maps (B, T, h, w) of classes (B, T)."""
        raise NotImplementedError
