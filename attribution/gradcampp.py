"""Grad-CAM++."""

import torch
from torch import Tensor

from learned_saliency.attribution.core.method import ChannelWeightedMethod, Query


class GradCAMPlusPlus(ChannelWeightedMethod):
    """Grad-CAM++ (Chattopadhay et al. 2018, Eq. 19 and 7).

    With g = dy_c/dA_kij and S_k = sum_ij A_kij the weights are w_k = sum_ij alpha_kij relu(g),
    alpha = g^2 / (2 g^2 + S_k g^3) where g is not 0, else 0. The paper explains exp(y_c) instead
    of y_c, which turns its higher derivatives into powers of g; the factor exp(y_c) that is left
    before each w_k is dropped here, as normalization would, so `coefficients` are free of it.

    Note:
        g^2 is cancelled, alpha = 1 / (2 + S_k g), which underflows for no g. Implementations that
        add an epsilon to the uncancelled denominator (1e-6 in pytorch-grad-cam) suppress
        gradients below the square root of that epsilon. Two others divide a copy by accident.

    Args:
        **options: See `ChannelWeightedMethod`.
    """

    needs_gradients = True
    weights_of_means = True
    export_obstacle = None

    def _coefficients(self, query: Query) -> Tensor:
        gradients = query.gradients
        positive = gradients.relu()
        denominator = 2 + query.features.sum(dim=(2, 3), keepdim=True) * gradients
        # Only with negative activations can the denominator vanish.
        denominator = torch.where(denominator == 0, 1.0, denominator)
        return (positive / denominator).sum(dim=(2, 3))
