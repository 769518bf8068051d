from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping

from torch import Tensor
from torchmetrics import Metric


class ImageStates(Metric):
    """Metric of a set of images that is no mean over them, from sums of states over its images.

    With the states of single images at hand the metric of any part of the images, or of images
    drawn with replacement, is known without their maps: see `pipeline.reports.bootstrap_interval`.

    Attributes:
        image_states: States of each image of the last ``update`` by name, (B, ...), integers or
            bool; their sums over the images are what the update has added to the states.
    """

    def __init__(self, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self.image_states: dict[str, Tensor] = {}

    @staticmethod
    @abstractmethod
    def of_states(states: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Compute the metrics of sums of states, with any further dimensions in front.

        Args:
            states: Sums by the states' names, integers or floating (..., *state).

        Returns:
            Metrics by name, float64 (...,).
        """

    @staticmethod
    def thinned(states: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Leave out of the states of images what changes no metric of any of them.

        Args:
            states: States of images by name, (B, ...).

        Returns:
            States whose last dimension may be smaller.
        """
        return dict(states)
