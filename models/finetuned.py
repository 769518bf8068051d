"""The two networks of a fine-tuning in two phases: the head alone is trained, then everything."""

from __future__ import annotations

import inspect
from typing import Any

from torch import nn

from learned_saliency.models.cam import CAMClassifier


class LinearProbe(CAMClassifier):
    """CAM classifier on a backbone that stays as it comes: its last layer alone is trained.

    Args:
        **parts: See `CAMClassifier`; the backbone is a `Trunk` without layers of its own.

    Raises:
        ValueError: If the backbone has new layers, which would never be trained, or a part is not
            a CAM classifier's.
    """

    def __init__(self, **parts: Any) -> None:
        if foreign := parts.keys() - inspect.signature(CAMClassifier).parameters.keys():
            raise ValueError(
                "the first phase trains the last layer of model=cam, which has no "
                f"{min(foreign)}: leave the word first_stage out"
            )
        super().__init__(**parts)
        self.backbone.freeze()


class FineTuned(CAMClassifier):
    """CAM classifier that takes over another one, backbone and last layer, to train all of it.

    Args:
        classifier: The classifier that it takes over, such as a trained `LinearProbe`, whose
            backbone is trained from now on as far as it was configured to be.

    Raises:
        ValueError: If it has another last layer than a CAM classifier.
    """

    def __init__(self, classifier: CAMClassifier) -> None:
        nn.Module.__init__(self)
        if not isinstance(getattr(classifier, "fc", None), nn.Linear):
            raise ValueError(
                "only a classifier with the last layer of model=cam is fine-tuned, and "
                f"{type(classifier).__name__} has another one"
            )
        self.backbone = classifier.backbone
        self.num_classes = classifier.num_classes
        self.fc, self.pooling = classifier.fc, classifier.pooling
        self.answers = classifier.answers
        self.backbone.unfreeze()
