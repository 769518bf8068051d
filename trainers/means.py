"""Means of the values that the batches of an epoch were logged with."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor


class EpochMeans:
    """Means over the images of an epoch, which go on in the middle of it.

    Lightning computes such means too, but leaves them out of its checkpoints, so that a run that
    goes on within an epoch would report the mean of the rest.
    """

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}  # float32 (2,): sum over images, number of images

    def update(self, name: str, value: Tensor, images: int) -> None:
        """Add the mean over a batch, a scalar, and the number of its images."""
        value = value.detach().float()
        term = torch.stack([value * images, torch.full_like(value, images)])
        before = self._sums.get(name)
        self._sums[name] = term if before is None else before.to(term.device) + term

    def compute(self, reduce: Callable[[Tensor], Tensor] = lambda sums: sums) -> dict[str, Tensor]:
        """Compute the means by name, scalars.

        Args:
            reduce: Adds up sums of shape (n, 2) over processes, all of which have to call this.
        """
        if not self._sums:
            return {}
        sums = reduce(torch.stack(list(self._sums.values())))
        return dict(zip(self._sums, sums[:, 0] / sums[:, 1], strict=True))

    def reset(self) -> None:
        """Begin an epoch."""
        self._sums = {}

    def state_dict(self) -> dict[str, Tensor]:
        """Return sums and numbers of images by name."""
        return {name: sums.cpu() for name, sums in self._sums.items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a `state_dict`."""
        self._sums = dict(state)
