"""Losses of regions on ``val``, from which predict.py has thresholds of any coverage."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from learned_saliency.datamodules import WSOLBatch
from learned_saliency.metrics import CalibrationSums, CoverageCalibration, empty_sums
from learned_saliency.trainers.outputs import Explanation, NativeMap


class _Explainer(Protocol):
    """Part of a `SaliencyModule` that the losses need."""

    native: NativeMap

    def native_maps(self, features: Tensor, images: Tensor, targets: Tensor) -> Tensor: ...


class CoverageLosses(nn.Module):
    """Losses of the last whole ``val``, kept beside the weights: see `CoverageCalibration`.

    Attributes:
        losses: Sums over the images, see `CalibrationSums`.
        images: Numbers of images, likewise.
    """

    losses: Tensor
    images: Tensor

    def __init__(self) -> None:
        super().__init__()
        losses, images = empty_sums()
        self.register_buffer("losses", losses)
        self.register_buffer("images", images)
        self.metric = CoverageCalibration()

    @property
    def sums(self) -> CalibrationSums:
        """Losses and numbers of images together."""
        return CalibrationSums(self.losses, self.images)

    def update(self, module: _Explainer, batch: WSOLBatch, found: Explanation) -> None:
        """Count a batch that has boxes or masks.

        The maps are those of the predicted classes, as predict.py hands them out.

        Args:
            module: The module that explained the batch.
            batch: The batch.
            found: What ``module.explain`` gave for its images and labels.
        """
        boxes, masks = batch.get("boxes"), batch.get("mask")
        if boxes is None and masks is None:
            return
        saliency, predicted = found.saliency, found.logits.argmax(1)
        if module.native.per_class and not torch.equal(predicted, batch["label"]):
            saliency = module.native_maps(found.features, batch["image"], predicted)
        self.metric.update(saliency, boxes, masks)

    def keep(self) -> None:
        """Keep what was counted since `reset`, over all processes."""
        losses, images = self.metric.compute()
        self.losses.copy_(losses)
        self.images.copy_(images)

    def reset(self) -> None:
        """Begin to count anew; what was kept stays."""
        self.metric.reset()
