"""LightningDataModule for any data set in the metadata format of the WSOL benchmark."""

import copy
from collections.abc import Sequence, Set
from pathlib import Path
from typing import Any, Self

from torch import Tensor
from torch.utils.data import DataLoader

from learned_saliency.datamodules.checks import check_options
from learned_saliency.datamodules.dataset import (
    EvaluationDataset,
    ImageOptions,
    TrainDataset,
    as_is,
)
from learned_saliency.datamodules.decoding import COLORS, Decoding
from learned_saliency.datamodules.metadata import SplitMetadata
from learned_saliency.datamodules.opening import image_source
from learned_saliency.datamodules.orders import run_starts
from learned_saliency.datamodules.readers import (
    image_opener,
    mask_opener,
    mask_values,
    placed,
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
from learned_saliency.datamodules.shards import kept_folder
from learned_saliency.datamodules.sizes import Size
from learned_saliency.datamodules.splits import SplitDataModule
from learned_saliency.datamodules.statistics import measure_channels
from learned_saliency.datamodules.supervised_dataset import SupervisedDataset
from learned_saliency.datamodules.transforms import center_crop_of, read_square

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
_TRAINED_ON = "trained on"  # key of the data set for training; that of a split is its name


class WSOLDataModule(SplitDataModule):
    """Data module for a data set whose metadata is in the format of the WSOL benchmark.

    ``metadata`` holds the folders ``train``, ``val`` and ``test`` (`read_split` describes their
    files) and optionally ``class_names.txt``. The training split gives images and labels only;
    boxes or masks that lie in its folder are never read. `with_shares` gives the data of a training
    by full supervision, which learns from boxes or masks of ``val``.

    Training images are resized, randomly cropped and flipped; without ``augment`` they
    are prepared as evaluation images are. The look of an image in an epoch and the order of images
    depend on seed and epoch only; see `TrainSampler`. Evaluation images are resized to the crop's
    size, boxes and masks with them, or cut to it with ``center_crop``. Several processes share the
    training images evenly, wrapping round, and the evaluation images without padding or doubles:
    their numbers of batches can differ by one.

    `setup` finds the faults that can be found before training: bad lines, missing files, broken
    images.

    Args:
        root: Folder that image ids are relative to; may be relative or begin with ``~``. For a
            reader that fetches its files, their address.
        metadata: Folder of the metadata; may be relative or begin with ``~``.
        reader: Maker of the metadata and images on first use, e.g. `CUBReader`.
        task: What the labels are: ``"multiclass"``, one class per image; ``"multilabel"``, any
            number of classes per image, see `read_multilabel_split`; ``"binary"``, one of the
            classes 0 and 1, for a classifier with one logit; or ``"regression"``, values, see
            `read_regression_split`.
        resize_size: Size to which training images are resized: the side of a square in pixels, or
            height and width.
        crop_size: Likewise of training crops and of evaluation images.
        batch_size: Training images in a batch of one process.
        eval_batch_size: Evaluation images in a batch; None takes ``batch_size``.
        num_workers: Processes that load images; 0 loads in the main process.
        mean: Mean of each of the channels, in [0, 1]; None where `measure` is to find it in the
            training images.
        std: Standard deviation of each of the channels, positive; None likewise.
        num_classes: Number of classes; None counts ``class_names``, the lines of
            ``class_names.txt`` or the training labels, the first of these that exists.
        class_names: Names in the order of the labels; None reads ``class_names.txt`` and, where the
            file is missing, takes the labels themselves.
        known_classes: Names of the classes of a classifier that was trained on other data, in the
            order of its logits: they become ``num_classes`` and ``class_names``, and the labels of
            the data set are translated by name, see `match_classes`. An image of a class that the
            classifier does not know has the label -1. None keeps the data set's own classes.
        classes: Labels of the classes to train on and to choose checkpoints by: other classes are
            left out of train and val. test keeps all classes and marks in ``seen`` those trained
            on. Labels and ``num_classes`` do not change. Of images with several classes the others
            are taken away, and images that have others alone left out. None takes all classes.
        train_fraction: Part of the training images in a pass, in (0, 1], drawn anew each time.
        permute_labels: Seed by which the labels of the training images are permuted among them, 0
            or more, for the sanity check of maps by networks that have learned nothing about the
            classes (Adebayo et al. 2018); None leaves the labels as they are. The labels of other
            splits stay.
        augment: Whether training images are randomly cropped and flipped. Otherwise they are
            prepared as evaluation images are, with the same pixels unless ``fast_decode`` is set.
        center_crop: Whether evaluation images keep their aspect ratio: they are resized until they
            just cover ``crop_size`` and the middle is cut out, so that boxes may reach beyond the
            image. Otherwise they are resized regardless of it, as in the WSOL benchmark.
        evaluation_resize: Length in pixels to which the shorter edge of evaluation images is
            resized before the middle is cut out, at least the longer side of ``crop_size``, as
            torchvision's evaluators do: 256 for 224. None leaves it to ``center_crop``.
        fast_decode: Whether training images are decoded and resized faster, with slightly other
            pixels; see `read_window`. Evaluation images are always exact.
        cache: Where to keep the resized images, 3 bytes per pixel of ``resize_size``, of other
            ``channels`` than 3 four times as many for each: "none", "memory", for small sets, or
            "disk", from one run to the next. An image is kept once, however many classes it is
            evaluated for.
        cache_folder: Folder of images kept on disk; None takes ``images`` below
            ``LEARNED_SALIENCY_CACHE`` or ``~/.cache/learned-saliency``.
        verify_images: Whether `setup` opens every file of a split of up to 50000 images.
        seed: Seed of the training order and augmentation, 0 or more.
        mask_root: Folder that mask paths are relative to; None takes ``root``.
        name: Name of the data set, in the names of folders and in model cards.
        parts: Factory of the reader of part labels, given ``root`` and ``metadata``; None where the
            data set has no part labels.
        superset: Classes that share all parts (Kim et al. 2021, Sec. 5.4), for methods that sum
            over them: ``all``, ``class``, ``wordnet``, ``wordnet:DEPTH`` or names of groups in the
            order of the labels, see `attribution.superset_members`.
        pin_memory: Whether to lock batches in memory for faster copies; None does so where the
            trainer's device is not the CPU.
        exif_orientation: Whether images are turned as their EXIF data say. Sizes, boxes and masks
            then refer to what a person sees; otherwise, as in the WSOL benchmark, to the pixels as
            stored.
        max_value: Value that is white in files of more than 8 bits per channel, above 0; None for
            what the file states, see `read_picture`.
        channels: Number C of channels of the images. 3 brings files of any kind to 8-bit colors;
            another number is that of the files, which keep their full depth, see `read_image`.
        array_axes: Order of the axes in .npy files of three, "hwc" or "chw".
        shown_channels: The three of the channels that are shown as red, green and blue, and that
            terms on colors look at, such as F-CAM's; None for the first three, of one channel gray.
        allow_outside_root: Whether ids and mask paths may lead out of ``root`` and ``mask_root``,
            as absolute paths and by ``..``. Links inside are followed in any case.
        read_only: Whether the reader writes nothing: metadata and images have to be there. So it is
            for the folders that a checkpoint names.
        limit: Number of images of each evaluation split to keep for a quick look, 1 or more, drawn
            by ``seed`` and in equal shares from all classes; where images have several classes,
            number of samples, an image with one of its classes each. None keeps all.

    Attributes:
        num_classes: Number of classes, after `setup`.
        class_names: Names of the classes, after `setup`.

    Raises:
        ValueError: If a number is out of range.
    """

    _datasets: dict[str, TrainDataset | EvaluationDataset]

    def __init__(
        self,
        root: str | Path,
        metadata: str | Path,
        *,
        resize_size: int | Sequence[int] = 256,
        crop_size: int | Sequence[int] = 224,
        batch_size: int = 32,
        eval_batch_size: int | None = None,
        num_workers: int = 0,
        mean: Sequence[float] | None = IMAGENET_MEAN,
        std: Sequence[float] | None = IMAGENET_STD,
        train_fraction: float = 1.0,
        augment: bool = True,
        center_crop: bool = False,
        evaluation_resize: int | None = None,
        fast_decode: bool = False,
        cache: str = "none",
        cache_folder: str | Path | None = None,
        mask_root: str | Path | None = None,
        superset: str | Sequence[str] = "class",
        pin_memory: bool | None = None,
        exif_orientation: bool = False,
        max_value: float | None = None,
        channels: int = COLORS,
        array_axes: str = "hwc",
        shown_channels: Sequence[int] | None = None,
        **of_splits: Any,
    ) -> None:
        super().__init__(**of_splits)
        self._place(root, metadata, mask_root, cache_folder)
        self.resize_size, self.crop_size = Size.of(resize_size), Size.of(crop_size)
        self.batch_size = batch_size
        self.eval_batch_size = batch_size if eval_batch_size is None else eval_batch_size
        self.num_workers, self.pin_memory, self.cache = num_workers, pin_memory, cache
        self.center_crop, self.evaluation_resize = center_crop, evaluation_resize
        self.mean, self.std, self._datasets = _numbers(mean), _numbers(std), {}
        self.decoding = Decoding(exif_orientation, max_value, channels, array_axes)
        self.shown_channels, self.train_fraction = shown_channels, train_fraction
        self.augment, self.fast_decode, self.superset = augment, fast_decode, superset
        self.epoch_length = EpochLength()
        check_options(vars(self) | {"max_value": max_value})

    def _place(self, root: str | Path, *others: str | Path | None) -> None:
        """Settle the folders; a reader may fetch the files of its root into a folder of its own."""
        self.reader, root = placed(self.reader, root, self.read_only)
        metadata, mask_root, cache_folder = others
        places = root, metadata, mask_root or root, cache_folder or kept_folder("images")
        self.root, self.metadata, self.mask_root, self.cache_folder = map(_absolute, places)

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
        if sampler.passes == 1:
            options = {"batch_size": self.batch_size, "sampler": sampler}
        return ResumableLoader(dataset, **options, **self._loader_options())

    def measure(self) -> str:
        """Find mean and standard deviation in the training images, where they are not given.

        Images count as they are resized for training, without crops.

        Returns:
            A sentence about it; empty where both are given.

        Raises:
            DataError: If the training split is not set up, an image does not decode, or a channel
                has one value everywhere.
        """
        if self.mean is not None:
            return ""
        split, opener = self._split("train"), image_opener(self.reader, self.root)

        def read(index: int) -> Tensor:
            source = image_source(self.root, split.files[index], opener)
            return read_square(source, self.resize_size, decoding=self.decoding)

        found = measure_channels(read, len(split), self.seed)
        self.mean, self.std, images = found
        told = "data.mean=[{}] data.std=[{}]".format(
            *(",".join(f"{value:.4g}" for value in values) for values in found[:2])
        )
        drawn = f"{images}, drawn by data.seed={self.seed}, of {len(split)}"
        count = f"all {images}" if images == len(split) else drawn
        return f"{told} are those of {count} training images"

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
        """The middle of images that is evaluated: ``center_crop`` of `read_square`."""
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


def _absolute(path: str | Path) -> Path:
    return Path(path).expanduser().absolute()


def _numbers(values: Sequence[float] | None) -> tuple[float, ...] | None:
    return None if values is None else tuple(map(float, values))
