"""Mean and standard deviation of activations over images."""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from learned_saliency.attribution.core.classifier import encode, frozen
from learned_saliency.ops import widen


class ActivationStatistics(NamedTuple):
    """Mean and standard deviation of activations over many images; see `activation_statistics`.

    Attributes:
        mean: Shape (K, h, w), or (K, 1, 1) for one value per channel.
        std: The same shape, at least 0.
    """

    mean: Tensor
    std: Tensor

    def of_channels(self) -> "ActivationStatistics":
        """Pool the positions: mean and standard deviation (K, 1, 1) of each channel's numbers.

        A few images suffice for them, and they fit images of any size.
        """
        mean = self.mean.mean(dim=(1, 2), keepdim=True)
        squares = self.std.square() + (self.mean - mean).square()
        return ActivationStatistics(mean, squares.mean(dim=(1, 2), keepdim=True).sqrt())


def activation_statistics(classifier: nn.Module, batches: Iterable[Tensor]) -> ActivationStatistics:
    """Estimate mean and standard deviation of each activation over images.

    Args:
        classifier: A `Classifier`; it is left as it was found.
        batches: Images (B, 3, H, W), all of one size, normalized as the network expects, on the
            classifier's device; the paper suggests some thousand in all.

    Returns:
        Mean and standard deviation (K, h, w), on the CPU, in float32 or what is wider.

    Raises:
        ValueError: If there are fewer than two images.
    """
    count, mean, squares = 0, torch.zeros(()), torch.zeros(())
    dtype = torch.float32
    for images in batches:
        with frozen(classifier), torch.no_grad():
            features = widen(encode(classifier, images)[0]).cpu()
        dtype, features = features.dtype, features.double()
        new = count + len(features)
        own = features.mean(dim=0)
        step = own - mean
        # sums of squared deviations of two parts, and of their means (Chan et al. 1979)
        squares = squares + (features - own).square().sum(dim=0)
        squares = squares + step.square() * (count * len(features) / new)
        mean, count = mean + step * (len(features) / new), new
    if count < 2:
        raise ValueError(f"statistics need at least two images, got {count}")
    return ActivationStatistics(mean.to(dtype), (squares / (count - 1)).sqrt().to(dtype))
