"""HiRes-CAM."""

from torch import Tensor

from learned_saliency.attribution.core.method import PostHocMethod, Query


class HiResCAM(PostHocMethod):
    """HiRes-CAM (Draelos and Carin 2020): sum over channels of dy_c/dA_k * A_k, element by element.

    Args:
        rectify: Whether negative evidence is cut off before normalization, as in the papers'
            tables; the original method keeps it.
        **options: See `PostHocMethod`.
    """

    needs_gradients = True
    export_obstacle = None

    def __init__(self, *, rectify: bool = True, **options: str) -> None:
        super().__init__(**options)
        self.rectify = rectify

    def _cams(self, query: Query) -> Tensor:
        maps = (query.gradients * query.features).sum(dim=1)
        return maps.relu() if self.rectify else maps
