"""Information bottleneck attribution."""

import math

import torch
from torch import Tensor

from learned_saliency.attribution.core.activation_statistics import ActivationStatistics
from learned_saliency.attribution.core.altered import run_size
from learned_saliency.attribution.core.masked import adam
from learned_saliency.attribution.core.method import PostHocMethod, Query
from learned_saliency.ops import blur, full_precision


class InformationBottleneck(PostHocMethod):
    """Information bottleneck attribution, the bottleneck per sample (Schulz et al. 2020).

    The activations R are mixed with noise of their own distribution,

        Z = lambda R + (1 - lambda) epsilon,  epsilon ~ N(mu_R, sigma_R^2),
        lambda = blur(sigmoid(alpha)),

    and alpha (K, h, w) is found for each image by Adam, from 5, where nearly all passes. The loss
    is the cross-entropy of the class, averaged over noise, plus beta times the mean over K, h and w
    of the information that Z has about R at most,

        KL[P(Z|R) || N(mu_R, sigma_R^2)] = (lambda^2 r^2 + (1 - lambda)^2 - 1) / 2 - log(1 - lambda)

    with r = (R - mu_R) / sigma_R. The map is that information, in bits, summed over channels.

    Only the head runs, forward and backward ``steps * samples`` times per image. All images share
    the noise, and Adam works number by number: a map does not depend on batch mates.

    The paper takes mu_R and sigma_R of each activation over many images, as `activation_statistics`
    does. Without ``statistics`` they are those of each channel over the positions of the image
    itself, so that what is everywhere in the image counts for little.

    Note:
        * The score that Z shall keep is the log-probability by default, whose negative is the
          cross-entropy; against a logit, whose differences are larger, ``beta`` weighs less.
        * The map is that of the last alpha; the released code shows the one before the last step.
        * The blur repeats the borders and ends at three deviations; the released code mirrors them
          and ends at two.
        * What is constant in the statistics is set to its mean and has no information; the released
          code does so with neurons that are active in less than 1 % of the images.
        * Bits belong to cells of the layer; the released code divides them among pixels.

    Args:
        steps: Steps of Adam, at least 1.
        samples: Draws of noise per image and step, at least 1.
        beta: Weight of the information, at least 0; 10 in the released code.
        learning_rate: Of Adam, above 0.
        smoothing: Standard deviation of the blur in cells, at least 0; 0 is no blur.
        initial: First value of every alpha.
        min_std: Least sigma_R, above 0.
        statistics: mu_R and sigma_R; None for those of the image's own positions.
        batch_size: Most rows of the head in one run, at least 1, but never less than ``samples``;
            bounds memory. None for as many as the device is fast with, see `core.altered.run_size`.
        seed: Seed of the noise.
        target: Score that Z shall keep, see `PostHocMethod`.
        **options: See `PostHocMethod`.

    Raises:
        ValueError: If a number is out of its range; when called, if the statistics are of other
            activations.
    """

    needs_gradients = True

    def __init__(
        self,
        *,
        steps: int = 10,
        samples: int = 10,
        beta: float = 10.0,
        learning_rate: float = 1.0,
        smoothing: float = 1.0,
        initial: float = 5.0,
        min_std: float = 0.01,
        statistics: ActivationStatistics | None = None,
        batch_size: int | None = None,
        seed: int = 0,
        target: str = "log_probability",
        **options: str,
    ) -> None:
        super().__init__(target=target, **options)
        if steps < 1 or samples < 1 or (batch_size is not None and batch_size < 1):
            raise ValueError(
                f"steps, samples and batch_size must be at least 1, got {steps}, {samples} and "
                f"{batch_size}"
            )
        if not beta >= 0 or not smoothing >= 0 or not learning_rate > 0 or not min_std > 0:
            raise ValueError(
                "beta and smoothing must be at least 0, learning_rate and min_std above 0, got "
                f"{beta}, {smoothing}, {learning_rate} and {min_std}"
            )
        self.steps = steps
        self.samples = samples
        self.beta = beta
        self.learning_rate = learning_rate
        self.smoothing = smoothing
        self.initial = initial
        self.min_std = min_std
        self.statistics = statistics
        self.batch_size = batch_size
        self.seed = seed

    def _cams(self, query: Query) -> Tensor:
        features, known = query.features, self._statistics(query.features)
        alpha = torch.full_like(features, self.initial)
        update = adam(self.learning_rate)
        size = self.batch_size or run_size(features[0].numel(), features.device)
        rows = torch.arange(len(features), device=features.device)
        parts = rows.split(max(1, size // self.samples))
        generator = torch.Generator().manual_seed(self.seed)
        for step in range(self.steps):
            noise = torch.randn(self.samples, *features.shape[1:], generator=generator)
            noise = noise.to(features)
            gradient = torch.cat(
                [self._gradient(query, part, alpha, known, noise) for part in parts]
            )
            alpha -= update(gradient, step)
        bits = _information(features, known, self._blocked(alpha)) / math.log(2)
        return bits.sum(dim=1)

    def _statistics(self, features: Tensor) -> ActivationStatistics:
        """Return mu_R and sigma_R of every image, (B, K, h, w) or (B, K, 1, 1)."""
        if self.statistics is None:
            mean = features.mean(dim=(2, 3), keepdim=True)
            std = features.std(dim=(2, 3), keepdim=True, correction=0)
            return self._bounded(mean, std)
        shape = features.shape[1:]
        for name, given in self.statistics._asdict().items():
            if given.shape not in (shape, (shape[0], 1, 1)):
                raise ValueError(
                    f"the statistics' {name} is {tuple(given.shape)}, the activations are "
                    f"{tuple(shape)}: estimate them for this layer and size of image"
                )
        mean, std = (n.to(features).expand(len(features), -1, -1, -1) for n in self.statistics)
        return self._bounded(mean, std)

    def _bounded(self, mean: Tensor, std: Tensor) -> ActivationStatistics:
        """Bound deviations by ``min_std``, but for those of constants, which become 0."""
        constant = std <= 1e-6 * mean.abs()
        return ActivationStatistics(mean, std.clamp(min=self.min_std).masked_fill(constant, 0))

    def _gradient(
        self,
        query: Query,
        rows: Tensor,
        alpha: Tensor,
        known: ActivationStatistics,
        noise: Tensor,
    ) -> Tensor:
        """Compute the gradient of the loss of images ``rows`` by their alpha, (R, K, h, w)."""
        features = query.features[rows]
        known = ActivationStatistics(known.mean[rows], known.std[rows])
        fixed = torch.where(known.std == 0, known.mean, features)
        with torch.enable_grad():
            leaf = alpha[rows].requires_grad_()
            blocked = self._blocked(leaf)
            kept = fixed + blocked * (known.mean - fixed)
            mixed = kept[:, None] + (known.std * blocked)[:, None] * noise  # (R, samples, K, h, w)
            scores = query.scores(mixed.flatten(0, 1), rows.repeat_interleave(self.samples))
            information = _information(features, known, blocked).mean(dim=(1, 2, 3)).sum()
            loss = self.beta * information - scores.sum() / self.samples
        with full_precision(leaf.device):
            return torch.autograd.grad(loss, leaf)[0]

    def _blocked(self, alpha: Tensor) -> Tensor:
        """Compute 1 - lambda, the blurred sigmoid(-alpha): exact where lambda is close to 1."""
        shares = (-alpha).sigmoid()
        if self.smoothing == 0:
            return shares
        rows, columns = (_blur_matrix(side, self.smoothing, alpha) for side in alpha.shape[-2:])
        with full_precision(alpha.device):
            return ((shares @ columns.T).transpose(-2, -1) @ rows.T).transpose(-2, -1)


def _information(features: Tensor, known: ActivationStatistics, blocked: Tensor) -> Tensor:
    """Compute the KL divergence in nats, of R and 1 - lambda (..., K, h, w)."""
    constant = known.std == 0
    normal = (features - known.mean) / known.std.masked_fill(constant, 1)
    squares = ((1 - blocked) * normal).square() + blocked.square() - 1
    return (squares / 2 - blocked.log()).masked_fill(constant, 0)


def _blur_matrix(side: int, sigma: float, like: Tensor) -> Tensor:
    """Return the (side, side) matrix of a Gaussian blur along an axis, whose ends are repeated."""
    units = torch.eye(side, dtype=torch.float64)
    return blur(units[:, None], sigma)[:, 0].T.to(like)
