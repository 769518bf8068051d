"""Networks that give Opti-CAM's map in one pass, on a frozen classifier."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn

from learned_saliency.models.classifier import MultiScaleClassifier, Targets, head_with_gradients
from learned_saliency.ops import widen


class AmortizedOutput(NamedTuple):
    """Output of one pass of `Amortized`.

    Attributes:
        logits: Class scores of the frozen classifier, (B, C).
        features: The classifier's last feature maps, (B, K, h, w).
        targets: Classes that the maps explain, int64 (B,).
        maps: Raw maps S of these classes, (B, h', w'), at least 0, at least float32.
    """

    logits: Tensor
    features: Tensor
    targets: Tensor
    maps: Tensor


class Amortized(nn.Module):
    """Opti-CAM in one pass: a frozen classifier, and a network that gives the map of a class.

    Opti-CAM (paper 000) searches the map of each image by some hundred passes. Here a small network
    is trained to give a map at once. It reads the features A of the classifier's last layer, with
    negative ones set to 0 (Eq. 8 assumes that there are none), and the gradient of the class's
    logit by A, which costs a backward pass of the head alone, or nothing where the classifier gives
    it in closed form.

    The classifier is frozen for good: its parameters need no gradient, it runs in evaluation mode
    whatever ``train`` says, and no graph is recorded for its clean pass.

    Args:
        classifier: Trained classifier, an ``nn.Module``; taken over and frozen in place.
        form: Function of the number K of channels to the network of features and gradients, both
            (B, K, h, w), to raw maps (B, h', w'): `ChannelWeights` or `EvidenceDecoder`.
    """

    def __init__(self, classifier: MultiScaleClassifier, form: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.classifier = classifier.requires_grad_(False).eval()
        self.form = form(classifier.backbone.channels[-1])

    def train(self, mode: bool = True) -> Self:
        """Set the mode of the small network; the classifier stays in evaluation mode."""
        super().train(mode)
        self.classifier.eval()
        return self

    @property
    def has_closed_form(self) -> bool:
        """Tell whether no autograd is needed, so that the network can be exported as a graph."""
        return hasattr(self.classifier, "head_gradients")

    def forward(self, images: Tensor, targets: Targets = None) -> AmortizedOutput:
        """Classify and explain, in one pass of the backbone.

        Args:
            images: Normalized images of shape (B, 3, H, W).
            targets: Classes to explain, int64 (B,) in [0, C), or a function of the logits (B, C)
                to them; None for the predicted ones.

        Returns:
            Logits, features, classes and raw maps; only the maps carry a gradient.
        """
        with torch.no_grad():
            features = self.classifier.levels(images)[-1]
        return self.explain(features, targets)

    def explain(self, features: Tensor, targets: Targets = None) -> AmortizedOutput:
        """Explain features (B, K, h, w) that the classifier has given; see `forward`."""
        found = head_with_gradients(self.classifier, features, targets)
        maps = self.form(widen(features.detach()).relu(), found.gradients)
        return AmortizedOutput(found.logits, features, found.targets, maps)
