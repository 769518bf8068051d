"""Classifier whose logits are replaced by scores that a function makes of them."""

from __future__ import annotations

from torch import Tensor, nn

from learned_saliency.attribution.core.classifier import Classifier, Head, encode, of_rows
from learned_saliency.attribution.core.outputs import Outputs, find_scores
from learned_saliency.ops import Activation, activation_of


class ScoredClassifier(nn.Module):
    """A classifier with scores of one's own in place of its logits.

    It serves classifiers that are no `split` of a network; `split` takes the function itself. Class
    maps that the classifier has of its own are not those of the scores, and are hidden.

    Args:
        classifier: A `Classifier`.
        outputs: Function of its logits (R, C) to scores (R, T) or (R,), see `split`.
    """

    def __init__(self, classifier: Classifier, outputs: Outputs) -> None:
        super().__init__()
        self.classifier = classifier
        self.outputs = outputs
        self.training = classifier.training

    @property
    def activation(self) -> Activation:
        """Function of the classifier's logits to probabilities."""
        return activation_of(self.classifier)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, 3, H, W) to scores (B, T)."""
        return self._scores(self.classifier(images))

    def features(self, images: Tensor) -> Tensor:
        """Map images (B, 3, H, W) to activations (B, K, h, w)."""
        return self.classifier.features(images)

    def head(self, features: Tensor) -> Tensor:
        """Map activations (B, K, h, w) to scores (B, T)."""
        return self._scores(self.classifier.head(features))

    def encode(self, images: Tensor) -> tuple[Tensor, Head]:
        """Compute activations (B, K, h, w) and the head that belongs to them, see `encode`."""
        features, head = encode(self.classifier, images)
        return features, lambda given, rows=None: self._scores(head(given, rows))

    def of_rows(self, rows: Tensor) -> ScoredClassifier:
        """Return the classifier for variants of the images, see `of_rows`."""
        return ScoredClassifier(of_rows(self.classifier, rows), self.outputs)

    def _scores(self, logits: Tensor) -> Tensor:
        return find_scores(logits, len(logits), self.outputs)
