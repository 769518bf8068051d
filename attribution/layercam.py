"""Layer-CAM."""

from torch import Tensor

from learned_saliency.attribution.core.elementwise import ElementwiseMethod


class LayerCAM(ElementwiseMethod):
    """Layer-CAM (Jiang et al. 2021): relu(sum_k relu(dy_c/dA_k) * A_k), elementwise.

    Args:
        **options: See `PostHocMethod`.
    """

    def _products(self, gradients: Tensor, features: Tensor) -> Tensor:
        return (gradients.relu() * features).sum(dim=1).relu()
