"""Eigen-CAM."""

import torch
from torch import Tensor

from learned_saliency.attribution.core.classifier import Classifier
from learned_saliency.attribution.core.method import PostHocMethod, Query
from learned_saliency.attribution.core.principal import first_component
from learned_saliency.ops import widen

_ROUNDING = 1e-3  # agreement with the mean activation, relative to the activations, that is none


class EigenCAM(PostHocMethod):
    """Eigen-CAM (Muhammad and Yeasin 2020): activations along their first principal component.

    The activations of the cells are the rows of O, with O = U S V^T; the map is relu(O v_1), v_1
    the first column of V. It looks at neither the class nor the target: its maps of all classes of
    an image are the same. The head does not run.

    A principal component has no sign of its own. Here it is the one by which the map agrees with
    the mean activation over the channels, that is, by which their covariance over the cells (or
    their product, if not ``centered``) is positive. Where that mean tells nothing, as after a layer
    normalization without weights, whose channels add up to zero, the map's largest value is.

    Note:
        The paper's equation has O as it is; the implementation in use, pytorch-grad-cam, subtracts
        from each channel its mean over the cells, and cuts off negative values. This is the default
        here; ``centered=False`` is the equation. That implementation takes the sign that
        LAPACK leaves, see the documentation.

    Args:
        centered: Whether the mean over the cells is subtracted from each channel first.
        rectify: Whether negative values are cut off before normalization.
        **options: See `PostHocMethod`.
    """

    export_obstacle = "a principal component is found by iterations that no graph holds"

    def __init__(self, *, centered: bool = True, rectify: bool = True, **options: str) -> None:
        super().__init__(**options)
        self.centered = centered
        self.rectify = rectify

    def of_classes(self, classifier: Classifier, images: Tensor, targets: Tensor) -> Tensor:
        """Explain several classes of each image, by one map.

        Args:
            classifier: See `PostHocMethod.of_classes`, as for the errors.
            images: Shape (B, 3, H, W).
            targets: Classes, int (B, T).

        Returns:
            Maps (B, T, H, W), the same for all classes.
        """
        maps = self(classifier, images, targets[:, 0])
        return maps[:, None].expand(-1, targets.shape[1], -1, -1).contiguous()

    def _cams(self, query: Query) -> Tensor:
        features = widen(query.features)
        maps = first_component(features, self.centered)
        mean = features.mean(dim=1)
        if self.centered:
            mean = mean - mean.mean(dim=(1, 2), keepdim=True)
        agreement = (maps * mean).sum(dim=(1, 2))
        size = (maps * features.abs().mean(dim=1)).abs().sum(dim=(1, 2))
        flat = maps.flatten(1)
        largest = flat.gather(1, flat.abs().argmax(dim=1, keepdim=True))[:, 0]
        sign = torch.where(agreement.abs() > _ROUNDING * size, agreement, largest)
        maps = torch.where(sign[:, None, None] < 0, -maps, maps)
        return maps.relu() if self.rectify else maps
