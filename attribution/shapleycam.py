"""Shapley-CAM."""

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from learned_saliency.attribution.core.method import ChannelWeightedMethod, Query
from learned_saliency.ops import full_precision


class ShapleyCAM(ChannelWeightedMethod):
    """Shapley-CAM (Cai 2025, arXiv 2501.06261): Grad-CAM with the score's second derivative.

    The score of the activations is expanded to second order, so that their Shapley values have a
    closed form: w_k = mean over positions of (g - H A / 2)_k, with g the gradient of the score and
    H its Hessian by the activations. H A is one more backward pass, through the head and its
    derivative. Where the head is piecewise linear (pooling, linear layers, ReLUs) H is 0 and the
    weights are those of Grad-CAM.

    Note:
        The paper also replaces the score, by y_c + log softmax(y)_c. That is another explained
        score, which `attribution.split` takes as ``outputs``:
        ``lambda logits: logits + logits.log_softmax(1)``. With the target's words the plain score
        is explained.

    Args:
        **options: See `ChannelWeightedMethod`.

    Raises:
        ValueError: When called, if an operation of the head has no second derivative in torch.
    """

    needs_gradients = True
    weights_of_means = True
    export_obstacle = "its second derivatives are none of the operations that graphs are written in"

    def _coefficients(self, query: Query) -> Tensor:
        # Fused attention has no second derivative.
        with sdpa_kernel(SDPBackend.MATH), torch.enable_grad():
            leaf = query.features.detach().requires_grad_()
            score = query.scores(leaf).sum()
            with full_precision(leaf.device):
                try:
                    return _weights(score, leaf)
                except RuntimeError as error:
                    if "is not implemented" not in str(error):
                        raise
                    raise ValueError(
                        f"the head has no second derivative ({error}): GradCAM needs only the first"
                    ) from None


def _weights(score: Tensor, leaf: Tensor) -> Tensor:
    """Compute the weights (B, K) from the sum of the scores of activations (B, K, h, w)."""
    (gradients,) = torch.autograd.grad(score, leaf, create_graph=True)
    second = None
    if gradients.requires_grad:
        (second,) = torch.autograd.grad(gradients, leaf, leaf.detach(), allow_unused=True)
    gradients = gradients.detach()
    return (gradients if second is None else gradients - second / 2).mean(dim=(2, 3))
