"""Score-CAM."""

import torch
from torch import Tensor

from learned_saliency.attribution.core.method import ChannelWeightedMethod, Query, normalize, resize
from learned_saliency.attribution.core.variants import pair_batches


class ScoreCAM(ChannelWeightedMethod):
    """Score-CAM (Wang et al. 2020; Eq. 3-4 of paper 000).

    w = softmax(u) over channels, u_k = f(x * n(up(A_k)))_c - f(x_b)_c: the logit of the image
    masked by each channel alone. The baseline's logit is the same for all channels and cancels in
    the softmax, so it is not computed. A masked pixel becomes 0 in the given image, the mean color
    for images that are normalized. Of a target whose values differ by far less than 1, such as a
    probability, the softmax makes nearly equal weights. The method costs K runs of the network per
    image.

    Args:
        batch_size: Masked images in one pass of the network, at least 1; bounds memory. Processors
            are fastest with few at a time, accelerators with many.
        **options: See `ChannelWeightedMethod`; masks are resized like maps.

    Raises:
        ValueError: If ``batch_size`` is below 1.
    """

    def __init__(self, *, batch_size: int = 8, **options: object) -> None:
        super().__init__(**options)
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        self.batch_size = batch_size

    def _coefficients(self, query: Query) -> Tensor:
        images, features = query.images, query.features
        count, channels = features.shape[:2]
        scores = []
        for rows, channel in pair_batches(count, channels, self.batch_size, images.device):
            masks = resize(features[rows, channel], images.shape[-2:], self.interpolation)
            masks = normalize(masks).to(images.dtype)  # (R, H, W)
            scores.append(query.image_scores(images[rows] * masks[:, None], rows))
        scores = torch.cat(scores).to(features.dtype).view(count, channels)
        return scores.softmax(dim=1)
