"""Interface of a reader of a data set, and what a reader may declare about the data set."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from learned_saliency.datamodules.masks import MaskValues
from learned_saliency.datamodules.metadata import SPLITS

#: Tasks of a reader that gives an image one class, and of one that gives it any number.
ONE_CLASS, MANY_CLASSES = ("multiclass", "binary"), ("multilabel",)


class Published(NamedTuple):
    """Counts of a split that the paper or the page of a data set states; None where it is silent.

    Attributes:
        images: Number of images.
        boxes: Number of boxes.
        masks: Number of instance masks.
        classes: Number of classes of which there are images.
    """

    images: int | None = None
    boxes: int | None = None
    masks: int | None = None
    classes: int | None = None


class Source(NamedTuple):
    """Part of a download, and where it is obtained.

    Attributes:
        path: File or folder, relative to the root.
        what: Noun phrase that names its content, "boxes of the training images".
        where: Name and address of the page that offers it.
        required: Whether nothing can be read without it.
        also: Other places where it may lie, relative to the root.
    """

    path: str
    what: str
    where: str
    required: bool = True
    also: tuple[str, ...] = ()

    def find(self, root: Path) -> Path | None:
        """Find the first of the places where something lies; None where nothing does."""
        places = (root / place for place in (self.path, *self.also))
        return next((place for place in places if place.exists()), None)


class Reader(Protocol):
    """Maker of a data set's metadata, and where needed its images, on first use.

    A reader says more about its data set by optional attributes. Each is asked by the function of
    this module of that name: ``image_roots``, ``mask_values``, ``published``, ``sources`` and
    ``tasks``. A reader whose images have no labels says so by ``unlabeled = True`` on its class.
    The methods ``at`` and ``open`` are those of `ByteReader`.
    """

    def prepare(self, root: Path, metadata: Path) -> None:
        """Write missing files below ``root`` and ``metadata``; do nothing if all are there."""


class SplitReader(ABC):
    """Base of a reader that makes single splits, so that none is made in vain."""

    def prepare(self, root: Path, metadata: Path) -> None:
        """Write missing files of all splits; see `Reader`."""
        self.prepare_splits(root, metadata, SPLITS)

    @abstractmethod
    def prepare_splits(self, root: Path, metadata: Path, splits: Sequence[str]) -> None:
        """Write missing files of some splits; do nothing if all are there."""


class ByteReader(ABC):
    """Base of a reader whose images are not files below the root, but parts of larger files.

    Attributes:
        packs_masks: Whether masks are such parts, too, and not files below the root of masks.
        shuffle_window: Window of the order of training images, see `TrainSampler`; None for a
            wholly random order.
    """

    packs_masks = False
    shuffle_window: int | None = None

    @abstractmethod
    def prepare(self, root: Path, metadata: Path) -> None:
        """Write missing metadata; see `Reader`."""

    @abstractmethod
    def at(self, root: Path) -> "ByteReader":
        """Return a reader of the same settings that opens images below ``root``.

        It can be pickled, so that the workers of a loader get it, and opens no file before the
        first image is asked for.
        """

    @abstractmethod
    def open(self, image_id: str) -> bytes:
        """Read the encoded bytes of an image: what its file would hold if it had one.

        Raises:
            ImageError: If there is no such image.
        """

    def container(self, image_id: str) -> str:
        """Name the larger file that an image is in."""
        return image_id.rpartition("/")[0]

    def containers(self, image_ids: Sequence[str]) -> list[str]:
        """Name the larger files that images are in and that are asked whether they have changed."""
        return list(dict.fromkeys(map(self.container, image_ids)))

    def placed(self, root: str | Path, read_only: bool) -> tuple["ByteReader", Path]:
        """Return a reader for a root, and the folder of it on this machine.

        Args:
            root: A folder; of a reader that fetches its files, also their address.
            read_only: Whether nothing may be fetched.
        """
        return self, Path(root)


def image_roots(reader: Reader | None) -> Sequence[Path]:
    """List the folders beside the root in which a reader's images and masks may lie."""
    return getattr(reader, "image_roots", ())


def mask_values(reader: Reader | None) -> MaskValues | None:
    """Return the meaning of the values in a reader's masks; None where these are plain masks."""
    return getattr(reader, "mask_values", None)


def published(reader: Reader | None) -> Mapping[str, Published]:
    """Return the published counts of a reader's data set by split; empty where it states none."""
    return getattr(reader, "published", {})


def sources(reader: Reader | None) -> Sequence[Source]:
    """List the parts of the download that a reader needs or uses; empty where it names none."""
    return getattr(reader, "sources", ())


def tasks(reader: Reader | None) -> Sequence[str]:
    """List the values of ``data.task`` that a reader's labels are for; empty where it is silent."""
    return getattr(reader, "tasks", ())


def image_opener(reader: Reader | None, root: Path) -> Callable[[str], bytes] | None:
    """Return the function that gives an image's bytes by its id; None where images are files."""
    return reader.at(root).open if isinstance(reader, ByteReader) else None


def mask_opener(reader: Reader | None, root: Path) -> Callable[[str], bytes] | None:
    """Return the function that gives a mask's bytes by its path; None where masks are files."""
    packed = isinstance(reader, ByteReader) and reader.packs_masks
    return image_opener(reader, root) if packed else None


def image_files(reader: Reader | None, image_ids: Sequence[str]) -> Sequence[str]:
    """Name the files of images relative to the root, or the larger ones that they are in."""
    return reader.containers(image_ids) if isinstance(reader, ByteReader) else image_ids


def mask_files(reader: Reader | None, paths: Sequence[str]) -> Sequence[str]:
    """Name the files of masks relative to their root, or the larger ones that they are in."""
    packed = isinstance(reader, ByteReader) and reader.packs_masks
    return image_files(reader, paths) if packed else paths


def placed(
    reader: Reader | None, root: str | Path, read_only: bool
) -> tuple[Reader | None, str | Path]:
    """Return the reader of a root, and the root's folder on this machine; see `ByteReader`."""
    return reader.placed(root, read_only) if isinstance(reader, ByteReader) else (reader, root)


def shuffle_window(reader: Reader | None) -> int | None:
    """Return the window of the order of training images; None for a wholly random order."""
    return reader.shuffle_window if isinstance(reader, ByteReader) else None
