"""Interface of a classifier on which other networks can be built."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from learned_saliency.ops import full_precision, widen

#: Classes (B,), a function of logits (B, C) to them, or None for the predicted ones.
Targets = Tensor | Callable[[Tensor], Tensor] | None


@runtime_checkable
class MultiScaleClassifier(Protocol):
    """Classifier with feature maps of several scales; an ``nn.Module`` implements it.

    ``classifier(images)`` equals ``classifier.head(classifier.levels(images)[-1])``. F-CAM's
    decoder and CASM's mask network read its levels, CALM takes over its backbone.

    Two optional methods are used where a classifier offers them: ``head_gradients(features,
    targets)``, the result of `head_with_gradients` in closed form, without which a network that
    reads it cannot be exported; and ``head_parameters()``, the parameters that ``head`` reads, of a
    classifier that has others beside its backbone.

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


class HeadGradients(NamedTuple):
    """Result of a forward and a backward pass of a classifier's head.

    Attributes:
        logits: Class scores (B, C).
        targets: Classes, int64 (B,): the given ones, else the predicted ones.
        gradients: Gradient of each image's logit of its class by the features, (B, K, h, w), at
            least float32.
    """

    logits: Tensor
    targets: Tensor
    gradients: Tensor


def head_with_gradients(
    classifier: MultiScaleClassifier, features: Tensor, targets: Targets = None
) -> HeadGradients:
    """Run the head of a classifier, and its derivative, on features that are there.

    The backward pass runs through the head alone and reaches no parameter. It works in inference
    mode, too. No part of the result carries a graph.

    Args:
        classifier: The classifier, in evaluation mode, whose parameters need no gradient.
        features: Its last level, (B, K, h, w).
        targets: Classes, int64 (B,), or a function of the logits (B, C) to them; None for the
            predicted ones.
    """
    if hasattr(classifier, "head_gradients"):
        with torch.no_grad():
            logits = classifier.head(features)
            found = _find_targets(logits, targets)
            return HeadGradients(logits, found, classifier.head_gradients(features, found))
    with torch.inference_mode(False), torch.enable_grad(), full_precision(features.device):
        leaf = features.detach().clone().requires_grad_()
        logits = classifier.head(leaf)
        found = _find_targets(logits.detach(), targets).clone()  # may come from inference mode
        selected = widen(logits).gather(1, found[:, None])
        (gradients,) = torch.autograd.grad(selected.sum(), leaf)
    return HeadGradients(logits.detach(), found, widen(gradients))


def _find_targets(logits: Tensor, targets: Targets) -> Tensor:
    if targets is None:
        return logits.argmax(dim=1)
    return targets if isinstance(targets, Tensor) else targets(logits)
