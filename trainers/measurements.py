"""Measurements of the faithfulness metrics, by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from torch import Tensor
from torchmetrics import Metric

from learned_saliency.metrics import (
    AverageDrop,
    AverageDropInDeletion,
    AverageGain,
    AverageIncrease,
    Deletion,
    Figure,
    Insertion,
    area_under_curves,
    declared,
    deletion_curves,
    drop,
    drop_in_deletion,
    gain,
    increase,
    insertion_curves,
)
from learned_saliency.trainers.trial import Trial


class Measurement(NamedTuple):
    """Definition of the measurement of a faithfulness metric.

    Attributes:
        metric: The metric that averages over images.
        observe: Function of a trial to the arguments of the metric's ``update``.
        term: Function of the same arguments to each image's term, float64 (B,).
        short: Abbreviation for narrow tables; None for the abbreviation that the metric declares.
        needs_method: Whether altered images are explained, too, which maps of a folder cannot be.
    """

    metric: type[Metric]
    observe: Callable[[Trial], tuple[Tensor, ...]]
    term: Callable[..., Tensor]
    short: str | None = None
    needs_method: bool = False

    @property
    def needs(self) -> frozenset[str]:
        """Needs beside maps and classifier; see `Trial.available`."""
        return self.metric.needs | ({"method"} if self.needs_method else set())

    @property
    def figure(self) -> Figure:
        """Declaration of the metric's single value."""
        (figure,) = declared(self.metric).values()
        return figure if self.short is None else figure._replace(short=self.short)


def _kept(trial: Trial) -> tuple[Tensor, ...]:
    return trial.probabilities.p, trial.probabilities.o


def _removed(trial: Trial) -> tuple[Tensor, ...]:
    return trial.probabilities.p, trial.probabilities.d


def _along(curves: Callable[..., Tensor], **options: Any) -> Callable[[Trial], tuple[Tensor, ...]]:
    return lambda trial: (trial.curves(partial(curves, **options)),)


#: The metrics by name, with two definitions of insertion and deletion: App. B.1 of paper 000, 224
#: steps from a blurred image (or, ``insertion_zero``, from nothing), and Sec. 4.3.2 of paper 002,
#: by percentiles of 2.5 % from nothing.
FIGURES: dict[str, Measurement] = {
    "average_drop": Measurement(AverageDrop, _kept, drop),
    "average_increase": Measurement(AverageIncrease, _kept, increase),
    "average_gain": Measurement(AverageGain, _kept, gain),
    "average_drop_in_deletion": Measurement(AverageDropInDeletion, _removed, drop_in_deletion),
    "insertion": Measurement(Insertion, _along(insertion_curves), area_under_curves),
    "insertion_zero": Measurement(
        Insertion, _along(insertion_curves, start="zero"), area_under_curves
    ),
    "deletion": Measurement(Deletion, _along(deletion_curves), area_under_curves),
    "insertion_percentile": Measurement(
        Insertion, _along(insertion_curves, start="zero", steps=40), area_under_curves, "ins_perc"
    ),
    "deletion_percentile": Measurement(
        Deletion, _along(deletion_curves, steps=40), area_under_curves, "del_perc"
    ),
}
