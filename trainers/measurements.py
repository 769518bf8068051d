"""Measurements of the faithfulness metrics, by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor
from torchmetrics import Metric

from learned_saliency.metrics import (
    ADCC,
    AOPC,
    ARCC,
    ROAD_FRACTIONS,
    AverageDrop,
    AverageDropInDeletion,
    AverageGain,
    AverageIncrease,
    Coherency,
    CropSaliency,
    Deletion,
    Figure,
    Infidelity,
    Insertion,
    L1Complexity,
    MaxSensitivity,
    Road,
    RoadLeRF,
    RoadMoRF,
    adcc,
    arcc,
    area_over_curves,
    area_under_curves,
    coherency,
    crop_probabilities,
    crop_saliency,
    declared,
    deletion_curves,
    drop,
    drop_in_deletion,
    gain,
    increase,
    infidelity,
    insertion_curves,
    l1_complexity,
    max_sensitivity,
    noise_changes,
    region_curves,
    remove_squares,
    road,
    road_lerf,
    road_morf,
)
from learned_saliency.trainers.trial import Purpose, Trial

_ARCC = (0.2, 0.4, 0.6, 0.8)  # parts of the pixels that are removed for ARCC


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
    observe: Callable[[Trial], tuple[Any, ...]]
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


def _coherent(trial: Trial) -> tuple[Tensor, ...]:
    return trial.saliency, trial.masked_saliency


def _adcc(trial: Trial) -> tuple[Tensor, ...]:
    return *_kept(trial), *_coherent(trial)


def _arcc(trial: Trial) -> tuple[Any, ...]:
    return trial.road.at([ROAD_FRACTIONS.index(part) for part in _ARCC]), *_coherent(trial)


def _noisy(trial: Trial) -> tuple[Tensor, ...]:
    generators = trial.generators(Purpose.PERTURBED)
    return (noise_changes(trial.explain, trial.images, trial.saliency, generators=generators),)


def _squares(trial: Trial) -> tuple[Any, ...]:
    generators = trial.generators(Purpose.SQUARES)
    clean = trial.probabilities.p
    return (trial.measure(remove_squares, generators=generators, clean=clean),)


def _by(function: Callable[..., Any], **options: Any) -> Callable[[Trial], tuple[Any, ...]]:
    return lambda trial: (trial.measure(function, **options),)


#: The metrics by name, with two definitions of insertion and deletion: App. B.1 of paper 000, 224
#: steps from a blurred image (or, ``insertion_zero``, from nothing), and Sec. 4.3.2 of paper 002,
#: by percentiles of 2.5 % from nothing.
FIGURES: dict[str, Measurement] = {
    "average_drop": Measurement(AverageDrop, _kept, drop),
    "average_increase": Measurement(AverageIncrease, _kept, increase),
    "average_gain": Measurement(AverageGain, _kept, gain),
    "average_drop_in_deletion": Measurement(AverageDropInDeletion, _removed, drop_in_deletion),
    "insertion": Measurement(Insertion, _by(insertion_curves), area_under_curves),
    "insertion_zero": Measurement(
        Insertion, _by(insertion_curves, start="zero"), area_under_curves
    ),
    "deletion": Measurement(Deletion, _by(deletion_curves), area_under_curves),
    "insertion_percentile": Measurement(
        Insertion, _by(insertion_curves, start="zero", steps=40), area_under_curves, "ins_perc"
    ),
    "deletion_percentile": Measurement(
        Deletion, _by(deletion_curves, steps=40), area_under_curves, "del_perc"
    ),
    "aopc": Measurement(AOPC, _by(region_curves), area_over_curves),
    "road": Measurement(Road, lambda trial: (trial.road,), road),
    "road_morf": Measurement(RoadMoRF, lambda trial: (trial.road,), road_morf),
    "road_lerf": Measurement(RoadLeRF, lambda trial: (trial.road,), road_lerf),
    "infidelity": Measurement(Infidelity, _squares, infidelity),
    "crop_saliency": Measurement(CropSaliency, _by(crop_probabilities), crop_saliency),
    "max_sensitivity": Measurement(MaxSensitivity, _noisy, max_sensitivity, needs_method=True),
    "coherency": Measurement(Coherency, _coherent, coherency, needs_method=True),
    "l1_complexity": Measurement(L1Complexity, lambda trial: (trial.saliency,), l1_complexity),
    "adcc": Measurement(ADCC, _adcc, adcc, needs_method=True),
    "arcc": Measurement(ARCC, _arcc, arcc, needs_method=True),
}
