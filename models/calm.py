"""CALM, a classifier whose prediction is a sum over the possible locations of the cue."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from learned_saliency.ops import full_precision, widen

ACTIVATIONS = ("softplus", "relu")
NORMALIZATIONS = ("exact", "detached")

_SMALL = -20.0  # below, log softplus(a) = a - exp(a) / 2 to double precision


class CueDistribution(NamedTuple):
    """Distribution p(y, z|x) of B images over C classes y and the cells z of an h x w map.

    Kim et al. (ICCV 2021), Sec. 4.1. All maps are probabilities and keep their scale.

    Attributes:
        log_joint: log p(y, z|x) of shape (B, C, h, w), at most 0, at least float32.
    """

    log_joint: Tensor

    def log_probs(self) -> Tensor:
        """Compute log p(y|x), (B, C): the logarithm of the sum over all cells (Eq. 3-4)."""
        return self.log_joint.flatten(2).logsumexp(2)

    def joint(self, labels: Tensor) -> Tensor:
        """Compute CALM's attribution p(y, z|x) of one class per image, in [0, 1] (Eq. 7).

        The sum of a map (B, h, w) over its cells is p(y|x).

        Args:
            labels: Integers of shape (B,) in 0..C-1.
        """
        return self._of(labels).exp()

    def saliency(self) -> Tensor:
        """Compute the cue's location for any class: p(z|x), (B, h, w), of sum 1 per image."""
        return self.log_joint.logsumexp(1).exp()

    def conditional(self, labels: Tensor) -> Tensor:
        """Compute the class given the location: p(y|x, z), (B, h, w) in [0, 1]; see `joint`."""
        return (self._of(labels) - self.log_joint.logsumexp(1)).exp()

    def posterior(self, labels: Tensor) -> Tensor:
        """Compute the location given the class: p(z|x, y), (B, h, w), sum 1 per image (Eq. 18)."""
        maps = self._of(labels)
        return maps.flatten(1).softmax(1).view_as(maps)

    def subset(self, members: Tensor) -> Tensor:
        """Compute the attribution to a set of classes: p(y, z|x) summed over it (Sec. 4.1.3).

        Args:
            members: Members of each image's set of classes, bool (B, C).

        Returns:
            Maps of shape (B, h, w) in [0, 1].

        Raises:
            TypeError: If ``members`` is not of booleans.
            ValueError: If ``members`` is not (B, C).
        """
        if members.dtype != torch.bool:
            raise TypeError(f"members must be booleans, got {members.dtype}")
        if members.shape != self.log_joint.shape[:2]:
            expected = tuple(self.log_joint.shape[:2])
            raise ValueError(f"members must be {expected}, got {tuple(members.shape)}")
        # No einsum: autocast would run it in half precision.
        return (self.log_joint.exp() * members[:, :, None, None]).sum(1)

    def subsets(self, members: Tensor) -> Tensor:
        """Compute the attribution to several sets of classes, alike for all images; see `subset`.

        Args:
            members: Members of each of D sets of classes, bool (D, C).

        Returns:
            Maps of shape (B, D, h, w) in [0, 1].
        """
        joint = self.log_joint.exp()
        with full_precision(joint.device):
            return (members.to(joint.dtype) @ joint.flatten(2)).unflatten(2, joint.shape[2:])

    def counterfactual(self, labels: Tensor, others: Tensor) -> Tensor:
        """Compute the evidence for one class over another: p(y, z|x) - p(y', z|x), in [-1, 1].

        Args:
            labels: The explained class y, integers (B,).
            others: The other class y', integers (B,).
        """
        return self.joint(labels) - self.joint(others)

    def _of(self, labels: Tensor) -> Tensor:
        """Select log p(y, z|x) of the given classes, (B, h, w)."""
        if labels.shape != self.log_joint.shape[:1]:
            expected = (len(self.log_joint),)
            raise ValueError(f"labels must have shape {expected}, got {tuple(labels.shape)}")
        if labels.is_floating_point() or labels.dtype == torch.bool:
            raise TypeError(f"labels must be integers, got {labels.dtype}")
        return self.log_joint[torch.arange(len(labels), device=labels.device), labels]


def cue_distribution(
    class_scores: Tensor,
    location_scores: Tensor,
    activation: str = "softplus",
    normalization: str = "exact",
) -> CueDistribution:
    """Normalize the scores of CALM's two branches and multiply them, in log space (Sec. 4.1.1).

    g, the softmax over classes, is p(y|x, z); h, the activated and l1-normalized location scores,
    is p(z|x). Half-precision scores are widened to float32 first.

    Args:
        class_scores: Output of branch g, any real numbers, shape (B, C, h, w).
        location_scores: Output of branch h, any real numbers, shape (B, 1, h, w).
        activation: ``"softplus"`` or ``"relu"``; see `CALM`.
        normalization: ``"exact"`` or ``"detached"``; see `CALM`.

    Returns:
        p(y, z|x) of sum 1 over classes and cells; finite logarithms for scores up to 1e30.

    Raises:
        ValueError: If an option is unknown.
    """
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation must be one of {ACTIVATIONS}, got {activation!r}")
    if normalization not in NORMALIZATIONS:
        raise ValueError(f"normalization must be one of {NORMALIZATIONS}, got {normalization!r}")
    activate = _log_softplus if activation == "softplus" else _log_relu
    log_active = activate(widen(location_scores))
    log_total = log_active.flatten(1).logsumexp(1)[:, None, None, None]
    if normalization == "detached":
        log_total = log_total.detach()
    return CueDistribution(widen(class_scores).log_softmax(1) + log_active - log_total)


class CALM(nn.Module):
    """Backbone and two 1x1 convolutions: p(y, z|x) = g_yz h_z (Kim et al., ICCV 2021, Sec. 4.1).

    ``head`` gives log p(y|x), whose softmax is p(y|x) itself: any code that reads a classifier's
    logits can read CALM's. ``cams`` are CALM's own attribution maps, probabilities p(y, z|x).

    Departures from the released code: everything is computed in log space, without the small
    numbers that the released code adds to denominators and logarithms; a map of h that is zero
    everywhere (ReLU) becomes uniform, where the released code gives NaN.

    Args:
        classifier: Any classifier with a ``backbone`` and ``num_classes``, such as
            `CAMClassifier`. The backbone is taken over and trained further; the classifier's head
            is left out. The paper's maps of 28x28 cells need the ``unstrided_stages`` of
            ``MultiScaleBackbone``.
        activation: Activation of branch h: ``"softplus"`` (Sec. 4.1.1) or ``"relu"`` (App. C and
            the released code), under which a cell with negative score has no gradient.
        normalization: ``"exact"`` follows the gradient of h = a / sum(a) through the sum, under
            which cells compete until one has nearly all of h; ``"detached"``, as in the released
            code, does not, so that the growth of other cells pushes no cell's h down, and maps
            stay broad. The values are the same.

    Raises:
        ValueError: If an option is unknown.
    """

    cams_are_probabilities = True

    def __init__(
        self,
        classifier: nn.Module,
        activation: str = "softplus",
        normalization: str = "exact",
    ) -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation must be one of {ACTIVATIONS}, got {activation!r}")
        if normalization not in NORMALIZATIONS:
            options = f"{NORMALIZATIONS}, got {normalization!r}"
            raise ValueError(f"normalization must be one of {options}")
        self.backbone = classifier.backbone
        self.num_classes = classifier.num_classes
        self.activation = activation
        self.normalization = normalization
        channels = self.backbone.channels[-1]
        self.class_branch = nn.Conv2d(channels, self.num_classes, 1)
        self.location_branch = nn.Conv2d(channels, 1, 1)

    def levels(self, images: Tensor) -> list[Tensor]:
        """Extract feature maps of all scales, (B, K_i, h_i, w_i) from fine to coarse.

        Args:
            images: Normalized images of shape (B, 3, H, W).
        """
        return self.backbone(images)

    def features(self, images: Tensor) -> Tensor:
        """Extract the feature maps (B, K, h, w) of the last level from images (B, 3, H, W)."""
        return self.levels(images)[-1]

    def distribution(self, features: Tensor) -> CueDistribution:
        """Compute p(y, z|x) from feature maps.

        Args:
            features: Maps of shape (B, K, h, w).

        Raises:
            ValueError: If ``features`` does not have that shape.
        """
        channels = self.class_branch.in_channels
        if features.ndim != 4 or features.shape[1] != channels:
            expected = f"(B, {channels}, h, w)"
            raise ValueError(f"features must have shape {expected}, got {tuple(features.shape)}")
        return cue_distribution(
            self.class_branch(features),
            self.location_branch(features),
            self.activation,
            self.normalization,
        )

    def head(self, features: Tensor) -> Tensor:
        """Compute log p(y|x), (B, C), from feature maps (B, K, h, w)."""
        return self.distribution(features).log_probs()

    def forward(self, images: Tensor) -> Tensor:
        """Classify images of shape (B, 3, H, W): log p(y|x) of shape (B, C)."""
        return self.head(self.features(images))

    def cams(self, features: Tensor, labels: Tensor | None = None) -> Tensor:
        """Compute attribution maps p(y, z|x) in [0, 1], neither resized nor normalized (Eq. 7).

        Args:
            features: Maps of shape (B, K, h, w).
            labels: One class per image, integers of shape (B,) in 0..C-1; None for all classes.

        Returns:
            Maps of shape (B, h, w) of the given classes, or (B, C, h, w) of all classes.
        """
        found = self.distribution(features)
        return found.log_joint.exp() if labels is None else found.joint(labels)


def _log_softplus(scores: Tensor) -> Tensor:
    # Each branch sees only numbers that suit it: of an infinity that ``where`` discards, the
    # gradient would still be NaN.
    small = scores < _SMALL
    asymptote = scores - 0.5 * torch.where(small, scores, _SMALL).exp()
    return torch.where(small, asymptote, F.softplus(torch.where(small, 0.0, scores)).log())


def _log_relu(scores: Tensor) -> Tensor:
    return scores.clamp_min(torch.finfo(scores.dtype).tiny).log()
