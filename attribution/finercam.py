"""Finer-CAM."""

from collections.abc import Sequence
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from learned_saliency.attribution.core.method import ChannelWeightedMethod, Query
from learned_saliency.attribution.core.recording import is_recorded
from learned_saliency.ops import Activation

WEIGHTINGS = ("equal", "probability")


class FinerCAM(ChannelWeightedMethod):
    """Finer-CAM (Zhang et al., CVPR 2025): Grad-CAM of what sets a class apart from similar ones.

    The class's logit is compared with those of T similar classes d_t, and the channel weights are
    w_k = 1/T sum_t mean over positions of d(y_c - strength y_{d_t})/dA_k: one backward pass. The
    similar classes are those whose logits are nearest to y_c, or ``classes``.

    Note:
        The released code, which is pytorch-grad-cam's, weighs the classes by their probabilities,
        sum_t p_t (y_c - strength y_{d_t}) / sum_t p_t, and differentiates the weights, too. This
        is ``weighting="probability"``, there with ``strength`` 1. torchcam has equal weights and
        0.6, the defaults here.

    Args:
        similar: Number T of similar classes, at least 1; at most all others are taken.
        strength: How much of what is common is taken away, gamma in the paper, at least 0; 0 is
            Grad-CAM (of equal weights).
        weighting: ``"equal"`` or ``"probability"``.
        classes: The classes to compare with, by their numbers; None for the nearest. The explained
            class itself is left out.
        **options: See `ChannelWeightedMethod`.

    Raises:
        ValueError: If an option is out of its range, or, when called, if there is no class to
            compare with.
    """

    needs_gradients = True
    weights_of_means = True
    export_obstacle = None
    allowed_targets: ClassVar[tuple[str, ...]] = ("logit",)  # the others compare classes already

    def __init__(
        self,
        *,
        similar: int = 3,
        strength: float = 0.6,
        weighting: str = "equal",
        classes: Sequence[int] | None = None,
        **options: object,
    ) -> None:
        super().__init__(**options)
        if similar < 1 or not strength >= 0:
            raise ValueError(
                f"expected similar >= 1 and strength >= 0, got {similar} and {strength}"
            )
        if weighting not in WEIGHTINGS:
            raise ValueError(f"weighting must be one of {WEIGHTINGS}, got {weighting!r}")
        if classes is not None and (not len(classes) or min(classes) < 0):
            raise ValueError(f"classes must be numbers from 0, at least one, got {list(classes)}")
        self.similar = similar
        self.strength = strength
        self.weighting = weighting
        self.classes = None if classes is None else list(dict.fromkeys(classes))

    def _coefficients(self, query: Query) -> Tensor:
        difference = partial(self._difference, activation=query.activation)
        return query.gradients_by(difference).mean(dim=(2, 3))

    def _difference(self, logits: Tensor, targets: Tensor, activation: Activation) -> Tensor:
        """Compute the score (B,) of logits (B, C) and classes (B,)."""
        if logits.shape[1] < 2:
            raise ValueError("Finer-CAM compares classes, of which there is one: use GradCAM")
        own = logits.gather(1, targets[:, None])  # (B, 1)
        others, there = self._others(logits.detach(), targets)
        weights = there.to(logits.dtype)
        if self.weighting == "probability":
            # The ratios of a softmax among the compared classes are those over all.
            compared = logits.gather(1, others).masked_fill(~there, -torch.inf)
            weights = activation.probabilities(compared)
        differences = own - self.strength * logits.gather(1, others)
        return (weights * differences).sum(dim=1) / weights.sum(dim=1)

    def _others(self, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Find the classes to compare with, int64 (B, T), and which of them count, bool (B, T)."""
        count = logits.shape[1]
        if self.classes is None:
            distance = (logits - logits.gather(1, targets[:, None])).abs()
            distance = distance.scatter(1, targets[:, None], torch.inf)
            others = distance.topk(min(self.similar, count - 1), dim=1, largest=False).indices
            return others, torch.ones_like(others, dtype=torch.bool)
        if max(self.classes) >= count:
            raise ValueError(f"classes must be in [0, {count}), got {self.classes}")
        others = torch.tensor(self.classes, device=logits.device).expand(logits.shape[0], -1)
        there = others != targets[:, None]
        if len(self.classes) == 1 and not (is_recorded() or bool(there.all())):
            raise ValueError(
                f"the only class to compare with, {self.classes[0]}, is the explained one"
            )
        return others, there
