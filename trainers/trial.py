"""A batch with the maps of one method, as the metrics of a test look at it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import IntEnum
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from learned_saliency.attribution import Classifier
from learned_saliency.metrics import (
    MaskedProbabilities,
    RoadProbabilities,
    constant_maps,
    explain_masked,
    masked_probabilities,
    road_probabilities,
)

_BATCH = 32  # altered images in one pass of the classifier

#: Keys of a batch by the ground truth that a metric needs.
TRUTH_KEYS = {"boxes": "boxes", "masks": "mask"}

#: Method that makes maps (B, H, W) in [0, 1] of images (B, 3, H, W) for the classes of a trial.
Explain = Callable[[Tensor], Tensor]


class Purpose(IntEnum):
    """Use of random numbers in a trial."""

    IMPUTED = 1
    PERTURBED = 2
    SQUARES = 3


class Trial:
    """A batch with the maps of one method, and the classifier's answers to altered images.

    Answers that several metrics read are measured once, when the first of them asks.

    A constant map counts as zeros, whatever its value, as a method would have scaled it: it keeps
    nothing of an image, and takes nothing out.

    Args:
        classifier: Network of images (R, 3, H, W) to logits (R, C), in evaluation mode.
        images: Shape (B, 3, H, W), as the classifier takes them.
        saliency: Maps (B, H, W) in [0, 1].
        targets: Class per image whose probability is measured, int64 (B,).
        explain: The method that made the maps, for metrics that explain altered images; None where
            there are maps alone.
        truth: Ground truth of the images as in a `WSOLBatch`: ``boxes``, ``mask``.
        places: Place of each image in its split, B integers, on which alone random numbers depend.
        seed: Seed of the random numbers.
        **options: ``mean`` and ``std`` for masking to black, see `metrics.masked_probabilities`.
    """

    def __init__(
        self,
        classifier: Classifier,
        images: Tensor,
        saliency: Tensor,
        targets: Tensor,
        *,
        explain: Explain | None = None,
        truth: Mapping[str, Any] | None = None,
        places: Sequence[int] | None = None,
        seed: int = 0,
        **options: Any,
    ) -> None:
        self.classifier = classifier
        self.images = images
        self.saliency = saliency.masked_fill(constant_maps(saliency)[:, None, None], 0.0)
        self.targets = targets
        self.explain = explain
        self.truth = truth or {}
        self._places = range(len(images)) if places is None else places
        self._seed = seed
        self._parts = (classifier, images, self.saliency, targets)
        self._black = options
        self._options = {**options, "batch_size": _BATCH}

    @property
    def available(self) -> frozenset[str]:
        """Needs that the trial meets: some of ``"boxes"``, ``"masks"`` and ``"method"``."""
        found = {need for need, key in TRUTH_KEYS.items() if self.truth.get(key) is not None}
        return frozenset(found | ({"method"} if self.explain is not None else set()))

    @cached_property
    def probabilities(self) -> MaskedProbabilities:
        """Probabilities on the images, the kept and the removed regions; measured once."""
        return masked_probabilities(*self._parts, **self._options)

    @cached_property
    def masked_saliency(self) -> Tensor:
        """Maps (B, H, W) that the method makes of the images multiplied by their maps."""
        if self.explain is None:
            raise ValueError("maps alone, without their method, explain no other images")
        return explain_masked(self.explain, self.images, self.saliency, **self._black)

    @cached_property
    def road(self) -> RoadProbabilities:
        """Probabilities with the most and the least relevant pixels removed, measured once."""
        generators = self.generators(Purpose.IMPUTED)
        return road_probabilities(*self._parts, generators=generators, batch_size=_BATCH)

    def measure(self, function: Callable[..., Any], **options: Any) -> Any:
        """Call a function of `metrics` with the trial's classifier, images, maps and classes.

        Args:
            function: For example `metrics.insertion_curves`.
            **options: Further arguments of the function.
        """
        return function(*self._parts, **self._options, **options)

    def generators(self, purpose: Purpose) -> list[torch.Generator]:
        """Make a generator per image, on the CPU; equal however a split is cut into batches.

        Args:
            purpose: The use of the numbers, so that two metrics do not draw the same.
        """
        made = []
        for place in self._places:
            seed = (self._seed * 1_000_003 + int(place)) * 101 + purpose
            made.append(torch.Generator().manual_seed(seed % 2**63))
        return made
