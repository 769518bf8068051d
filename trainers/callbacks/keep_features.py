"""Features of a frozen backbone, kept on disk while something is trained on top of it."""

from __future__ import annotations

import errno
import shutil
import sys
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import nn

from learned_saliency.datamodules import WSOLBatch
from learned_saliency.models import (
    FeatureCache,
    MultiScaleClassifier,
    feature_key,
    is_frozen,
)
from learned_saliency.trainers.base import SaliencyModule


class KeepFeatures(L.Callback):
    """Callback that keeps the features of a module's frozen backbone, see `models.FeatureCache`.

    They are kept for the images of the training and validation batches. Where they cannot be kept,
    see `unkept`, that is said and nothing is done. Nothing of it goes into checkpoints.

    Args:
        folder: Folder of the features of all backbones.
        options: What the backbone was made with, beside its weights.
        images: Number of images in train and val, for the size that the folder will have.
        title: What is trained, in messages on stderr.
    """

    def __init__(self, folder: str | Path, options: str, images: int, title: str) -> None:
        self.folder, self.options, self.images, self.title = folder, options, images, title
        self._cache: FeatureCache | None = None
        self._told = False

    def on_train_start(self, trainer: L.Trainer, module: SaliencyModule) -> None:
        """Begin to answer for the backbone; its weights are those of the checkpoint by now."""
        if reason := unkept(module):
            self._tell(trainer, f"no features are kept: {reason}")
            return
        network = _weights_of(module.classifier)
        self._cache = FeatureCache(self.folder, feature_key(network, self.options))
        self._cache.attach(module.classifier.backbone, network)

    def on_train_batch_start(
        self, trainer: L.Trainer, module: SaliencyModule, batch: WSOLBatch, batch_idx: int
    ) -> None:
        """Announce the images of the batch."""
        if self._cache is not None:
            self._cache.expect(batch["image"])

    def on_validation_batch_start(
        self,
        trainer: L.Trainer,
        module: SaliencyModule,
        batch: WSOLBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Announce the images of the batch."""
        if self._cache is not None:
            self._cache.expect(batch["image"])

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        module: SaliencyModule,
        outputs: Any,
        batch: WSOLBatch,
        batch_idx: int,
    ) -> None:
        """After the first batch, say how large the features get.

        Raises:
            OSError: If the disk has no room for all of them.
        """
        if self._cache is None or self._told or not self._cache.image_bytes:
            return
        self._told = True
        size, folder = self._cache.image_bytes, self._cache.folder
        needed = size * max(self.images - self._cache.count(), 0)
        if needed > shutil.disk_usage(folder).free:
            why = f"feature_cache needs {needed / 1e9:.1f} GB more"
            raise OSError(errno.ENOSPC, why, str(folder))
        self._tell(
            trainer,
            f"features of the frozen trunk are kept in {folder}, {size / 1e6:.2g} MB per image, "
            f"{size * self.images / 1e9:.2g} GB for {self.images} images",
        )

    def on_train_end(self, trainer: L.Trainer, module: SaliencyModule) -> None:
        """Leave the backbone as it was, and say how often features were found."""
        if self._cache is None:
            return
        counts = torch.tensor([self._cache.hits, self._cache.misses], device=module.device)
        hits, misses = trainer.strategy.reduce(counts, reduce_op="sum").tolist()
        self._tell(trainer, f"features were found {hits} times and computed {misses} times")
        self._end()

    def on_exception(
        self, trainer: L.Trainer, module: SaliencyModule, exception: BaseException
    ) -> None:
        """Leave the backbone as it was."""
        self._end()

    def _end(self) -> None:
        if self._cache is not None:
            self._cache.detach()
            self._cache = None

    def _tell(self, trainer: L.Trainer, what: str) -> None:
        if trainer.is_global_zero:
            print(f"{self.title}: {what}", file=sys.stderr, flush=True)


def unkept(module: SaliencyModule) -> str:
    """Say why the features of a module's classifier cannot be kept; nothing where they can."""
    classifier = module.classifier
    if module.alters_images:
        return "it learns from images that are altered anew in every step"
    if not isinstance(classifier, MultiScaleClassifier) or not is_frozen(_weights_of(classifier)):
        return "its trunk is trained, so that they change with every step"
    if not getattr(classifier, "pure", True):
        return "its head reads more of an image than them, a class token or a skip connection"
    return ""


def _weights_of(classifier: MultiScaleClassifier) -> nn.Module:
    """Find the module that holds the weights of a classifier's backbone."""
    own = next(classifier.backbone.parameters(), None)
    return classifier if own is None else classifier.backbone
