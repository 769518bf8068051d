"""Fake-CAM."""

from torch import Tensor

from learned_saliency.attribution.core.method import PostHocMethod, Query


class FakeCAM(PostHocMethod):
    """Fake-CAM (Poppi et al. 2021): one everywhere, zero in the top left pixel.

    This is no explanation at all; it shows that a low average drop and a high average increase
    prove nothing (paper 000, Sec. 4). The network does not run, and the map is the same for every
    class and target.

    Args:
        **options: See `PostHocMethod`.
    """

    def _cams(self, query: Query) -> Tensor:
        maps = query.images.new_ones(query.images[:, 0].shape)
        maps[:, 0, 0] = 0
        return maps
