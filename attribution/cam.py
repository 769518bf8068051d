"""Class activation mapping."""

from typing import ClassVar

import torch
from torch import Tensor

from learned_saliency.attribution.core.affine import is_affine
from learned_saliency.attribution.core.classifier import Classifier
from learned_saliency.attribution.core.method import ChannelWeightedMethod, Query
from learned_saliency.attribution.core.parts import MeanActivations, PartMaps
from learned_saliency.attribution.core.recording import is_recorded
from learned_saliency.attribution.core.targets import check_centered


class CAM(ChannelWeightedMethod):
    """Class activation mapping (Zhou et al. 2016; Eq. 1 of paper 000, h the identity).

    The weights are the class's weights in the linear layer that follows global average pooling.
    They are read from the head's own derivative: with y_c = sum_k w_kc mean_ij(A_k) + b_c, the sum
    over positions of dy_c/dA_k is w_kc exactly. So the head may be written in any way (pooling and
    linear layer in either order, 1x1 convolution, flattening in between).

    A classifier that has class maps of its own offers ``cams(features, targets) -> (B, h, w)``;
    those maps are taken as they are, whatever the head.

    Note:
        Cross-entropy is the same for weights to which one vector is added in all classes, so a
        training says nothing about it; Adam moves it nevertheless, as it scales each gradient. The
        maps of all classes then share an offset, v times the activations, which may hide what sets
        the class apart. ``center`` takes it away; the paper has no such step.

    Args:
        rectify: Whether negative evidence is cut off before normalization. The original method
            keeps it.
        center: Whether the mean of all classes' weights is subtracted from the class's.
        **options: See `PostHocMethod`.

    Raises:
        ValueError: When called, if the head is another one, or ``center`` is asked for and there is
            one class, classes do not exclude each other, or class maps of the classifier's own are
            probabilities.
    """

    needs_gradients = True
    export_obstacle = None
    rectify = False
    weights_of_means = True
    allowed_targets: ClassVar[tuple[str, ...]] = ("logit",)  # no other is linear in the channels

    def __init__(self, *, center: bool = False, **options: object) -> None:
        super().__init__(**options)
        self.center = center

    def part_obstacle(self, classifier: Classifier) -> str | None:
        """Return None but for probabilities of cells; see `PostHocMethod`."""
        if not self.gives_probabilities(classifier):
            return None
        return "its p(y, z|x) compares all cells z of the image, and a part has others"

    def reads_means(self, classifier: Classifier) -> bool:
        """False where the classifier has maps of its own; see `PostHocMethod`."""
        return not hasattr(classifier, "cams")

    def of_parts(self, whole: MeanActivations, targets: Tensor) -> PartMaps:
        """Find the weights, or take the classifier's own maps; see `PostHocMethod.of_parts`."""
        if self.reads_means(whole.classifier):
            return super().of_parts(whole, targets)
        if (obstacle := self.part_obstacle(whole.classifier)) is not None:
            raise ValueError(f"CAM: {obstacle}")

        def maps(classifier: Classifier, images: Tensor) -> Tensor:
            return self.raw_maps(classifier, images, targets.expand(len(images)))

        return maps

    def gives_probabilities(self, classifier: Classifier) -> bool:
        """True if the classifier has class maps of its own and declares them as p(y, z|x)."""
        return hasattr(classifier, "cams") and classifier.cams_are_probabilities

    def _cams(self, query: Query) -> Tensor:
        own = getattr(query.classifier, "cams", None)
        if own is None:
            return super()._cams(query)
        maps = own(query.features, query.targets)
        if self.center:
            maps = maps - self._mean_of_classes(query)
        if maps.dim() != 3 or maps.shape[0] != query.features.shape[0]:
            raise ValueError(f"cams() must give maps (B, h, w), got {tuple(maps.shape)}")
        return maps.relu() if self.rectify else maps

    def _coefficients(self, query: Query) -> Tensor:
        gradients = query.centered_gradients if self.center else query.gradients
        if not is_affine(query.score) or not (is_recorded() or _is_even(gradients)):
            raise ValueError(
                "CAM needs a head of global average pooling and one linear layer (or a classifier "
                "with cams()); GradCAM is its generalization to any head"
            )
        return gradients.sum(dim=(2, 3))

    def _mean_of_classes(self, query: Query) -> Tensor:
        """Compute the mean (B, h, w) of the classifier's own maps of all classes."""
        if self.gives_probabilities(query.classifier):
            raise ValueError(
                "center=True is for weights of classes: this classifier's own maps are "
                "probabilities, to which nothing common can be added"
            )
        check_centered(query.logits, query.activation)
        count = query.logits.shape[1]
        classes = torch.arange(count, device=query.features.device)
        total = 0.0
        for index in classes.unbind():  # a classifier's maps of one class are all that is promised
            total = total + query.classifier.cams(query.features, index.expand_as(query.targets))
        return total / count


def _is_even(gradients: Tensor) -> bool:
    """Return whether gradients (B, K, h, w) are the same at all positions, up to rounding."""
    spread = gradients.amax(dim=(2, 3)) - gradients.amin(dim=(2, 3))
    tolerance = 1e3 * torch.finfo(gradients.dtype).eps * gradients.abs().amax()
    return not bool((spread > tolerance).any())
