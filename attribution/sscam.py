"""SS-CAM."""

from collections.abc import Iterator

import torch
from torch import Tensor

from learned_saliency.attribution.scorecam import ScoreCAM


class SSCAM(ScoreCAM):
    """SS-CAM (Wang et al. 2020, arXiv 2006.14255): Score-CAM with its scores averaged over noise.

    w = softmax(u) over channels, u_k = 1/S sum_s f(x * (n(up(A_k)) + d_s))_c, with S masks of
    Gaussian noise d_s; the logit of the baseline cancels, see `ScoreCAM`. This is the paper's first
    kind, with noise on the mask. All channels and images get the same noise, so that channels are
    compared under equal conditions, and a map does not depend on its batch mates. The method costs
    S K runs of the network per image, however many of its classes are explained.

    Note:
        torchcam draws noise for each channel, so its maps differ from these by chance. At the
        paper's deviation of 2 noise outweighs the masks, which lie in [0, 1].

    Args:
        samples: Number S of noisy masks of each channel, at least 1.
        noise_std: Standard deviation of the noise, in units of a mask in [0, 1], at least 0. With
            0 this is Score-CAM.
        seed: Seed of the noise.
        **options: See `AlteringMethod`.

    Raises:
        ValueError: If an option is out of its range.
    """

    def __init__(
        self, *, samples: int = 35, noise_std: float = 2.0, seed: int = 0, **options: object
    ) -> None:
        super().__init__(**options)
        if samples < 1 or not noise_std >= 0:
            raise ValueError(
                f"expected samples >= 1 and noise_std >= 0, got {samples} and {noise_std}"
            )
        self.samples = samples
        self.noise_std = noise_std
        self.seed = seed

    def _variants(self, masks: Tensor) -> Iterator[Tensor]:
        generator = torch.Generator().manual_seed(self.seed)
        for _ in range(self.samples):
            noise = torch.randn(masks.shape[1:], generator=generator)
            yield masks + self.noise_std * noise.to(masks)
