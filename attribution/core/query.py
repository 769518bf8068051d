"""One batch to explain, as a post-hoc method sees it."""

from contextlib import nullcontext
from functools import cached_property, partial

import torch
from torch import Tensor

from learned_saliency.attribution.core.affine import is_affine
from learned_saliency.attribution.core.classifier import Classifier, encode, of_rows
from learned_saliency.attribution.core.outputs import NoGradientError
from learned_saliency.attribution.core.recording import is_recorded
from learned_saliency.attribution.core.targets import (
    TARGETS,
    Score,
    centered_logit,
    check_centered,
)
from learned_saliency.ops import Activation, activation_of, full_precision, widen


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
    def activation(self) -> Activation:
        """Function of the logits to probabilities, as the classifier declares it."""
        return activation_of(self.classifier)

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

    def own_targets(self, logits: Tensor, rows: Tensor | None = None) -> Tensor:
        """Return the classes to explain (R,), as logits of the images themselves name them.

        They are those of `targets`, without the run of the head that those may cost.

        Args:
            logits: Shape (R, C), of the images ``rows``, unaltered.
            rows: Index of the image of each row, int (R,); default: one per image, in order.

        Raises:
            ValueError: If a class is not in [0, C).
        """
        if self._given_targets is None:
            return logits.detach().argmax(dim=1)
        targets = self._given_targets if rows is None else self._given_targets[rows]
        return self._checked(targets, logits.shape[1])

    def own_scores(self, logits: Tensor) -> Tensor:
        """Compute the scores to explain (B,) of logits (B, C) of the images, see `own_targets`."""
        return self.class_scores(logits, self.own_targets(logits)[:, None])[:, 0]

    def class_scores(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Compute the scores to explain (R, T) of logits (R, C) and classes (R, T)."""
        score, activation = TARGETS[self._target], self.activation
        columns = [score(logits, column, activation) for column in targets.unbind(1)]
        return torch.stack(columns, dim=1)

    def of_variants(self, images: Tensor, rows: Tensor) -> "Query":
        """Return the query of variants (R, 3, H, W) of the images, with their targets.

        Args:
            images: The variants.
            rows: See `run`.
        """
        classifier = of_rows(self.classifier, rows)
        targets = self.targets[rows]
        return Query(classifier, images, targets, self._needs_gradients, self._target)

    def of_classes(self, rows: Tensor, targets: Tensor) -> "Query":
        """Return the query of some of the images, each for a class of its own.

        The activations that are there are taken, and no pass of the network is made.

        Args:
            rows: Index of an image for each class, int (R,), values in [0, B); any may repeat.
            targets: Classes, int64 (R,), as `checked` gives them.
        """
        features, dtype = self._encoded
        head = self._bound_head
        classifier = of_rows(self.classifier, rows)
        query = Query(classifier, self.images[rows], targets, self._needs_gradients, self._target)
        query.targets = targets
        query._encoded = features[rows], dtype
        query._bound_head = lambda given, own=None: head(given, rows if own is None else rows[own])
        return query

    def _select(self, logits: Tensor, rows: Tensor | None = None) -> Tensor:
        """Compute the scores to explain (R,) of logits (R, C)."""
        targets = self.targets if rows is None else self.targets[rows]
        return TARGETS[self._target](logits, targets, self.activation)

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
        return self.checked(self._given_targets)

    def checked(self, targets: Tensor) -> Tensor:
        """Return classes of any shape as int64 on the device of the images.

        Raises:
            ValueError: If a class is not in [0, C).
        """
        if is_recorded():  # a graph cannot raise
            return targets.to(self.images.device, torch.int64)
        return self._checked(targets, self.logits.shape[1])

    def _checked(self, targets: Tensor, classes: int) -> Tensor:
        targets = targets.to(self.images.device, torch.int64)
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
        return self.gradients_by(partial(TARGETS[target], activation=self.activation))

    @property
    def centered_gradients(self) -> Tensor:
        """The `gradients` of the logit of the class minus the mean of all classes' logits.

        Raises:
            ValueError: If classes cannot be compared, see `check_centered`.
        """
        check_centered(self.logits, self.activation)
        return self.gradients_by(centered_logit)

    def gradients_by(self, score: Score) -> Tensor:
        """Compute `gradients` of a score that is a function of the logits and the classes."""
        with torch.enable_grad():
            selected = score(self.logits, self.targets).sum()
        with full_precision(self._leaf.device):
            (gradients,) = torch.autograd.grad(selected, self._leaf, retain_graph=True)
        return gradients

    @cached_property
    def affine_derivative(self) -> tuple[Tensor, Tensor] | None:
        """Derivative of the score and what it leaves, if the score is affine, else None.

        With F(A) the score, these are its gradient (B, K, h, w) and F(0), shape (B,), so that F of
        any activations is the sum of their products with the gradient, plus F(0); see `is_affine`.
        It is None in inference mode, too, where the head cannot be examined.
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
        rest = scores.detach() - (gradients * leaf.detach()).sum(dim=(1, 2, 3))
        return gradients, rest

    @property
    def linear_contributions(self) -> Tensor | None:
        """Each channel's share of the score, (B, K), if that is affine in them, else None.

        The sum over positions of gradient times activation. For an affine head this is exactly
        F(A) - F(A without channel k), and the Shapley value of the channel; see
        `affine_derivative`.
        """
        if self.affine_derivative is None:
            return None
        return (self.affine_derivative[0] * self.features).sum(dim=(2, 3))
