"""LIFT-CAM: channel weights by DeepLIFT."""

import torch
from torch import Tensor

from learned_saliency.attribution.core.affine import is_affine
from learned_saliency.attribution.core.deeplift import deeplift
from learned_saliency.attribution.core.method import ChannelWeightedMethod, Query
from learned_saliency.attribution.core.recording import is_recorded
from learned_saliency.ops import full_precision


class LIFTCAM(ChannelWeightedMethod):
    """LIFT-CAM (paper 002, Eq. 7).

    The weight of a channel is the sum of its activations' contributions to the target logit, by
    DeepLIFT's rescale rule with all-zero activations as the reference. The weights of an image add
    up to F(A) - F(0) (Eq. 8), and are the exact Shapley values where the head is affine.

    Only the head runs: once with A, and once with 0 where it is not affine. The paper's heads
    consist of linear layers and ReLUs; `attribution.core.deeplift` documents how attention,
    normalization and products in other heads are treated, for which the sum holds up to the error
    of a quadrature.

    Args:
        rectify: Whether negative evidence is cut off before normalization, as in the paper.
        **options: See `PostHocMethod`.

    Raises:
        ValueError: When called, if the contributions do not add up: the head works in a way that
            cannot be followed (a scripted module, a value modified in place and used elsewhere).
    """

    needs_gradients = True
    weights_of_means = True
    export_obstacle = None

    def _coefficients(self, query: Query) -> Tensor:
        if is_affine(query.score):
            return (query.gradients * query.features).sum(dim=(2, 3))
        with full_precision(query.features.device):
            found = deeplift(query.scores, query.features, torch.zeros_like(query.features))
        if not is_recorded():
            check_sum(query.score.detach(), *found)
        return found.values.sum(dim=(2, 3))


def check_sum(expected: Tensor, values: Tensor, output: Tensor, reference: Tensor) -> None:
    """Raise ValueError unless the run gave the head's own output and Eq. 8 holds, up to 2%.

    Args:
        expected: The head's own output, shape (B,).
        values: Contributions (B, K, h, w), as `deeplift` gives them.
        output: F(A) as it was followed, shape (B,).
        reference: F of the references, shape (B,).
    """
    error = (output - expected).abs() + (values.sum(dim=(1, 2, 3)) - (output - reference)).abs()
    scale = values.abs().sum(dim=(1, 2, 3)) + expected.abs() + reference.abs()
    if not bool((error <= 0.02 * scale).all()):
        raise ValueError(
            f"the contributions of the channels miss F(A) - F(0) by {error.max().item():.3g}: the "
            "head does something that cannot be followed, or its score jumps where nothing is "
            "active; another method, or a layer nearer to the output, may serve"
        )
