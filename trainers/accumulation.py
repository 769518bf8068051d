"""Weights of the batches whose gradients make one step together."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn


class AccumulationWindow:
    """Sizes of the batches whose gradients make one step.

    Lightning divides the loss of each of n accumulated batches by n, whatever their sizes are and
    also where the epoch ends with fewer batches. Here a step has the gradient of the mean over all
    images of its batches: each loss is weighted by its number of images, relative to the first
    batch of the window, and the sum is corrected before the step. Where a window is full and its
    batches are equally large both factors are 1, and nothing is multiplied.
    """

    def __init__(self) -> None:
        self._images: list[int] = []
        self._closed = False

    def add(self, images: int) -> None:
        """Count the images of the next batch, at least 1; after a step it begins a window."""
        if self._closed:
            self._images, self._closed = [], False
        self._images.append(images)

    @property
    def weight(self) -> float:
        """Factor on the loss of the last batch."""
        return self._images[-1] / self._images[0] if self._images else 1.0

    def close(self, parameters: Iterable[nn.Parameter], divisor: int) -> None:
        """Correct the sum of the gradients, of which a step is made.

        Args:
            parameters: What is trained; its gradients are multiplied in place.
            divisor: Number n by which each loss was divided.
        """
        self._closed = True
        if not self._images or sum(self._images) == divisor * self._images[0]:
            return
        factor = divisor * self._images[0] / sum(self._images)
        for weight in parameters:
            if weight.grad is not None:
                weight.grad.mul_(factor)
