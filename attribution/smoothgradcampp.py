"""Smooth Grad-CAM++."""

import torch
from torch import Tensor

from learned_saliency.attribution.core.method import ChannelWeightedMethod, Query
from learned_saliency.attribution.core.variants import gaussian_noise, pair_batches


class SmoothGradCAMPlusPlus(ChannelWeightedMethod):
    """Smooth Grad-CAM++ (Omeiza et al. 2019).

    Grad-CAM++ with each power of the gradient averaged over noisy copies of the image:
    D_n = mean over copies of g^n, alpha = D_2 / (2 D_2 + S_k D_3), w_k = sum_ij alpha relu(D_1).
    S_k and the activations that are summed are those of the clean image, and so is the target.

    Every image of a batch gets the same noise, so a map does not depend on its batch mates.

    Args:
        samples: Noisy copies of each image, at least 1.
        noise_std: Standard deviation of the noise, in the units of the (normalized) images, at
            least 0. With 0 this is Grad-CAM++.
        seed: Seed of the noise.
        batch_size: Images in one pass of the network, at least 1; bounds memory.
        **options: See `ChannelWeightedMethod`.

    Raises:
        ValueError: If an option is out of its range.
    """

    needs_gradients = True

    def __init__(
        self,
        *,
        samples: int = 4,
        noise_std: float = 0.3,
        seed: int = 0,
        batch_size: int = 32,
        **options: object,
    ) -> None:
        super().__init__(**options)
        if samples < 1 or batch_size < 1 or noise_std < 0:
            raise ValueError(
                "expected samples >= 1, batch_size >= 1 and noise_std >= 0, got "
                f"{samples}, {batch_size} and {noise_std}"
            )
        self.samples = samples
        self.noise_std = noise_std
        self.seed = seed
        self.batch_size = batch_size

    def _coefficients(self, query: Query) -> Tensor:
        images = query.images
        noise = self.noise_std * gaussian_noise(self.samples, images, self.seed)
        first, second, third = (torch.zeros_like(query.features) for _ in range(3))
        for rows, sample in pair_batches(len(images), self.samples, self.batch_size, images.device):
            noisy = images[rows] + noise[sample]
            gradients = query.of_variants(noisy, rows).gradients
            first.index_add_(0, rows, gradients, alpha=1 / self.samples)
            second.index_add_(0, rows, gradients**2, alpha=1 / self.samples)
            third.index_add_(0, rows, gradients**3, alpha=1 / self.samples)
        denominator = 2 * second + query.features.sum(dim=(2, 3), keepdim=True) * third
        alpha = torch.where(denominator == 0, 0.0, second / denominator)
        return (alpha * first.relu()).sum(dim=(2, 3))
