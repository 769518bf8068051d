"""LIME-CAM: channel weights by a local linear model."""

import torch
from torch import Tensor

from learned_saliency.attribution.core.altered import AlteringMethod
from learned_saliency.attribution.core.method import Query
from learned_saliency.attribution.core.subsets import (
    class_shares,
    fit_ridge,
    random_subsets,
    subset_scores,
)


class LIMECAM(AlteringMethod):
    """LIME-CAM: Eq. 5 of paper 002 solved by LIME (Ribeiro et al. 2016, Eq. 1 and Alg. 1).

    The model g(a') = alpha_0 + sum_k alpha_k a'_k says what the score F is when the channels with
    a'_k = 1 are kept and all others set to 0. Its weights minimize

        sum_s pi(a'_s) (F(a'_s) - g(a'_s))^2 + ridge * sum_k alpha_k^2

    over random subsets: the first keeps all channels, the others a number of them that is uniform
    in 1..K. The exponential kernel pi(a') = exp(-D^2 / kernel_width^2) has D = 1 - sqrt(|a'| / K),
    the cosine distance to the vector of ones. Unlike SHAP values the weights need not sum to
    F(A) - F(0).

    Only the head runs, once per subset, for all classes of an image together. All images share the
    subsets, which depend on the seed and on K alone. A head that is affine in the activations is
    not run on subsets: their scores are sums of the channels' shares.

    Note:
        As in LIME's released code for images all K weights are fitted at once by a ridge; the paper
        chooses a few features by K-LASSO first, and a map of a few channels is no CAM. That code
        keeps each feature with probability 1/2 instead of the paper's uniform size (of 512 channels
        all subsets are then of about 256, and the kernel is constant), and takes the square root of
        pi, as captum does: their width w is sqrt(2) w here.

    Args:
        samples: Number of subsets, at least 2.
        kernel_width: Width of the kernel, above 0.
        ridge: Weight of the ridge, above 0; 1 in LIME's code. It draws all weights toward 0.
        seed: Seed of the subsets.
        **options: See `AlteringMethod`; ``batch_size`` counts rows of the head.

    Raises:
        ValueError: If a number is out of its range.
    """

    def __init__(
        self,
        *,
        samples: int = 1000,
        kernel_width: float = 0.25,
        ridge: float = 1.0,
        seed: int = 0,
        **options: object,
    ) -> None:
        super().__init__(**options)
        if samples < 2 or not kernel_width > 0 or not ridge > 0:
            raise ValueError(
                "samples must be at least 2, kernel_width and ridge above 0, got "
                f"{samples}, {kernel_width} and {ridge}"
            )
        self.samples = samples
        self.kernel_width = kernel_width
        self.ridge = ridge
        self.seed = seed

    def _class_coefficients(self, query: Query, targets: Tensor) -> Tensor:
        subsets = self._draw(query.features.shape[1])
        full = query.class_scores(query.logits.detach(), targets)[:, :, None]
        shares = class_shares(query, targets)
        if shares is None:
            rest = subset_scores(query, targets, subsets[1:], self._run_size(query.features))
        else:
            rest = full - shares @ (~subsets[1:]).to(shares).T
        distances = 1 - subsets.double().mean(dim=1).sqrt()
        weights = torch.exp(-((distances / self.kernel_width) ** 2))
        return fit_ridge(subsets, torch.cat([full, rest], dim=2), weights, self.ridge)

    def _draw(self, channels: int) -> Tensor:
        """Draw the subsets, bool (S, K); the first has all channels."""
        generator = torch.Generator().manual_seed(self.seed)
        sizes = torch.randint(1, channels + 1, (self.samples,), generator=generator)
        sizes[0] = channels
        return random_subsets(sizes, channels, generator)
