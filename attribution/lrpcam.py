"""LRP-CAM: channel weights by layer-wise relevance propagation."""

import torch
from torch import Tensor

from learned_saliency.attribution.core.method import ChannelWeightedMethod, Query
from learned_saliency.attribution.core.relevance import CHOICES, epsilon_rules, positive_rules
from learned_saliency.attribution.core.rules import BackwardRules
from learned_saliency.ops import full_precision, widen

RULES = ("epsilon", "zplus")


class LRPCAM(ChannelWeightedMethod):
    """LRP-CAM: the linear model of paper 002, Eq. 5, solved by layer-wise relevance propagation.

    The weight of a channel is the relevance of its activations (Bach et al. 2015), summed over
    positions, so that the weights of an image add up to what the additive model explains:

        alpha_k = sum_xy R_kxy,    sum_k alpha_k = F^c(A) - relevance of the biases

    The relevance F^c(A) of the logit goes back through the head by the epsilon rule (Eq. 58 there),
    see `epsilon_rules`; with ``rule="zplus"`` by the z+ rule, in which biases and negative
    weights have none, so that all weights are positive. Only the head runs.

    For a head of ReLUs and small ``epsilon`` the epsilon rule is gradient times activation: the
    weights are those of XGrad-CAM's numerator, and where the head is affine LIFT-CAM's.

    Note:
        The paper gives no details of its LRP-CAM. Relevance-CAM (Lee et al. 2021) averages over
        positions where this adds up, which is the same map after normalization, and goes back by
        the z+ rule from a contrast of classes.

    Args:
        rule: ``"epsilon"`` or ``"zplus"``.
        epsilon: Least size of what relevance is divided by, above 0; a large one drops weak
            evidence.
        rectify: Whether negative evidence is cut off before normalization, as in paper 002.
        **options: See `PostHocMethod`; the logit is explained.

    Raises:
        ValueError: If an option is none of these; when called, if the head calls a function that
            there is no rule for, such as attention.
    """

    needs_gradients = True
    allowed_targets = ("logit",)

    def __init__(
        self, *, rule: str = "epsilon", epsilon: float = 1e-9, rectify: bool = True, **options: str
    ) -> None:
        super().__init__(rectify=rectify, **options)
        if rule not in RULES:
            raise ValueError(f"rule must be one of {RULES}, got {rule!r}")
        if not epsilon > 0:
            raise ValueError(f"epsilon must be above 0, got {epsilon}")
        self.rule = rule
        self.epsilon = epsilon

    def _coefficients(self, query: Query) -> Tensor:
        return self._relevance(query).sum(dim=(2, 3))

    def _relevance(self, query: Query) -> Tensor:
        """Compute the relevance (B, K, h, w) of each activation."""
        rules = epsilon_rules(self.epsilon) if self.rule == "epsilon" else positive_rules()
        with torch.enable_grad():
            leaf = query.features.detach().requires_grad_()
            with BackwardRules(rules, derivatives=CHOICES):
                logits = query.head(leaf)
            logit = query.own_scores(logits)
        start = logit.detach()
        if self.rule == "zplus":  # a negative start would stand for the dual class
            start = torch.ones_like(logit)
        with full_precision(leaf.device):
            (relevance,) = torch.autograd.grad(logit, leaf, start)
        return widen(relevance)
