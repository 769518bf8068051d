"""Gradients of the class logit by the image, and averages of them."""

from collections.abc import Callable

import torch
from torch import Tensor

from learned_saliency.attribution.core.method import Query
from learned_saliency.attribution.core.pixels import PixelGradient
from learned_saliency.attribution.core.variants import gaussian_noise, pair_batches
from learned_saliency.ops import full_precision, widen

AVERAGES = ("gradient", "saliency")


class VanillaGradient(PixelGradient):
    """The gradient of the class logit by the image (Simonyan et al. 2014), blurred.

    The largest absolute value over the three colors counts. The map is blurred and min-max
    normalized, as paper 001 does with gradient-based methods for localization (Sec. 5.1; the paper
    does not give the width of the blur, and its released code has a kernel of one pixel, that is
    no blur).

    Args:
        averages: Quantity that the methods derived from this one average over variants of an image.
            ``"gradient"``: the gradient of every color, with its sign, as in their papers.
            ``"saliency"``: its largest absolute value over the colors, as in the released code of
            paper 001; integrated gradients are then not multiplied by the image.
        **options: See `PixelGradient`.

    Raises:
        ValueError: If an option is out of its range.
    """

    def __init__(self, *, averages: str = "gradient", **options: object) -> None:
        super().__init__(**options)
        if averages not in AVERAGES:
            raise ValueError(f"averages must be one of {AVERAGES}, got {averages!r}")
        self.averages = averages

    def attributions(self, query: Query) -> Tensor:
        """Compute attributions of every pixel.

        Returns:
            Shape (B, 3, H, W), one per color, any sign; (B, 1, H, W), at least 0, where the
            method averages saliency.
        """
        return self._moments(query, 1, lambda rows, index: query.images[rows])[0]

    def _moments(
        self, query: Query, count: int, variants: Callable[[Tensor, Tensor], Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Average the gradient, or saliency, and its square over ``count`` variants of each image.

        ``variants(rows, index)`` gives for image indices and variant indices (R,) the images
        (R, 3, H, W). Both averages are (B, 3, H, W), of saliency (B, 1, H, W), at least float32.
        """
        images = query.images
        colors = slice(None) if self.averages == "gradient" else slice(1)
        first, second = (torch.zeros_like(widen(images[:, colors])) for _ in range(2))
        for rows, index in pair_batches(len(images), count, self.batch_size, images.device):
            with torch.enable_grad():
                leaf = variants(rows, index).detach().requires_grad_()
                selected = query.image_scores(leaf, rows).sum()
            with full_precision(images.device):
                gradients = widen(torch.autograd.grad(selected, leaf)[0])
            if self.averages == "saliency":
                gradients = gradients.abs().amax(dim=1, keepdim=True)
            first.index_add_(0, rows, gradients, alpha=1 / count)
            second.index_add_(0, rows, gradients**2, alpha=1 / count)
        return first, second


class IntegratedGradients(VanillaGradient):
    """Integrated gradients (Sundararajan et al. 2017, Eq. 1), from a plain baseline.

    The integral is a sum over the midpoints of equal steps; attributions add up to
    F(image) - F(baseline) as the steps become many.

    Args:
        steps: Number of steps, at least 1.
        baseline: Value of the baseline in every pixel and color, in units of the images; 0 is the
            mean color for images that are normalized.
        **options: See `VanillaGradient`.

    Raises:
        ValueError: If an option is out of its range.
    """

    def __init__(self, *, steps: int = 32, baseline: float = 0.0, **options: object) -> None:
        super().__init__(**options)
        if steps < 1:
            raise ValueError(f"steps must be at least 1, got {steps}")
        self.steps = steps
        self.baseline = baseline

    def attributions(self, query: Query) -> Tensor:
        """Compute attributions, see `VanillaGradient.attributions`."""
        path = query.images - self.baseline

        def on_path(rows: Tensor, index: Tensor) -> Tensor:
            position = ((index + 0.5) / self.steps).to(path.dtype)
            return self.baseline + position[:, None, None, None] * path[rows]

        mean = self._moments(query, self.steps, on_path)[0]
        return mean if self.averages == "saliency" else path * mean


class SmoothGrad(VanillaGradient):
    """SmoothGrad (Smilkov et al. 2017): the gradient averaged over noisy copies.

    Every image of a batch gets the same noise, scaled to its own range of values, so that a map
    does not depend on its batch mates.

    Args:
        samples: Noisy copies of each image, at least 1.
        noise_level: Standard deviation of the noise as a fraction of the image's range (maximum
            minus minimum over pixels and colors), at least 0; the paper recommends 0.1 to 0.2.
        seed: Seed of the noise.
        **options: See `VanillaGradient`.

    Raises:
        ValueError: If an option is out of its range.
    """

    def __init__(
        self, *, samples: int = 25, noise_level: float = 0.15, seed: int = 0, **options: object
    ) -> None:
        super().__init__(**options)
        if samples < 1 or noise_level < 0:
            raise ValueError(
                f"expected samples >= 1 and noise_level >= 0, got {samples} and {noise_level}"
            )
        self.samples = samples
        self.noise_level = noise_level
        self.seed = seed

    def attributions(self, query: Query) -> Tensor:
        """Compute attributions, see `VanillaGradient.attributions`."""
        return self._noisy_moments(query)[0]

    def _noisy_moments(self, query: Query) -> tuple[Tensor, Tensor]:
        images = query.images
        noise = gaussian_noise(self.samples, images, self.seed)
        dims = (1, 2, 3)
        sigma = images.amax(dims, keepdim=True) - images.amin(dims, keepdim=True)
        sigma = self.noise_level * sigma  # (B, 1, 1, 1)
        return self._moments(
            query, self.samples, lambda rows, index: images[rows] + sigma[rows] * noise[index]
        )


class VarGrad(SmoothGrad):
    """VarGrad (Adebayo et al. 2018): the variance of the gradient over noisy copies.

    Args:
        **options: See `SmoothGrad`.
    """

    def attributions(self, query: Query) -> Tensor:
        """Compute attributions, see `VanillaGradient.attributions`; at least 0."""
        first, second = self._noisy_moments(query)
        return (second - first**2).clamp(min=0)
