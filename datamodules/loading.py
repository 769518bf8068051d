"""Loaders of the splits of a data set."""

import copy
from collections.abc import Sequence, Set
from pathlib import Path
from typing import Any, Self

from torch.utils.data import DataLoader

from learned_saliency.datamodules.dataset import ImageOptions, TrainDataset, as_is
from learned_saliency.datamodules.evaluation_dataset import EvaluationDataset
from learned_saliency.datamodules.metadata import SplitMetadata
from learned_saliency.datamodules.orders import run_starts
from learned_saliency.datamodules.readers import (
    image_opener,
    mask_opener,
    mask_values,
    shuffle_window,
)
from learned_saliency.datamodules.sampler import (
    EpochLength,
    EvaluationBatches,
    EvaluationSampler,
    ResumableLoader,
    TrainBatches,
    TrainSampler,
)
from learned_saliency.datamodules.sizes import Size
from learned_saliency.datamodules.splits import SplitDataModule
from learned_saliency.datamodules.supervised_dataset import SupervisedDataset
from learned_saliency.datamodules.transforms import center_crop_of

_TRAINED_ON = "trained on"  # key of the data set for training; that of a split is its name


class LoadingDataModule(SplitDataModule):
    """Base of `WSOLDataModule`, which sets the attributes: loaders of splits that are set up."""

    resize_size: Size
    crop_size: Size
    batch_size: int
    eval_batch_size: int
    num_workers: int
    pin_memory: bool | None
    cache: str
    cache_folder: Path
    mean: Sequence[float] | None
    std: Sequence[float] | None
    train_fraction: float
    augment: bool
    fast_decode: bool
    epoch_length: EpochLength
    _datasets: dict[str, TrainDataset | EvaluationDataset]

    def dataloader(self, split: str, leave_out: Set[int] = frozenset()) -> DataLoader:
        """Load the images of a split in the order of their list, as for evaluation.

        Args:
            split: "train", "val" or "test"; "train" comes without augmentation, boxes and masks.
            leave_out: Places in the list of images that are not wanted.

        Returns:
            A loader of `WSOLBatch`; with several processes, of this process's share. Where nothing
            is left to load, of one empty batch.

        Raises:
            ValueError: If there is no such split.
            DataError: If the split is not set up or, with a cache, a file does not decode.
        """
        metadata = self._split(split)
        if split not in self._datasets:
            self._datasets[split] = self._evaluation_dataset(
                metadata, seen=self.classes if split == "test" else None
            )
        dataset = self._datasets[split]
        dataset.fill_cache()
        sampler = EvaluationSampler(len(dataset), leave_out)
        batches = EvaluationBatches(sampler, self.eval_batch_size)
        return DataLoader(dataset, batch_sampler=batches, **self._loader_options())

    def train_dataloader(self) -> ResumableLoader:
        """Load the training images in random order, augmented unless ``augment`` is false.

        An epoch is one pass over them, or as many as `with_epochs` asks for.
        """
        metadata = self._split("train")
        if _TRAINED_ON not in self._datasets:
            self._datasets[_TRAINED_ON] = (
                self._augmented_dataset(metadata)
                if self.augment
                else self._evaluation_dataset(metadata, fast=self.fast_decode)
            )
        dataset = self._datasets[_TRAINED_ON]
        dataset.fill_cache()
        order = self._order(metadata)
        sampler = TrainSampler(len(dataset), seed=self.seed, fraction=self.train_fraction, **order)
        batches = TrainBatches(sampler, self.batch_size, self.epoch_length)
        options = {"batch_sampler": batches}
        if sampler.passes == 1:  # Lightning can replace the sampler then
            options = {"batch_size": self.batch_size, "sampler": sampler}
        return ResumableLoader(dataset, **options, **self._loader_options())

    def _order(self, metadata: SplitMetadata) -> dict[str, Any]:
        """Return what the order of training images depends on beside seed and epoch."""
        window = shuffle_window(self.reader)
        if window is None:
            return {}
        starts = run_starts([self.reader.container(name) for name in metadata.files])
        return {"window": window, "starts": starts}

    def with_shares(self, share: float, seed: int) -> Self:
        """Give the data of a training by full supervision; see `SplitDataModule.with_shares`."""
        other = super().with_shares(share, seed)
        other._datasets = {}
        return other

    def with_epochs(self, length: EpochLength) -> Self:
        """Give the data of a training with longer epochs; this data module stays as it is.

        Args:
            length: Least length of an epoch; whole passes over the training images reach it.
        """
        other = copy.copy(self)
        other.epoch_length = length
        return other

    @property
    def evaluated_middle(self) -> bool | int:
        """The middle of images that is evaluated: ``center_crop`` of `read_resized`."""
        return center_crop_of(vars(self))

    def val_dataloader(self) -> DataLoader:
        """Load the split for choosing thresholds and models."""
        return self.dataloader("val")

    def test_dataloader(self) -> DataLoader:
        """Load the split for the final metrics."""
        return self.dataloader("test")

    def predict_dataloader(self) -> DataLoader:
        """Load the test split."""
        return self.dataloader("test")

    def _augmented_dataset(self, metadata: SplitMetadata) -> TrainDataset:
        options = {
            "size": self.resize_size,
            "crop_size": self.crop_size,
            "fast": self.fast_decode,
            "options": self._image_options(),
        }
        if not self.shares:
            return TrainDataset(metadata, self.root, **options)
        values = mask_values(self.reader)
        return SupervisedDataset(metadata, self.root, self.mask_root, mask_values=values, **options)

    def _evaluation_dataset(self, metadata: SplitMetadata, **options: Any) -> EvaluationDataset:
        return EvaluationDataset(
            metadata,
            self.root,
            self.mask_root,
            size=self.crop_size,
            center_crop=self.evaluated_middle,
            mask_values=mask_values(self.reader),
            options=self._image_options(),
            **options,
        )

    def _image_options(self) -> ImageOptions:
        opener, masks = (
            image_opener(self.reader, self.root),
            mask_opener(self.reader, self.mask_root),
        )
        cache = self.cache, self.cache_folder
        return ImageOptions(self.mean, self.std, self.decoding, opener, *cache, masks)

    def _loader_options(self) -> dict[str, Any]:
        device = self.trainer.strategy.root_device.type if self.trainer else "cpu"
        pinned = device not in ("cpu", "mps") if self.pin_memory is None else self.pin_memory
        return {
            "num_workers": self.num_workers,
            "persistent_workers": self.num_workers > 0,
            "collate_fn": as_is,
            "pin_memory": pinned,
        }
