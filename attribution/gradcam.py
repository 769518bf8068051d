"""Grad-CAM."""

from torch import Tensor

from learned_saliency.attribution.core.method import ChannelWeightedMethod, Query


class GradCAM(ChannelWeightedMethod):
    """Grad-CAM (Selvaraju et al. 2017; Eq. 2 of paper 000): w_k = mean over positions of dy_c/dA_k.

    Args:
        **options: See `ChannelWeightedMethod`.
    """

    needs_gradients = True
    export_obstacle = None

    def _coefficients(self, query: Query) -> Tensor:
        return query.gradients.mean(dim=(2, 3))
