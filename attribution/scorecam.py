"""Score-CAM."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from learned_saliency.attribution.core.altered import AlteringMethod
from learned_saliency.attribution.core.maps import normalize, resize
from learned_saliency.attribution.core.method import Query
from learned_saliency.attribution.core.variants import pair_batches


class ScoreCAM(AlteringMethod):
    """Score-CAM (Wang et al. 2020; Eq. 3-4 of paper 000).

    w = softmax(u) over channels, u_k = f(x * n(up(A_k)))_c - f(x_b)_c: the logit of the image
    masked by each channel alone. The baseline's logit is the same for all channels and cancels in
    the softmax, so it is not computed. A masked pixel becomes 0 in the given image, the mean color
    for images that are normalized. Of a target whose values differ by far less than 1, such as a
    probability, the softmax makes nearly equal weights. The method costs K runs of the network per
    image, however many of its classes are explained (`of_classes`).

    Args:
        progress: Called as ``progress(run, runs)`` after the masks of each run, from 1.
        **options: See `AlteringMethod`; masks are resized like maps.
    """

    def __init__(
        self, *, progress: Callable[[int, int], None] | None = None, **options: object
    ) -> None:
        super().__init__(**options)
        self.progress = progress

    def _class_coefficients(self, query: Query, targets: Tensor) -> Tensor:
        images, features = query.images, query.features
        count, channels = features.shape[:2]
        size = self._run_size(images)
        scores, runs = [], -(-count * channels // size)
        batches = pair_batches(count, channels, size, images.device)
        for run, (rows, channel) in enumerate(batches, start=1):
            masks = resize(features[rows, channel], images.shape[-2:], self.interpolation)
            masks = normalize(masks)  # (R, H, W)
            found = []
            for variant in self._variants(masks):
                logits = query.run(images[rows] * variant[:, None].to(images.dtype), rows)
                found.append(query.class_scores(logits, targets[rows]))
            scores.append(sum(found) / len(found))
            if self.progress is not None:
                self.progress(run, runs)
        scores = torch.cat(scores).to(features.dtype).view(count, channels, -1)
        return scores.softmax(dim=1).transpose(1, 2)

    def _variants(self, masks: Tensor) -> Iterator[Tensor]:
        """Give variants of masks (R, H, W), over whose scores the method averages."""
        yield masks
