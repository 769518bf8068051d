"""Base of all post-hoc methods: one backbone pass, targets, resizing and normalization."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor, nn

from learned_saliency.attribution.core.affine import is_affine
from learned_saliency.attribution.core.classifier import Classifier, encode, frozen, of_rows
from learned_saliency.attribution.core.maps import INTERPOLATIONS, normalize, resize
from learned_saliency.attribution.core.outputs import NoGradientError
from learned_saliency.attribution.core.recording import is_recorded
from learned_saliency.attribution.core.targets import TARGETS
from learned_saliency.ops import full_precision, widen


class Query:
    """One batch to explain, as a method sees it. Everything is computed on first use, once.

    Methods get it while the classifier is frozen and autograd is off; `gradients` turns it on for
    itself. Numbers are at least float32: half-precision activations are widened here, and narrowed
    again for a head whose weights are of half precision. Under autocast, which leaves the weights
    in float32, the head runs in float32: methods look at differences of its logits that half
    precision would round away. Runs of the whole network keep the caller's precision.

    Args:
        classifier: A `Classifier`.
        images: Shape (B, 3, H, W).
        targets: Classes to explain, int (B,), or None for the predicted ones.
        needs_gradients: Whether `logits` must carry a graph to the activations.
        target: Score of the class that is explained, a word of `TARGETS`.

    Attributes:
        classifier: As given; ``classifier(images)`` is the full network.
        images: As given, detached.
        given_images: The very tensor that was given, by which `SharedFeatures` recognizes its
            batch.
    """

    def __init__(
        self,
        classifier: Classifier,
        images: Tensor,
        targets: Tensor | None,
        needs_gradients: bool,
        target: str = "logit",
    ) -> None:
        self.classifier = classifier
        self.images = images.detach()
        self.given_images = images
        self._given_targets = targets
        self._needs_gradients = needs_gradients
        self._target = target

    @cached_property
    def _encoded(self) -> tuple[Tensor, torch.dtype]:
        """Activations, at least float32, and the type in which the head takes them."""
        with torch.no_grad():
            features, self._bound_head = encode(self.classifier, self.given_images)
        if not isinstance(features, Tensor) or features.dim() != 4:
            got = getattr(features, "shape", type(features).__name__)
            raise ValueError(f"expected features (B, K, h, w), got {tuple(got)}")
        if features.shape[0] != self.images.shape[0]:
            raise ValueError(f"{len(self.images)} images gave features of {len(features)}")
        dtype = features.dtype
        features = widen(features.detach())
        if all(widen(weight).dtype == weight.dtype for weight in self.classifier.parameters()):
            dtype = features.dtype  # autocast narrowed the activations, not the weights
        if features.is_inference():
            features = features.clone()
        return features, dtype

    @property
    def features(self) -> Tensor:
        """Activations A of shape (B, K, h, w), detached."""
        return self._encoded[0]

    @cached_property
    def _leaf(self) -> Tensor:
        return self.features.detach().requires_grad_(self._needs_gradients)

    def head(self, features: Tensor, rows: Tensor | None = None) -> Tensor:
        """Run the classifier's head alone.

        Args:
            features: Variants of `features`, shape (R, K, h, w).
            rows: For each row of features the image that it is a variant of, int (R,), values in
                [0, B); default: one per image, in order, R = B.

        Returns:
            Logits (R, C).
        """
        dtype = self._encoded[1]
        wide = dtype == widen(features).dtype
        with full_precision(features.device) if wide else nullcontext():
            logits = self._bound_head(features.to(dtype), rows)
        if logits.dim() != 2 or logits.shape[0] != features.shape[0]:
            raise ValueError(
                f"expected logits ({len(features)}, C) from the head, got {tuple(logits.shape)}"
            )
        return widen(logits)

    def scores(self, features: Tensor, rows: Tensor | None = None) -> Tensor:
        """Run `head`, but return only the score to explain of each row, shape (R,)."""
        return self._select(self.head(features, rows), rows)

    def run(self, images: Tensor, rows: Tensor | None = None) -> Tensor:
        """Run the whole network on variants of the images, in the caller's precision.

        Args:
            images: Shape (R, 3, H, W).
            rows: For each of them the image that it is a variant of, int (R,), values in [0, B);
                default: one per image, in order.

        Returns:
            Logits (R, C), at least float32.
        """
        return widen(of_rows(self.classifier, rows)(images))

    def image_scores(self, images: Tensor, rows: Tensor | None = None) -> Tensor:
        """Run `run`, but return only the score to explain of each row, shape (R,)."""
        return self._select(self.run(images, rows), rows)

    def of_variants(self, images: Tensor, rows: Tensor) -> "Query":
        """Return the query of variants (R, 3, H, W) of the images, with their targets.

        Args:
            images: The variants.
            rows: See `run`.
        """
        classifier = of_rows(self.classifier, rows)
        targets = self.targets[rows]
        return Query(classifier, images, targets, self._needs_gradients, self._target)

    def _select(self, logits: Tensor, rows: Tensor | None = None) -> Tensor:
        """Compute the scores to explain (R,) of logits (R, C)."""
        targets = self.targets if rows is None else self.targets[rows]
        return TARGETS[self._target](logits, targets)

    @cached_property
    def logits(self) -> Tensor:
        """Logits (B, C) of the images; with a graph to the activations if the method asked."""
        with torch.set_grad_enabled(self._needs_gradients):
            return self.head(self._leaf)

    @property
    def score(self) -> Tensor:
        """Score to explain of each image, shape (B,); with a graph as `logits` has it."""
        with torch.set_grad_enabled(self._needs_gradients):
            return self._select(self.logits)

    @cached_property
    def targets(self) -> Tensor:
        """Classes to explain, int64 (B,): the given ones, else the predicted ones."""
        if self._given_targets is None:
            return self.logits.detach().argmax(dim=1)
        targets = self._given_targets.to(self.images.device, torch.int64)
        if is_recorded():  # a graph cannot raise
            return targets
        classes = self.logits.shape[1]
        if not bool(((targets >= 0) & (targets < classes)).all()):
            raise ValueError(f"targets must be in [0, {classes}), got {targets.tolist()}")
        return targets

    @cached_property
    def gradients(self) -> Tensor:
        """Gradient of each image's score to explain by its activations, shape (B, K, h, w).

        The backward pass runs through the head alone, and reaches no parameter.
        """
        return self.gradients_of(self._target)

    def gradients_of(self, target: str) -> Tensor:
        """Compute `gradients` of another score, a word of `TARGETS`."""
        with torch.enable_grad():
            selected = TARGETS[target](self.logits, self.targets).sum()
        with full_precision(self._leaf.device):
            (gradients,) = torch.autograd.grad(selected, self._leaf, retain_graph=True)
        return gradients

    @cached_property
    def linear_contributions(self) -> Tensor | None:
        """Each channel's share of the score, (B, K), if that is affine in them, else None.

        The sum over positions of gradient times activation. For an affine head this is exactly
        F(A) - F(A without channel k), and the Shapley value of the channel; see `is_affine`. It
        is None in inference mode, too, where the head cannot be examined.
        """
        if torch.is_inference_mode_enabled():
            return None
        with torch.enable_grad():
            leaf = self.features.detach().requires_grad_()
            try:
                scores = self.scores(leaf)
            except NoGradientError:
                return None
        if not is_affine(scores):
            return None
        with full_precision(leaf.device):
            (gradients,) = torch.autograd.grad(scores, leaf, torch.ones_like(scores))
        return (gradients * leaf.detach()).sum(dim=(2, 3))


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
            other logit. The logits are those that the classifier gives, or the scores that
            ``outputs`` of `attribution.split` puts in their place.

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

    def __init__(self, *, interpolation: str = "bilinear", target: str = "logit") -> None:
        if interpolation not in INTERPOLATIONS:
            raise ValueError(f"interpolation must be one of {INTERPOLATIONS}: {interpolation!r}")
        if target not in TARGETS:
            raise ValueError(f"target must be one of {tuple(TARGETS)}: {target!r}")
        if target not in self.allowed_targets:
            raise ValueError(
                f"{type(self).__name__} explains the {' or '.join(self.allowed_targets)}, not the "
                f"{target}; GradCAM takes any target"
            )
        self.interpolation = interpolation
        self.target = target

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
            Saliency maps (B, H, W) in [0, 1], minimum 0 and maximum 1 in each image, all zeros
            where a map is constant; float32, or float64 for a float64 classifier.

        Raises:
            TypeError: If an argument is of the wrong type.
            ValueError: If a shape, device or class does not fit, or the map is not finite.
            RuntimeError: If the method needs gradients and is called in inference mode.
        """
        with self._query(classifier, images, targets) as query:
            maps = resize(widen(self._cams(query)), images.shape[-2:], self.interpolation)
            return normalize(maps)

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
    """

    rectify = True

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

    def _coefficients(self, query: Query) -> Tensor:
        """Compute the channel weights (B, K) of a query."""
        raise NotImplementedError

    def _cams(self, query: Query) -> Tensor:
        coefficients = self._coefficients(query)
        with full_precision(query.features.device):
            maps = torch.einsum("bk,bkhw->bhw", coefficients, query.features)
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
