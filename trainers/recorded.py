"""Module that tests recorded maps again, without the network that they explain."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NoReturn

from torch import Tensor, nn

from learned_saliency.datamodules import WSOLBatch
from learned_saliency.ops import Activation
from learned_saliency.trainers.base import SaliencyModule
from learned_saliency.trainers.outputs import TestOutput, known_targets


class RecordedModule(SaliencyModule):
    """Module whose maps and logits were computed before: a test scores them as the first test did.

    Metrics that need passes of the network are left out.

    Args:
        names: Names of the methods.
        has_classes: Whether the logits are of classes.
        has_scores: Whether there was a classifier.
        explained: Class that the maps explain, see `SaliencyModule`.
        box_threshold: Threshold of the predicted boxes, in [0, 1).
        activation: Function of the logits to probabilities.
        values: Number of values of an image that the logits tell; 0 for none.
    """

    def __init__(
        self,
        names: Sequence[str],
        *,
        has_classes: bool,
        has_scores: bool,
        explained: str,
        box_threshold: float,
        activation: Activation = Activation.SOFTMAX,
        values: int = 0,
    ) -> None:
        self._names = list(names)  # asked by the constructor below
        self._classes, self._scores = has_classes, has_scores
        self._recorded: tuple[dict[str, Tensor], Tensor] | None = None
        self._activation = activation
        super().__init__(network=nn.Identity(), optimizer=_untrained, explained=explained)
        self.box_threshold.fill_(box_threshold)
        if values:
            self.test_scores.expect_values(values)

    @property
    def classifier(self) -> nn.Module:
        """A stand-in, which no metric of maps alone asks."""
        return self.network

    @property
    def activation(self) -> Activation:
        """Function of the recorded logits to probabilities."""
        return self._activation

    @property
    def has_classes(self) -> bool:
        """Tell whether the logits are of classes."""
        return self._classes

    @property
    def has_scores(self) -> bool:
        """Tell whether there was a classifier."""
        return self._scores

    @property
    def native(self) -> None:
        """None: nothing is computed."""
        return None

    @property
    def map_names(self) -> list[str]:
        """The recorded methods."""
        return self._names

    def known_targets(self, labels: Tensor | None, logits: Tensor) -> Tensor:  # type: ignore[override]
        """Return the classes that were explained, int64 (B,); zeros without a classifier."""
        return known_targets(labels if self._scores else None, logits)

    def test_recorded(
        self, maps: Mapping[str, Tensor], logits: Tensor, batch: WSOLBatch
    ) -> TestOutput:
        """Score recorded maps (B, H, W) by method with recorded logits (B, C)."""
        self._recorded = dict(maps), logits
        return self.test_step(batch, 0)

    def maps(
        self, images: Tensor, labels: Tensor | None, names: Iterable[str] | None = None
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Return the recorded maps and logits of the batch."""
        if self._recorded is None:
            raise RuntimeError("recorded maps are tested by test_recorded")
        return self._recorded


def _untrained(*args: Any) -> NoReturn:
    raise TypeError("recorded maps are not trained")
