"""The classifier contract of the room, and how a method holds a classifier while it works."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from learned_saliency.ops import Activation, activation_of

#: ``head(features, rows=None) -> logits``: ``rows`` (R,) names for each row of ``features``
#: (R, K, h, w) the image that it is a variant of; ``None`` means one row per image, in order.
Head = Callable[..., Tensor]


@runtime_checkable
class Classifier(Protocol):
    """Interface that every method of this room is written against; an ``nn.Module`` implements it.

    ``classifier(images)`` equals ``classifier.head(classifier.features(images))``.

    Four optional methods are used where a classifier offers them: ``encode(images)``, see
    `encode`, ``of_rows(rows)``, see `of_rows`, ``cams(features, targets)``, see `attribution.CAM`,
    and ``distribution(features)``, p(y, z|x), see `attribution.calm`. A classifier with ``cams``
    declares beside it, as ``cams_are_probabilities``, whether these are p(y, z|x) instead of scores
    of any range. One whose classes do not exclude each other declares so as ``activation``, see
    `Activation`.
    """

    def features(self, images: Tensor) -> Tensor:
        """Map images (B, 3, H, W) to activations A of shape (B, K, h, w)."""
        ...

    def head(self, features: Tensor) -> Tensor:
        """Map activations (B, K, h, w) to logits (B, C)."""
        ...

    def __call__(self, images: Tensor) -> Tensor:
        """Map images (B, 3, H, W) to logits (B, C)."""
        ...


def encode(classifier: Classifier, images: Tensor) -> tuple[Tensor, Head]:
    """Run the backbone once and return the activations with the head that belongs to them.

    A classifier whose logits depend on more than the activations (a class token, a skip
    connection around the layer) offers ``encode`` itself and returns a head that holds the rest.
    For all other classifiers the head is ``classifier.head``.

    Args:
        classifier: A `Classifier`.
        images: Shape (B, 3, H, W).

    Returns:
        Activations (B, K, h, w), and a function ``head(features, rows=None) -> logits`` of
        features (R, K, h, w) to logits (R, C), see `Head`.
    """
    own = getattr(classifier, "encode", None)
    if own is not None:
        return own(images)

    def head(features: Tensor, rows: Tensor | None = None) -> Tensor:
        return classifier.head(features)

    return classifier.features(images), head


def of_rows(classifier: Classifier, rows: Tensor | None) -> Classifier:
    """Return the classifier for variants of the images of a batch.

    A classifier that holds inputs for each image of a batch beside the images (a question) offers
    ``of_rows(rows)`` itself, the classifier for images of which row r is a variant of image
    ``rows[r]``. All others take any images as they are.

    Args:
        classifier: A `Classifier`.
        rows: Index of an image for each variant, int (R,); None for the images themselves.
    """
    own = getattr(classifier, "of_rows", None)
    return classifier if own is None or rows is None else own(rows)


@contextmanager
def frozen(classifier: nn.Module) -> Iterator[None]:
    """Hold a module in evaluation mode with frozen parameters, then put it back as found.

    Every submodule's mode and every parameter's ``requires_grad`` is restored, also after an
    exception. Gradients already stored in ``.grad`` are not touched.

    Args:
        classifier: The module to hold.
    """
    training = [module for module in classifier.modules() if module.training]
    trainable = [weight for weight in classifier.parameters() if weight.requires_grad]
    try:
        for module in training:
            module.training = False
        for weight in trainable:
            weight.requires_grad_(False)
        yield
    finally:
        for module in training:
            module.training = True
        for weight in trainable:
            weight.requires_grad_(True)


class SharedFeatures(nn.Module):
    """A classifier that remembers the activations of one batch.

    Ten methods that explain the same batch then cost one backbone pass:
    ``shared = SharedFeatures(classifier, images)``, then ``method(shared, images, targets)``
    for each. Other images (a masked or a noisy copy) go to the classifier as usual.

    Args:
        classifier: The `Classifier` to stand in for.
        images: The batch, shape (B, 3, H, W). It is recognized by identity (``is``), so the same
            tensor must be handed to the methods, and must not be modified meanwhile.
        features: Activations (B, K, h, w) of the batch if they are there already; by default they
            are computed here, in evaluation mode and without gradients. A classifier made by
            `attribution.core.split` knows the head of those that its last pass returned; where its
            head reads more than them, those of an earlier pass are computed again.

    Raises:
        TypeError: If ``features`` is given for a classifier that has ``encode`` alone.
    """

    def __init__(
        self, classifier: nn.Module, images: Tensor, features: Tensor | None = None
    ) -> None:
        super().__init__()
        self.classifier = classifier
        self._images = images
        known = getattr(classifier, "head_of", None)
        head = None if known is None or features is None else known(features)
        if head is not None:
            self._encoded = features, head
        elif features is None or known is not None:
            with frozen(classifier), torch.no_grad():
                self._encoded = encode(classifier, images)
        elif hasattr(classifier, "encode"):
            raise TypeError(
                f"{type(classifier).__name__} has an encode() whose head goes with the pass that "
                "made the features: call SharedFeatures(classifier, images) without features"
            )
        else:
            self._encoded = features, lambda features, rows=None: classifier.head(features)
        for own in ("cams", "distribution"):
            if hasattr(classifier, own):
                setattr(self, own, getattr(classifier, own))

    @property
    def activation(self) -> Activation:
        """Function of the logits to probabilities, that of the classifier."""
        return activation_of(self.classifier)

    @property
    def cams_are_probabilities(self) -> bool:
        """True if the classifier declares its ``cams`` as p(y, z|x)."""
        return self.classifier.cams_are_probabilities

    def encode(self, images: Tensor) -> tuple[Tensor, Head]:
        """Return the stored activations and their head for the stored images, see `encode`."""
        return self._encoded if images is self._images else encode(self.classifier, images)

    def features(self, images: Tensor) -> Tensor:
        """Map images (B, 3, H, W) to activations (B, K, h, w); free for the stored batch."""
        return self.encode(images)[0]

    def head(self, features: Tensor) -> Tensor:
        """Map activations of the stored batch, (B, K, h, w), to logits (B, C)."""
        return self._encoded[1](features)

    def of_rows(self, rows: Tensor) -> Classifier:
        """Return the classifier for variants of the stored images, see `of_rows`."""
        return of_rows(self.classifier, rows)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, 3, H, W) to logits (B, C); only the head runs for the stored batch."""
        if images is self._images and not torch.is_grad_enabled():
            return self.head(self._encoded[0])
        return self.classifier(images)
