"""Faithfulness metrics of one split for several methods."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import Any, NamedTuple

from torch import Tensor, nn
from torchmetrics import Metric

from learned_saliency.attribution import Classifier
from learned_saliency.metrics import (
    AverageDrop,
    AverageDropInDeletion,
    AverageGain,
    AverageIncrease,
    Deletion,
    Figure,
    Insertion,
    MaskedProbabilities,
    area_under_curves,
    declared,
    deletion_curves,
    drop,
    drop_in_deletion,
    gain,
    increase,
    insertion_curves,
    masked_probabilities,
)
from learned_saliency.trainers.scores import SPLIT_FIGURES

_BATCH = 32  # altered images in one pass of the classifier


class Trial:
    """A batch with the maps of one method, and the classifier's answers to masked images.

    Args:
        classifier: Network of images (R, 3, H, W) to logits (R, C), in evaluation mode.
        images: Shape (B, 3, H, W), as the classifier takes them.
        saliency: Maps (B, H, W) in [0, 1].
        targets: Class per image whose probability is measured, int64 (B,).
        **options: ``mean`` and ``std`` for masking to black, see `metrics.masked_probabilities`.
    """

    def __init__(
        self,
        classifier: Classifier,
        images: Tensor,
        saliency: Tensor,
        targets: Tensor,
        **options: Any,
    ) -> None:
        self._parts = (classifier, images, saliency, targets)
        self._options = {**options, "batch_size": _BATCH}

    @cached_property
    def probabilities(self) -> MaskedProbabilities:
        """Probabilities on the images, the kept and the removed regions; measured once."""
        return masked_probabilities(*self._parts, **self._options)

    def curves(self, curves: Callable[..., Tensor]) -> Tensor:
        """Measure (B, T) along `metrics.insertion_curves` or `metrics.deletion_curves`."""
        return curves(*self._parts, **self._options)


class Measurement(NamedTuple):
    """Definition of the measurement of a faithfulness metric.

    Attributes:
        metric: The metric that averages over images.
        observe: Function of a trial to the arguments of the metric's ``update``.
        term: Function of the same arguments to each image's term, float64 (B,).
        short: Abbreviation for narrow tables; None for the abbreviation that the metric declares.
    """

    metric: type[Metric]
    observe: Callable[[Trial], tuple[Tensor, ...]]
    term: Callable[..., Tensor]
    short: str | None = None

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

#: Declarations of all values of a test by name, each with the ground truth that it needs.
TEST_FIGURES: dict[str, Figure] = SPLIT_FIGURES | {
    name: measurement.figure for name, measurement in FIGURES.items()
}


class FaithfulnessScores(nn.Module):
    """Counter of the chosen faithfulness metrics of each method.

    Args:
        methods: Names of the methods.
        figures: Keys of ``FIGURES``; each costs passes of the classifier.

    Raises:
        ValueError: If a key does not exist.
    """

    def __init__(self, methods: Sequence[str], figures: Sequence[str] = ()) -> None:
        super().__init__()
        for name in figures:
            if name not in FIGURES:
                raise ValueError(f"no metric is named {name!r}; there are: {', '.join(FIGURES)}")
        self.metrics = nn.ModuleDict(
            {
                method: nn.ModuleDict({name: FIGURES[name].metric() for name in figures})
                for method in methods
            }
        )

    def update(self, method: str, trial: Trial) -> dict[str, Tensor]:
        """Count a batch of one method.

        Returns:
            Each image's terms by metric, float64 (B,).
        """
        terms = {}
        for name, metric in self.metrics[method].items():
            observed = FIGURES[name].observe(trial)
            metric.update(*observed)
            terms[name] = FIGURES[name].term(*observed)
        return terms

    def compute(self) -> dict[str, dict[str, float]]:
        """Compute the metrics by method, as fractions over all processes."""
        return {
            method: {name: float(metric.compute()) for name, metric in metrics.items()}
            for method, metrics in self.metrics.items()
        }

    def reset(self) -> None:
        """Reset all counts."""
        for metrics in self.metrics.values():
            for metric in metrics.values():
                metric.reset()
