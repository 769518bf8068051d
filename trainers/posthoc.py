"""Module for post-hoc methods on a classifier from outside this project."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from learned_saliency.attribution import Classifier, SharedFeatures
from learned_saliency.ops import Activation
from learned_saliency.trainers.base import SaliencyModule
from learned_saliency.trainers.outputs import ClassMaps, GivenMaps, choose_classes


class PostHocModule(SaliencyModule):
    """Module that tests and predicts with post-hoc methods on any classifier, without training.

    There is no native map; predicted boxes come from the first method. Without methods it tests
    given maps, with any network of images to logits (B, C).

    A classifier may give scores that are no classes, see ``outputs`` of `attribution.split`. A
    label is then the index of a score, and metrics that need classes are left out.

    Args:
        classifier: A classifier, e.g. ``attribution.split(network, layer)``. What it declares as
            ``activation`` counts, whatever the task.
        **options: See `SaliencyModule`; ``methods`` or ``given`` must name at least one.

    Raises:
        ValueError: If there is neither a method nor a given map, or faithfulness metrics are asked
            for of scores that are no classes.
    """

    def __init__(self, *, classifier: nn.Module, **options: Any) -> None:
        super().__init__(network=classifier, optimizer=_untrained, **options)
        if not self.map_names:
            raise ValueError("a classifier without a map of its own needs at least one method")
        if options.get("faithfulness") and not self.has_classes:
            raise ValueError(
                "faithfulness metrics watch a class's probability: there are no classes"
            )

    @property
    def classifier(self) -> Classifier:
        """The given classifier."""
        return self.network

    def _declare_activation(self) -> None:
        """Leave the given classifier's own declaration."""

    @property
    def has_classes(self) -> bool:
        """False if scores are values, or a function makes them of the network's output."""
        values = self.activation is Activation.IDENTITY
        return not values and getattr(self.network, "outputs", None) is None

    @property
    def native(self) -> None:
        """None: this module has no native map."""
        return None

    @property
    def map_names(self) -> list[str]:
        """The post-hoc methods and given maps."""
        return [*self.methods, *self.given]

    def maps(
        self, images: Tensor, labels: Tensor | None, names: Iterable[str] | None = None
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Compute the methods' maps and logits, from one pass; see `SaliencyModule.maps`."""
        if not self.methods or names == []:
            with torch.no_grad():
                return {}, self.classifier(images)
        shared = SharedFeatures(self.classifier, images)
        with torch.no_grad():
            logits = shared(images)
        targets = self.known_targets(labels, logits)
        return self.post_hoc_maps(shared, images, targets, names), logits

    @torch.no_grad()
    def explain_classes(
        self,
        images: Tensor,
        targets: Tensor | None = None,
        top_k: int = 1,
        present: float | None = None,
    ) -> ClassMaps:
        """Compute maps of several classes by the methods; see `SaliencyModule.explain_classes`."""
        shared = SharedFeatures(self.classifier, images)
        logits = shared(images)
        if targets is None:
            targets = choose_classes(logits, top_k, present, self.activation)
        return ClassMaps(logits, targets, self.post_hoc_of_classes(shared, images, targets))


class MapsModule(SaliencyModule):
    """Module that tests given maps alone, without any classifier.

    Metrics that need classes or a classifier are left out; a map explains whatever it explains.

    Args:
        given: Sources of the maps by name; at least one.
        **options: See `SaliencyModule`.

    Raises:
        ValueError: If there is no source.
    """

    def __init__(self, *, given: Mapping[str, GivenMaps], **options: Any) -> None:
        super().__init__(network=nn.Identity(), optimizer=_untrained, given=given, **options)
        if not given:
            raise ValueError("there are no maps to test: name a source")

    @property
    def classifier(self) -> nn.Module:
        """A stand-in, which no metric of maps alone asks."""
        return self.network

    @property
    def has_classes(self) -> bool:
        """False: there is no classifier."""
        return False

    @property
    def has_scores(self) -> bool:
        """False: there is no classifier."""
        return False

    @property
    def native(self) -> None:
        """None: this module has no native map."""
        return None

    @property
    def map_names(self) -> list[str]:
        """The given maps."""
        return list(self.given)

    @staticmethod
    def known_targets(labels: Tensor | None, logits: Tensor) -> Tensor:
        """Return zeros (B,): no class of a classifier is explained."""
        return logits.argmax(1)

    def maps(
        self, images: Tensor, labels: Tensor | None, names: Iterable[str] | None = None
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Return no maps, and logits of a single class, which say nothing."""
        return {}, images.new_zeros(len(images), 1)


def _untrained(*args: Any) -> NoReturn:
    raise TypeError("a classifier under post-hoc methods is not trained")
