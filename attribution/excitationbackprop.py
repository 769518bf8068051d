"""Excitation backpropagation."""

import torch
from torch import Tensor

from learned_saliency.attribution.core.method import PostHocMethod, Query
from learned_saliency.attribution.core.relevance import CHOICES, positive_rules
from learned_saliency.attribution.core.rules import BackwardRules
from learned_saliency.ops import full_precision, widen

PLACES = ("layer", "image")


class ExcitationBackprop(PostHocMethod):
    """Excitation backpropagation (Zhang et al. 2016).

    A probabilistic winner-take-all goes down from the class, which wins with probability one: each
    unit hands its winning probability P(a_i) to those that excite it, by their share in the sum of
    positive weights and activations a:

        P(a_j) = sum_i P(a_j | a_i) P(a_i),    P(a_j | a_i) = Z_i w+_ji a_j

    with Z_i such that the shares of a unit i add up to one. The map is P at the explained layer,
    summed over channels; it is at least 0 and adds up to one, unless a unit on the way has no
    excitation (a dead end). Only the head runs. The paper reads the map at an earlier layer than
    the last, which is then the ``layer`` to name.

    Contrastive excitation backpropagation takes from it the map of the dual class, whose weights
    are the negative ones; what is positive remains.

    Note:
        * Rules that the paper does not give are those of the peer TorchRay 1.0: batch normalization
          hands on P as it is, residual additions share it by the summands, averaging by what is
          averaged. Concatenation and max pooling have their derivative.
        * TorchRay shares an addition by the summands with their signs, which leaves [0, 1] where
          one is negative (in most blocks of a ResNet); here negative summands win nothing, nor do
          negative activations (of SiLU, or in front of a ReLU), by which TorchRay multiplies.
        * ReLU6 hands on P where it is saturated; TorchRay has its derivative there and loses P.
        * TorchRay subtracts the dual class one layer below the logits, here it is subtracted at the
          end; all rules between are linear. Where the class layer is a 1 x 1 convolution in front
          of the pooling (SqueezeNet) both maps are the same at ``features``, and nothing remains:
          name an earlier layer.

    Args:
        contrastive: Whether the map of the dual class is subtracted.
        place: Where P is read: ``"layer"``, or ``"image"``, whose map (the sum over colors) is
            finer and noisier, and for which the whole network runs. The image's values are no
            activations: they count from the smallest of each color there.
        **options: See `PostHocMethod`; the logit is explained.

    Raises:
        ValueError: If ``place`` is none of these; when called, if the network calls a function that
            there is no rule for, such as attention.
    """

    needs_gradients = True
    allowed_targets = ("logit",)

    def __init__(self, *, contrastive: bool = False, place: str = "layer", **options: str) -> None:
        super().__init__(**options)
        if place not in PLACES:
            raise ValueError(f"place must be one of {PLACES}, got {place!r}")
        self.contrastive = contrastive
        self.place = place

    def _cams(self, query: Query) -> Tensor:
        image = self.place == "image"
        leaf = (query.images if image else query.features).detach().requires_grad_()
        rules = positive_rules(leaf if image else None)
        with torch.enable_grad():
            with BackwardRules(rules, derivatives=CHOICES):
                logits = query.run(leaf) if image else query.head(leaf)
            logit = query.own_scores(logits)
        with full_precision(leaf.device):
            one = torch.ones_like(logit)
            maps = _winning(logit, leaf, one, keep=self.contrastive)
            if not self.contrastive:
                return maps
            return (maps - _winning(logit, leaf, -one, keep=False)).relu()


def _winning(logit: Tensor, leaf: Tensor, start: Tensor, keep: bool) -> Tensor:
    """Go back from the logits (B,) and return P (B, h, w) of the leaf, summed over channels."""
    (found,) = torch.autograd.grad(logit, leaf, start, retain_graph=keep)
    return widen(found).sum(dim=1)
