"""XGrad-CAM."""

import torch
from torch import Tensor

from learned_saliency.attribution.core.method import ChannelWeightedMethod, Query


class XGradCAM(ChannelWeightedMethod):
    """XGrad-CAM (Fu et al. 2020).

    w_k = sum_ij (A_kij / S_k) dy_c/dA_kij, with S_k = sum_ij A_kij: Grad-CAM with the gradient
    averaged by activation instead of evenly. A channel with S_k = 0 gets weight 0.

    Args:
        **options: See `ChannelWeightedMethod`.
    """

    needs_gradients = True
    weights_of_means = True
    export_obstacle = None

    def _coefficients(self, query: Query) -> Tensor:
        contributions = (query.gradients * query.features).sum(dim=(2, 3))
        totals = query.features.sum(dim=(2, 3))
        return torch.where(totals == 0, 0.0, contributions / torch.where(totals == 0, 1.0, totals))
