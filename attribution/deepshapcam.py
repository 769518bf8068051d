"""DeepSHAP-CAM: channel weights by DeepLIFT against several references."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from learned_saliency.attribution.core.affine import is_affine
from learned_saliency.attribution.core.altered import AlteringMethod, run_size
from learned_saliency.attribution.core.classifier import of_rows
from learned_saliency.attribution.core.deeplift import deeplift
from learned_saliency.attribution.core.method import Query
from learned_saliency.attribution.core.variants import gaussian_noise, pair_batches
from learned_saliency.attribution.liftcam import check_sum
from learned_saliency.ops import blur, full_precision, widen


class DeepSHAPCAM(AlteringMethod):
    """DeepSHAP-CAM: Eq. 5 of paper 002 solved by DeepSHAP (Lundberg and Lee 2017, Sec. 4.2).

    The weight of a channel is the sum of its activations' contributions to the score by DeepLIFT's
    rescale rule, as in `LIFTCAM`, averaged over references R, the activations of other images:

        alpha_k = mean_R sum_ij m_kij(A, R) (A_kij - R_kij),  sum_k alpha_k = F(A) - mean_R F(R).

    DeepSHAP takes the references from a data set. Without one they are made of the image itself:
    copies that are blurred, so that the object cannot be told, and noisy. They have what the layer
    always gives (borders, the color of the ground), which therefore counts for nothing. With
    ``samples=0`` the only reference is all-zero activations: that is LIFT-CAM.

    Each reference costs a pass of the network up to the layer, whatever the number of classes, and
    two runs of the head per class; none of the head where that is affine in the activations.

    Note:
        The activations' positions are not shuffled to make references: of a head that begins with
        average pooling every contribution would be 0.

    Args:
        samples: Number of references per image, at least 0.
        references: Images to take instead, (R, 3, H, W) with R > 0, normalized as the network
            expects, such as some of a data set. ``samples`` and the next two then count for
            nothing. They are run once per call where the network takes images alone.
        blur_sigma: Standard deviation of the blur in pixels, at least 0.
        noise_level: Standard deviation of the noise, as a share of the range of the image's values,
            at least 0.
        seed: Seed of the noise, which all images share.
        **options: See `AlteringMethod`; ``batch_size`` counts references.

    Raises:
        ValueError: If a number is out of its range, or ``references`` are no images; when called,
            if their size is not that of the images, or the contributions do not add up, see
            `LIFTCAM`.
    """

    needs_gradients = True

    def __init__(
        self,
        *,
        samples: int = 8,
        references: Tensor | None = None,
        blur_sigma: float = 10.0,
        noise_level: float = 0.2,
        seed: int = 0,
        **options: object,
    ) -> None:
        super().__init__(**options)
        if samples < 0 or not blur_sigma >= 0 or not noise_level >= 0:
            raise ValueError(
                "samples, blur_sigma and noise_level must be at least 0, got "
                f"{samples}, {blur_sigma} and {noise_level}"
            )
        if references is not None and (references.dim() != 4 or not references.numel()):
            raise ValueError(f"references must be (R, 3, H, W), got {tuple(references.shape)}")
        self.samples = samples
        self.references = references
        self.blur_sigma = blur_sigma
        self.noise_level = noise_level
        self.seed = seed

    def _class_coefficients(self, query: Query, targets: Tensor) -> Tensor:
        columns = targets.unbind(1)
        totals = query.features.new_zeros(*targets.shape, query.features.shape[1])
        gradients, count = None, 0
        if is_affine(query.score):
            gradients = [_gradients(query, column) for column in columns]
        for rows, references in self._references(query):
            for index, column in enumerate(columns):
                if gradients is None:
                    values = _contributions(query, rows, references, column)
                else:
                    values = gradients[index][rows] * (query.features[rows] - references)
                totals[:, index].index_add_(0, rows, values.sum(dim=(2, 3)))
            count += len(rows)
        return totals * len(totals) / count

    def _references(self, query: Query) -> Iterator[tuple[Tensor, Tensor]]:
        """Go through all pairs of an image and a reference: images (R,), activations (R, ...)."""
        images, features = query.images, query.features
        size = self.batch_size or run_size(
            max(images[0].numel(), features[0].numel()), images.device
        )
        if self.references is None and not self.samples:
            for rows in torch.arange(len(images), device=images.device).split(size):
                yield rows, torch.zeros_like(features[rows])
            return
        count, altered = self._altered(images)
        known = None
        if self.references is not None:
            known = _of_any_image(query, self.references.to(images), size)
        for rows, index in pair_batches(len(images), count, size, images.device):
            if known is None:
                yield rows, query.of_variants(altered(rows, index), rows).features
            else:
                yield rows, known[index]

    def _altered(self, images: Tensor) -> tuple[int, Callable[[Tensor, Tensor], Tensor]]:
        """Return the number of references per image, and a function that makes some of them.

        For image indices and reference indices (R,) it gives images (R, 3, H, W).
        """
        if self.references is not None:
            given = self.references.to(images)
            if given.shape[1:] != images.shape[1:]:
                raise ValueError(
                    f"references {tuple(given.shape)} and images {tuple(images.shape)} must be "
                    "of one size"
                )
            return len(given), lambda rows, index: given[index]
        wide, dims = widen(images), (1, 2, 3)
        blurred = blur(wide.flatten(0, 1), self.blur_sigma).view_as(wide).to(images.dtype)
        spread = images.amax(dims, keepdim=True) - images.amin(dims, keepdim=True)
        spread = self.noise_level * spread  # (B, 1, 1, 1)
        noise = gaussian_noise(self.samples, images, self.seed)
        return self.samples, lambda rows, index: blurred[rows] + spread[rows] * noise[index]


def _gradients(query: Query, targets: Tensor) -> Tensor:
    """Compute the gradients (B, K, h, w) of the scores of classes (B,)."""
    return query.gradients_by(lambda logits, _: query.class_scores(logits, targets[:, None])[:, 0])


def _contributions(query: Query, rows: Tensor, references: Tensor, targets: Tensor) -> Tensor:
    """Compute the contributions (R, K, h, w) of activations of images (R,) to classes (B,)."""
    own = targets[rows, None]

    def score(features: Tensor) -> Tensor:
        return query.class_scores(query.head(features, rows), own)[:, 0]

    with full_precision(references.device):
        found = deeplift(score, query.features[rows], references)
    check_sum(query.class_scores(query.logits.detach()[rows], own)[:, 0], *found)
    return found.values


def _of_any_image(query: Query, references: Tensor, size: int) -> Tensor | None:
    """Compute activations (R, K, h, w) of references if they serve all images, else None.

    They do where the network takes nothing beside images that belongs to each of them.
    """
    rows = torch.zeros(len(references), dtype=torch.int64, device=references.device)
    bound = of_rows(query.classifier, rows)
    if of_rows(bound, rows) is not bound:
        return None
    parts = zip(references.split(size), rows.split(size), strict=True)
    return torch.cat([query.of_variants(part, own).features for part, own in parts])
