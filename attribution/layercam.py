"""Layer-CAM."""

from torch import Tensor

from learned_saliency.attribution.core.method import PostHocMethod, Query


class LayerCAM(PostHocMethod):
    """Layer-CAM (Jiang et al. 2021): relu(sum_k relu(dy_c/dA_k) * A_k), elementwise.

    Args:
        **options: See `PostHocMethod`.
    """

    needs_gradients = True
    export_obstacle = None

    def _cams(self, query: Query) -> Tensor:
        return (query.gradients.relu() * query.features).sum(dim=1).relu()
