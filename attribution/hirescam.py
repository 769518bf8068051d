"""HiRes-CAM."""

from torch import Tensor

from learned_saliency.attribution.core.elementwise import ElementwiseMethod


class HiResCAM(ElementwiseMethod):
    """HiRes-CAM (Draelos and Carin 2020): sum over channels of dy_c/dA_k * A_k, element by element.

    Args:
        rectify: Whether negative evidence is cut off before normalization, as in the papers'
            tables; the original method keeps it.
        **options: See `PostHocMethod`.
    """

    def __init__(self, *, rectify: bool = True, **options: str) -> None:
        super().__init__(**options)
        self.rectify = rectify

    def _products(self, gradients: Tensor, features: Tensor) -> Tensor:
        maps = (gradients * features).sum(dim=1)
        return maps.relu() if self.rectify else maps
