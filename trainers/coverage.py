"""Losses of regions on ``val``, from which predict.py has thresholds of any coverage."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from learned_saliency.datamodules import WSOLBatch
from learned_saliency.metrics import CalibrationSums, CoverageCalibration, empty_sums
from learned_saliency.trainers.outputs import Explanation, NativeMap, known_targets


class _Explainer(Protocol):
    """Interface of a module whose regions are counted; see `SaliencyModule`."""

    @property
    def native(self) -> NativeMap:
        """Declaration of the native map."""

    def native_maps(self, features: Tensor, images: Tensor, targets: Tensor) -> Tensor:
        """Compute native maps of further classes."""


class CoverageSums(nn.Module):
    """Counter of a validation, which keeps the sums of the last one in the checkpoint.

    Counted are the native maps that predict.py hands out, those of predicted classes; of images
    with several classes each, the map of each.
    """

    losses: Tensor
    images: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.metric = CoverageCalibration()
        for name, value in empty_sums()._asdict().items():
            self.register_buffer(name, value)

    @property
    def sums(self) -> CalibrationSums:
        """The sums that are kept; zeros before the first validation."""
        return CalibrationSums(self.losses, self.images)

    def reset(self) -> None:
        """Begin to count anew."""
        self.metric.reset()

    def update(self, module: _Explainer, batch: WSOLBatch, found: Explanation) -> None:
        """Count a batch that has boxes or masks.

        Args:
            module: The validated module.
            batch: The batch.
            found: Native maps of the true classes (of the predicted ones where those are unknown),
                logits and features.
        """
        boxes, masks = batch.get("boxes"), batch.get("mask")
        if boxes is None and masks is None:
            return
        maps, predicted = found.saliency, found.logits.argmax(1)
        explained = known_targets(batch["label"], found.logits)
        if "labels" in batch:  # the boxes are those of one of several classes
            predicted = explained
        if module.native.per_class and not torch.equal(predicted, explained):
            maps = module.native_maps(found.features, batch["image"], predicted)
        self.metric.update(maps, boxes, masks)

    def keep(self) -> None:
        """Keep the sums over all processes, each of which must call this."""
        losses, images = self.metric.compute()
        self.losses.copy_(losses)
        self.images.copy_(images)
