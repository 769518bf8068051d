"""Base of all post-hoc methods: one backbone pass, targets, resizing and normalization."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

import torch
from torch import Tensor, nn

from learned_saliency.attribution.core.classifier import Classifier, frozen
from learned_saliency.attribution.core.maps import INTERPOLATIONS, NORMALIZATIONS, resize
from learned_saliency.attribution.core.parts import MeanActivations, PartMaps
from learned_saliency.attribution.core.query import Query
from learned_saliency.attribution.core.targets import TARGETS
from learned_saliency.ops import full_precision, widen


class PostHocMethod:
    """A saliency method for any trained classifier: ``method(classifier, images, targets)``.

    The base checks what comes in, freezes the classifier and restores it (also after an
    exception), brings the method's maps to the size of the images and normalizes them. A subclass
    supplies `_cams`, and declares in `needs_gradients` whether it needs autograd.

    Args:
        interpolation: How maps are brought to the size of the images: ``"bilinear"`` (as in all
            papers), ``"bicubic"`` (both with half-pixel centers), or ``"nearest"``.
        target: Score of the class that is explained: ``"logit"`` y_c, ``"probability"``
            softmax(y)_c, ``"log_probability"`` its logarithm, ``"margin"`` y_c minus the largest
            other logit; of a classifier that declares sigmoids sigmoid(y_c), its logarithm, and
            y_c, see `Classifier`. The logits are those that the classifier gives, or the scores
            that ``outputs`` of `attribution.split` puts in their place.
        normalization: How maps come into [0, 1]: by ``"range"``, minimum to 0 and maximum to 1
            (paper 000, Eq. 4), or by ``"max"``, max(0, f) / max f (paper 001, Eq. 2, first line).

    Attributes:
        allowed_targets: The words that the method takes; others need another method.
        export_obstacle: Reason why no graph can hold the method, as a sentence without its full
            stop; None for a method that can be exported.

    Raises:
        ValueError: If a word is none of these, or the method does not take it.
    """

    needs_gradients = False
    allowed_targets: ClassVar[tuple[str, ...]] = tuple(TARGETS)
    export_obstacle: str | None = (
        "its maps are not made by one run of the network and the derivative of its head"
    )

    def __init__(
        self,
        *,
        interpolation: str = "bilinear",
        target: str = "logit",
        normalization: str = "range",
    ) -> None:
        if interpolation not in INTERPOLATIONS:
            raise ValueError(f"interpolation must be one of {INTERPOLATIONS}: {interpolation!r}")
        if normalization not in NORMALIZATIONS:
            known = tuple(NORMALIZATIONS)
            raise ValueError(f"normalization must be one of {known}: {normalization!r}")
        if target not in TARGETS:
            raise ValueError(f"target must be one of {tuple(TARGETS)}: {target!r}")
        if target not in self.allowed_targets:
            raise ValueError(
                f"{type(self).__name__} explains the {' or '.join(self.allowed_targets)}, not the "
                f"{target}; GradCAM takes any target"
            )
        self.interpolation = interpolation
        self.target = target
        self.normalization = normalization

    def __call__(
        self, classifier: Classifier, images: Tensor, targets: Tensor | None = None
    ) -> Tensor:
        """Explain a batch.

        Args:
            classifier: An ``nn.Module`` that is a `Classifier`; see `attribution.core.split` for
                making one of a foreign network.
            images: Shape (B, 3, H, W), floating point, on the classifier's device.
            targets: Class to explain for each image, int (B,) in [0, C); default: the predicted.

        Returns:
            Saliency maps (B, H, W) in [0, 1], minimum 0 and maximum 1 in each image (of
            ``normalization="max"`` the minimum may be larger), all zeros where a map is constant;
            float32, or float64 for a float64 classifier.

        Raises:
            TypeError: If an argument is of the wrong type.
            ValueError: If a shape, device or class does not fit, or the map is not finite.
            RuntimeError: If the method needs gradients and is called in inference mode.
        """
        with self._query(classifier, images, targets) as query:
            return self.finish(widen(self._cams(query)), images.shape[-2:])

    def of_classes(self, classifier: Classifier, images: Tensor, targets: Tensor) -> Tensor:
        """Explain several classes of each image.

        A method that is faster so overrides this, and computes them together.

        Args:
            classifier: See `__call__`, as for the errors.
            images: Shape (B, 3, H, W).
            targets: Classes, int (B, T) in [0, C).

        Returns:
            Maps (B, T, H, W): for each class those of `__call__`, up to rounding.
        """
        columns = [self(classifier, images, column) for column in targets.unbind(1)]
        return torch.stack(columns, dim=1)

    def raw_maps(
        self, classifier: Classifier, images: Tensor, targets: Tensor | None = None
    ) -> Tensor:
        """Compute what `__call__` resizes and normalizes: maps whose differences mean something.

        Args:
            classifier: See `__call__`, as for the other arguments and errors.
            images: Shape (B, 3, H, W).
            targets: Int (B,) in [0, C), or None.

        Returns:
            Maps (B, h, w) of the targets, in the method's own resolution and range.
        """
        with self._query(classifier, images, targets) as query:
            return widen(self._cams(query)).detach()

    def finish(self, raw: Tensor, size: tuple[int, int]) -> Tensor:
        """Bring raw maps to the size of the images, and normalize them.

        Args:
            raw: Shape (..., h, w), as `raw_maps` gives them.
            size: Height H and width W, in pixels.

        Returns:
            Maps (..., H, W) in [0, 1], at least float32.

        Raises:
            ValueError: If a map is not finite.
        """
        return self.to_unit(resize(raw, size, self.interpolation))

    def to_unit(
        self, maps: Tensor, low: Tensor | None = None, high: Tensor | None = None
    ) -> Tensor:
        """Normalize resized maps.

        Args:
            maps: Shape (..., H, W).
            low: Minimum of each map, (..., 1, 1), where ``maps`` are parts of larger ones; None for
                their own.
            high: Maximum, likewise.

        Returns:
            Maps in [0, 1], at least float32.

        Raises:
            ValueError: If a map is not finite.
        """
        return NORMALIZATIONS[self.normalization](maps, low, high)

    def part_obstacle(self, classifier: Classifier) -> str | None:
        """Return why an image cannot be explained part by part, see `of_parts`; None if it can."""
        return "its map of a part of an image is no part of the image's map"

    def reads_means(self, classifier: Classifier) -> bool:
        """Return whether `of_parts` needs each channel's mean activation in the whole image."""
        return True

    def of_parts(self, whole: MeanActivations, targets: Tensor) -> PartMaps:
        """Prepare to explain an image that no run of the network sees as a whole.

        Args:
            whole: What is known of the whole image; see `reads_means`.
            targets: Class to explain, int64 (1,).

        Returns:
            Function of a classifier and parts (B, 3, H, W) of the image to their raw maps
            (B, h, w). Joined, they are the image's raw map up to a positive factor, except for
            cells whose activations differ because the network does not see beyond the part.

        Raises:
            ValueError: If there is an obstacle, see `part_obstacle`.
        """
        raise ValueError(f"{type(self).__name__}: {self.part_obstacle(whole.classifier)}")

    def gives_probabilities(self, classifier: Classifier) -> bool:
        """Return whether the raw maps are p(y, z|x), instead of scores of any range."""
        return False

    def _cams(self, query: Query) -> Tensor:
        """Compute the raw maps (B, h, w) of a query; any resolution, any range."""
        raise NotImplementedError

    @contextmanager
    def _query(
        self, classifier: Classifier, images: Tensor, targets: Tensor | None
    ) -> Iterator[Query]:
        _check(classifier, images, targets)
        if self.needs_gradients and torch.is_inference_mode_enabled():
            raise RuntimeError(
                f"{type(self).__name__} needs gradients, which torch.inference_mode() forbids: "
                "call it outside, or under torch.no_grad(), which is fine"
            )
        with frozen(classifier), torch.no_grad():
            yield Query(classifier, images, targets, self.needs_gradients, self.target)


class ChannelWeightedMethod(PostHocMethod):
    """A method whose map is a weighted sum of channels, h(sum_k w_k A_k); h is mostly a ReLU.

    A subclass supplies `_coefficients`.

    Args:
        rectify: Whether h is a ReLU (else the identity); default: the method's own choice.
        **options: See `PostHocMethod`.

    Attributes:
        weights_of_means: Whether the weights are the same, up to a positive factor, for activations
            that are replaced by each channel's mean, where the head reads these means alone.
    """

    rectify = True
    weights_of_means: ClassVar[bool] = False

    def __init__(self, *, rectify: bool | None = None, **options: str) -> None:
        super().__init__(**options)
        if rectify is not None:
            self.rectify = rectify

    def coefficients(
        self, classifier: Classifier, images: Tensor, targets: Tensor | None = None
    ) -> Tensor:
        """Compute the channel weights w.

        Args:
            classifier: See `PostHocMethod.__call__`, as for the other arguments and errors.
            images: Shape (B, 3, H, W).
            targets: Int (B,) in [0, C), or None.

        Returns:
            Weights, shape (B, K), any sign and scale.
        """
        with self._query(classifier, images, targets) as query:
            return self._coefficients(query).detach()

    def part_obstacle(self, classifier: Classifier) -> str | None:
        """Return None where the weights follow from mean activations; see `PostHocMethod`."""
        return None if self.weights_of_means else super().part_obstacle(classifier)

    def of_parts(self, whole: MeanActivations, targets: Tensor) -> PartMaps:
        """Find the weights for the whole image; see `PostHocMethod.of_parts`."""
        if not self.weights_of_means:
            return super().of_parts(whole, targets)
        weights = self.coefficients(whole, whole.images, targets)

        def maps(classifier: Classifier, images: Tensor) -> Tensor:
            features = widen(classifier.features(images))
            return self._weighted(features, weights.expand(len(features), -1))

        return maps

    def _coefficients(self, query: Query) -> Tensor:
        """Compute the channel weights (B, K) of a query."""
        raise NotImplementedError

    def _cams(self, query: Query) -> Tensor:
        return self._weighted(query.features, self._coefficients(query))

    def _weighted(self, features: Tensor, coefficients: Tensor) -> Tensor:
        """Compute h(sum_k w_k A_k), (B, h, w), of features (B, K, h, w) and weights (B, K)."""
        with full_precision(features.device):
            maps = torch.einsum("bk,bkhw->bhw", coefficients, features)
        return maps.relu() if self.rectify else maps


def _check(classifier: Classifier, images: Tensor, targets: Tensor | None) -> None:
    """Check a method's arguments at the door; see `PostHocMethod.__call__` for the errors."""
    if not isinstance(classifier, nn.Module) or not isinstance(classifier, Classifier):
        raise TypeError(
            f"expected an nn.Module with features(images) and head(features), got "
            f"{type(classifier).__name__}; attribution.split(model, layer) makes one of any module"
        )
    if not isinstance(images, Tensor) or not images.is_floating_point():
        got = images.dtype if isinstance(images, Tensor) else type(images).__name__
        raise TypeError(f"images must be a floating-point tensor, got {got}")
    if images.dim() != 4 or not images.numel():
        raise ValueError(f"images must be (B, 3, H, W) with B > 0, got {tuple(images.shape)}")
    devices = {weight.device for weight in classifier.parameters()}
    if devices and images.device not in devices:
        raise ValueError(f"images are on {images.device}, the classifier on {devices.pop()}")
    if targets is None:
        return
    if not isinstance(targets, Tensor) or targets.is_floating_point() or targets.is_complex():
        got = targets.dtype if isinstance(targets, Tensor) else type(targets).__name__
        raise TypeError(f"targets must be an integer tensor (B,) or None, got {got}")
    if targets.dtype == torch.bool:
        raise TypeError("targets must be class indices (B,), got a boolean tensor")
    if targets.shape != images.shape[:1]:
        raise ValueError(f"targets must be ({len(images)},), got {tuple(targets.shape)}")
