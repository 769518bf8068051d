"""CALM's maps beside its native one: further quantities of p(y, z|x) (paper 001, Sec. 4.1.3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from learned_saliency.attribution.core.classifier import Classifier
from learned_saliency.attribution.core.method import PostHocMethod, Query

PARTS = ("positive", "negative", "absolute", "difference")


class CueMaps(Protocol):
    """Distribution p(y, z|x) over classes y and cells z; a CALM's ``distribution(features)``.

    Labels are int (B,), maps (B, h, w).
    """

    def joint(self, labels: Tensor) -> Tensor:
        """Compute p(y, z|x) of one class per image."""
        ...

    def saliency(self) -> Tensor:
        """Compute p(z|x)."""
        ...

    def conditional(self, labels: Tensor) -> Tensor:
        """Compute p(y|x, z)."""
        ...

    def subset(self, members: Tensor) -> Tensor:
        """Compute p(y, z|x) summed over the members, bool (B, C), of a set of classes."""
        ...

    def counterfactual(self, labels: Tensor, others: Tensor) -> Tensor:
        """Compute p(y, z|x) - p(y', z|x)."""
        ...


class _CueMethod(PostHocMethod):
    """A map that is computed from p(y, z|x), in the one pass of the network.

    Args:
        **options: See `PostHocMethod`.

    Raises:
        ValueError: When called, if the classifier has no ``distribution(features)``.
    """

    allowed_targets: ClassVar[tuple[str, ...]] = ("logit",)  # it reads probabilities, no score
    export_obstacle = "files hold CALM's native map; its other maps are made by predict.py"

    def _cams(self, query: Query) -> Tensor:
        distribution = getattr(query.classifier, "distribution", None)
        if distribution is None:
            raise ValueError(
                "it reads p(y, z|x), which a CALM has and no other network: choose a run of "
                "model=calm"
            )
        return self._map(distribution(query.features), query)

    def _map(self, cues: CueMaps, query: Query) -> Tensor:
        """Compute the raw maps (B, h, w)."""
        raise NotImplementedError


class CALMJoint(_CueMethod):
    """Attribution p(y, z|x) of the explained class alone: the paper's s_z (Eq. 7).

    Args:
        **options: See `PostHocMethod`.
    """

    def gives_probabilities(self, classifier: Classifier) -> bool:
        """True: the raw map is p(y, z|x)."""
        return True

    def _map(self, cues: CueMaps, query: Query) -> Tensor:
        return cues.joint(query.targets)


class CALMConditional(_CueMethod):
    """Conditional attribution p(y|x, z) = p(y, z|x) / p(z|x) (Sec. 4.1.3).

    It says which class a cell would vote for, however little the cell counts: the map is mostly
    broader than p(y, z|x), and may be high where p(z|x) is nearly 0.

    Args:
        **options: See `PostHocMethod`.
    """

    def _map(self, cues: CueMaps, query: Query) -> Tensor:
        return cues.conditional(query.targets)


class CALMSaliency(_CueMethod):
    """Saliency p(z|x), the sum of p(y, z|x) over all classes; the same for every class.

    Args:
        **options: See `PostHocMethod`.
    """

    def _map(self, cues: CueMaps, query: Query) -> Tensor:
        return cues.saliency()


class CALMSubset(_CueMethod):
    """Subset attribution: p(y, z|x) summed over named classes (Sec. 4.1.3); alike for every class.

    Args:
        classes: Numbers of the classes in [0, C).
        **options: See `PostHocMethod`.

    Raises:
        ValueError: When called, if there are no classes, or one is none of the network's.
    """

    def __init__(self, classes: Sequence[int] | None = None, **options: str) -> None:
        super().__init__(**options)
        self.classes = list(classes or [])

    def gives_probabilities(self, classifier: Classifier) -> bool:
        """True: the raw map is a probability of a cell and a set of classes."""
        return True

    def _map(self, cues: CueMaps, query: Query) -> Tensor:
        if not self.classes:
            raise ValueError("it sums over classes that are to be named, classes=[...]")
        _check_classes(self.classes, query)
        members = torch.zeros_like(query.logits, dtype=torch.bool)
        members[:, self.classes] = True
        return cues.subset(members)


class CALMCounterfactual(_CueMethod):
    """Counterfactual attribution p(y, z|x) - p(y', z|x): why y and not y' (Sec. 4.1.3).

    Args:
        classes: Numbers of the classes: y and y', for all images; or y' alone, with the explained
            class as y; None for the explained class and the most probable other class.
        part: Part of the difference that the map shows: ``"positive"``, what speaks for y more
            than for y'; ``"negative"``, the other way around; ``"absolute"``, as in Sec. 5.2; or
            the ``"difference"`` itself, whose 0 is no color of its own once the map is normalized.
        **options: See `PostHocMethod`.

    Raises:
        ValueError: If there are more than two classes, twice the same, or ``part`` is unknown; when
            called, if a class is none of the network's.
    """

    def __init__(
        self, classes: Sequence[int] | None = None, part: str = "positive", **options: str
    ) -> None:
        super().__init__(**options)
        self.classes = list(classes or [])
        if len(self.classes) > 2 or len(set(self.classes)) < len(self.classes):
            raise ValueError(f"classes must be one or two different ones, got {self.classes}")
        if part not in PARTS:
            raise ValueError(f"part must be one of {PARTS}, got {part!r}")
        self.part = part

    def _map(self, cues: CueMaps, query: Query) -> Tensor:
        _check_classes(self.classes, query)
        first, second = self._pair(query)
        difference = cues.counterfactual(first, second)
        if self.part == "difference":
            return difference
        if self.part == "absolute":
            return difference.abs()
        return (difference if self.part == "positive" else -difference).relu()

    def _pair(self, query: Query) -> tuple[Tensor, Tensor]:
        """Return y and y', int64 (B,) each."""
        targets = query.targets
        if not self.classes:
            others = query.logits.detach().scatter(1, targets[:, None], -torch.inf)
            return targets, others.argmax(1)
        *first, second = (torch.full_like(targets, number) for number in self.classes)
        return (first[0] if first else targets), second


def _check_classes(classes: Sequence[int], query: Query) -> None:
    """Raise ValueError if a class is none of the network's."""
    count = query.logits.shape[1]
    wrong = [number for number in classes if not 0 <= number < count]
    if wrong:
        raise ValueError(f"classes must be in [0, {count}), got {wrong[0]}")
