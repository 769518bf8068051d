"""LightningDataModule for any data set in the metadata format of the WSOL benchmark."""

import os
from collections.abc import Callable, Sequence, Set
from pathlib import Path
from typing import Any

from lightning import LightningDataModule
from torch.utils.data import DataLoader

from learned_saliency.datamodules.checks import check_files, check_inside, check_options
from learned_saliency.datamodules.classes import (
    check_classes,
    check_labels,
    check_use,
    find_classes,
)
from learned_saliency.datamodules.dataset import (
    EvaluationDataset,
    ImageOptions,
    TrainDataset,
    as_is,
)
from learned_saliency.datamodules.decoding import Decoding
from learned_saliency.datamodules.masks import warn_of_empty_masks
from learned_saliency.datamodules.metadata import (
    SPLITS,
    SplitMetadata,
    draw_sample,
    keep_classes,
    read_split,
)
from learned_saliency.datamodules.parts import PartReader
from learned_saliency.datamodules.readers import (
    Reader,
    SplitReader,
    image_opener,
    image_roots,
    mask_values,
)
from learned_saliency.datamodules.sampler import (
    EvaluationBatches,
    EvaluationSampler,
    ResumableLoader,
    TrainSampler,
)
from learned_saliency.datamodules.textfile import DataError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
_AUGMENTED = "augmented train"  # key of the data set for training; that of a split is its name
_EVALUATED = ("validate", "test", "predict")  # Lightning's names for the use of a single split
_REQUIRED = {"fit": ("train", "val"), "validate": ("val",), "test": ("test",), "predict": ("test",)}
_MAX_OPENED = 50_000  # opening more files would take minutes on a network disk


class WSOLDataModule(LightningDataModule):
    """Data module for a data set whose metadata is in the format of the WSOL benchmark.

    ``metadata`` holds the folders ``train``, ``val`` and ``test`` (`read_split` describes their
    files) and optionally ``class_names.txt``. The training split gives images and labels only;
    boxes or masks that lie in its folder are never read.

    Training images are resized to a square, randomly cropped and flipped. The look of an image in
    an epoch and the order of images depend on seed and epoch only; see `TrainSampler`.
    Evaluation images are resized to the crop's size, boxes and masks with them, or cut to it with
    ``center_crop``. Several processes share the training images evenly, wrapping round, and the
    evaluation images without padding or doubles: their numbers of batches can differ by one.

    `setup` finds the faults that can be found before training: bad lines, missing files, broken
    images.

    Args:
        root: Folder that image ids are relative to; may be relative or begin with ``~``.
        metadata: Folder of the metadata; may be relative or begin with ``~``.
        reader: Maker of the metadata and images on first use, e.g. `CUBReader`.
        resize_size: Side in pixels to which training images are resized.
        crop_size: Side in pixels of training crops and of evaluation images.
        batch_size: Training images in a batch of one process.
        eval_batch_size: Evaluation images in a batch; None takes ``batch_size``.
        num_workers: Processes that load images; 0 loads in the main process.
        mean: Mean of each of the 3 channels, in [0, 1].
        std: Standard deviation of each of the 3 channels, positive.
        num_classes: Number of classes; None counts ``class_names``, the lines of
            ``class_names.txt`` or the training labels, the first of these that exists.
        class_names: Names in the order of the labels; None reads ``class_names.txt`` and, where the
            file is missing, takes the labels themselves.
        classes: Labels of the classes to train on and to choose checkpoints by: other classes are
            left out of train and val. test keeps all classes and marks in ``seen`` those trained
            on. Labels and ``num_classes`` do not change. None takes all classes.
        train_fraction: Part of the training images in an epoch, in (0, 1], drawn anew each time.
        center_crop: Whether evaluation images keep their aspect ratio: the shorter edge is resized
            to ``crop_size`` and the middle cut out, so that boxes may reach beyond the image.
            Otherwise they are resized to the square regardless of it, as in the WSOL benchmark.
        fast_decode: Whether training images are decoded and resized faster, with slightly other
            pixels; see `read_window`. Evaluation images are always exact.
        cache: Where to keep the resized images, 3 ``resize_size``^2 bytes per image: "none",
            "memory", for small sets, or "disk", from one run to the next.
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
        allow_outside_root: Whether ids and mask paths may lead out of ``root`` and ``mask_root``,
            as absolute paths and by ``..``. Links inside are followed in any case.
        read_only: Whether the reader writes nothing: metadata and images have to be there. So it is
            for the folders that a checkpoint names.
        limit: Number of images of each evaluation split to keep for a quick look, 1 or more, drawn
            by ``seed`` and in equal shares from all classes; None keeps all.

    Attributes:
        num_classes: Number of classes, after `setup`.
        class_names: Names of the classes, after `setup`.

    Raises:
        ValueError: If a number is out of range.
    """

    _splits: dict[str, SplitMetadata]
    _datasets: dict[str, TrainDataset | EvaluationDataset]
    _made = False

    def __init__(
        self,
        root: str | Path,
        metadata: str | Path,
        *,
        reader: Reader | None = None,
        resize_size: int = 256,
        crop_size: int = 224,
        batch_size: int = 32,
        eval_batch_size: int | None = None,
        num_workers: int = 0,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        num_classes: int | None = None,
        class_names: Sequence[str] | None = None,
        classes: Sequence[int] | None = None,
        train_fraction: float = 1.0,
        center_crop: bool = False,
        fast_decode: bool = False,
        cache: str = "none",
        cache_folder: str | Path | None = None,
        verify_images: bool = True,
        seed: int = 0,
        mask_root: str | Path | None = None,
        name: str = "wsol",
        parts: Callable[[Path, Path], PartReader] | None = None,
        superset: str | Sequence[str] = "class",
        pin_memory: bool | None = None,
        exif_orientation: bool = False,
        max_value: float | None = None,
        allow_outside_root: bool = False,
        read_only: bool = False,
        limit: int | None = None,
    ) -> None:
        super().__init__()
        self._splits, self._datasets, self.seed, self.num_classes = {}, {}, seed, num_classes
        self.root, self.metadata = _absolute(root), _absolute(metadata)
        self.mask_root = self.root if mask_root is None else _absolute(mask_root)
        self.cache_folder = _absolute(cache_folder or _kept_images())
        self.reader, self._make_parts, self.name, self.superset = reader, parts, name, superset
        self.resize_size, self.crop_size, self.batch_size = resize_size, crop_size, batch_size
        self.eval_batch_size = batch_size if eval_batch_size is None else eval_batch_size
        self.num_workers, self.pin_memory, self.center_crop = num_workers, pin_memory, center_crop
        self.mean, self.std = tuple(map(float, mean)), tuple(map(float, std))
        self.fast_decode, self.verify_images, self.cache = fast_decode, verify_images, cache
        self.class_names = None if class_names is None else list(class_names)
        self.classes = None if classes is None else sorted(set(classes))
        self.decoding, self.train_fraction = Decoding(exif_orientation, max_value), train_fraction
        self.allow_outside_root, self.read_only, self.limit = allow_outside_root, read_only, limit
        check_options(vars(self) | {"max_value": max_value})

    def make(self, stage: str | None = None) -> None:
        """Let the reader make the missing files of a stage's splits, unless it may not write.

        Args:
            stage: "fit" takes train and val, "validate" val, "test" and "predict" test, None all.

        Raises:
            DataError: If the original download is missing or unusable.
        """
        self._made = True
        if self.read_only:
            return
        if isinstance(self.reader, SplitReader):
            self.reader.prepare_splits(self.root, self.metadata, _REQUIRED.get(stage, SPLITS))
        elif self.reader is not None:
            self.reader.prepare(self.root, self.metadata)

    def prepare_data(self) -> None:
        """Let the reader make all missing files, unless `make` was called; see there.

        Lightning calls this in one process per machine.
        """
        if not self._made:
            self.make()

    def setup(self, stage: str | None = None) -> None:
        """Read and check the splits of a stage; a split that is set up already is left alone.

        Args:
            stage: "fit" takes train, val and, if there is one, test, so that a broken test split
                shows before the training; "validate" takes val, "test" and "predict" take test;
                None takes every split there is.

        Raises:
            DataError: If the data set cannot be used; one sentence names file, line and remedy.
        """
        if not self.root.is_dir():
            raise DataError(f"{self.root}: the root folder of the images is missing; set `root`.")
        required = _REQUIRED.get(stage, ())
        wanted = required if stage in _EVALUATED else SPLITS
        read = {
            split: read_split(self.metadata / split, localization=split != "train")
            for split in wanted
            if split not in self._splits and (split in required or (self.metadata / split).is_dir())
        }
        if not read and not self._splits:
            raise DataError(
                f"{self.metadata}: holds none of the folders {', '.join(SPLITS)}; set `metadata`."
            )
        self.num_classes, self.class_names = find_classes(
            self.metadata,
            self._splits | read,
            num_classes=self.num_classes,
            class_names=self.class_names,
        )
        if self.classes is not None:
            check_classes(self.classes, self.num_classes)
        self._splits |= {name: self._checked(name, split) for name, split in read.items()}

    def _checked(self, name: str, split: SplitMetadata) -> SplitMetadata:
        """Check a split that was read, and leave out the images that are not wanted.

        Raises:
            DataError: See `setup`.
        """
        check_labels(split, self.num_classes)
        if self.classes is not None and name != "test":
            split = keep_classes(split, self.classes)
        if name == "train":
            check_use(split, self.class_names, self.classes)
        if not self.allow_outside_root:
            check_inside(split, self.root, self.mask_root, image_roots(self.reader))
        if self.limit is not None and name != "train":
            split = draw_sample(split, self.limit, self.seed)
        open_files = self.verify_images and len(split) <= _MAX_OPENED
        check_files(
            split,
            self.root,
            self.mask_root,
            open_files=open_files,
            decoding=self.decoding,
            opener=image_opener(self.reader, self.root),
        )
        if open_files and split.mask_paths is not None:
            values = mask_values(self.reader)
            warn_of_empty_masks(split, self.mask_root, self.decoding, values)
        return split

    def state_dict(self) -> dict[str, Any]:
        """Return what tells the training images from others: a digest of their ids and labels."""
        train = self._splits.get("train")
        return {} if train is None else {"train": train.digest()}

    def parts(self) -> PartReader:
        """Open the labels of the parts.

        Raises:
            DataError: If the data set has no part labels, or their files are missing or malformed.
        """
        if self._make_parts is None:
            raise DataError(
                f"data={self.name}: has no labels of parts; choose data=creatures or data=cub."
            )
        return self._make_parts(self.root, self.metadata)

    def has_split(self, split: str) -> bool:
        """Return whether a split was there when the data were set up."""
        return split in self._splits

    def has_boxes(self, split: str) -> bool:
        """Return whether the batches of a split hold ``boxes``.

        Args:
            split: "train", "val" or "test".

        Returns:
            False for "train" in any case.

        Raises:
            ValueError: If there is no such split.
            DataError: If the split is not set up.
        """
        return self._split(split).boxes is not None

    def has_masks(self, split: str) -> bool:
        """Return whether the batches of a split hold ``mask``; see `has_boxes` for arguments."""
        return self._split(split).mask_paths is not None

    def supervision(self, split: str) -> dict[str, str | int]:
        """Count the images, boxes and masks that a choice made on a split has seen.

        Args:
            split: "train", "val" or "test".

        Returns:
            The split's name as "split" and the numbers of its "images", "boxes" and instance
            "masks".

        Raises:
            ValueError: If there is no such split.
            DataError: If the split is not set up.
        """
        found = self._split(split)
        return {
            "split": split,
            "images": len(found),
            "boxes": 0 if found.boxes is None else len(found.boxes),
            "masks": sum(map(len, found.mask_paths or [])),
        }

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
            self._datasets[split] = EvaluationDataset(
                metadata,
                self.root,
                self.mask_root,
                size=self.crop_size,
                center_crop=self.center_crop,
                seen=self.classes if split == "test" else None,
                mask_values=mask_values(self.reader),
                options=self._image_options(),
            )
        dataset = self._datasets[split]
        dataset.fill_cache()
        sampler = EvaluationSampler(len(dataset), leave_out)
        batches = EvaluationBatches(sampler, self.eval_batch_size)
        return DataLoader(dataset, batch_sampler=batches, **self._loader_options())

    def train_dataloader(self) -> ResumableLoader:
        """Load the augmented training images in random order."""
        metadata = self._split("train")
        if _AUGMENTED not in self._datasets:
            self._datasets[_AUGMENTED] = TrainDataset(
                metadata,
                self.root,
                size=self.resize_size,
                crop_size=self.crop_size,
                fast=self.fast_decode,
                options=self._image_options(),
            )
        dataset = self._datasets[_AUGMENTED]
        dataset.fill_cache()
        sampler = TrainSampler(len(dataset), seed=self.seed, fraction=self.train_fraction)
        return ResumableLoader(
            dataset, batch_size=self.batch_size, sampler=sampler, **self._loader_options()
        )

    def val_dataloader(self) -> DataLoader:
        """Load the split for choosing thresholds and models."""
        return self.dataloader("val")

    def test_dataloader(self) -> DataLoader:
        """Load the split for the final metrics."""
        return self.dataloader("test")

    def predict_dataloader(self) -> DataLoader:
        """Load the test split."""
        return self.dataloader("test")

    def _image_options(self) -> ImageOptions:
        opener = image_opener(self.reader, self.root)
        cache = self.cache, self.cache_folder
        return ImageOptions(self.mean, self.std, self.decoding, opener, *cache)

    def _loader_options(self) -> dict[str, Any]:
        device = self.trainer.strategy.root_device.type if self.trainer else "cpu"
        pinned = device not in ("cpu", "mps") if self.pin_memory is None else self.pin_memory
        return {
            "num_workers": self.num_workers,
            "persistent_workers": self.num_workers > 0,
            "collate_fn": as_is,
            "pin_memory": pinned,
        }

    def _split(self, split: str) -> SplitMetadata:
        if split not in SPLITS:
            raise ValueError(f"expected one of {', '.join(SPLITS)} as split, got {split!r}")
        if split not in self._splits:
            folder = self.metadata / split
            raise DataError(f"{folder}: the split {split!r} is not set up; call `setup` first.")
        return self._splits[split]


def _absolute(path: str | Path) -> Path:
    return Path(path).expanduser().absolute()


def _kept_images() -> Path:
    return Path(os.environ.get("LEARNED_SALIENCY_CACHE", "~/.cache/learned-saliency"), "images")
