"""Reader of PASCAL VOC (Everingham et al., IJCV 2010), straight from the unpacked devkits."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from learned_saliency.datamodules.metadata import SPLITS
from learned_saliency.datamodules.readers.base import MANY_CLASSES, Published, Source
from learned_saliency.datamodules.readers.manylabels import MASK_VALUES, check_draw, share_sizes
from learned_saliency.datamodules.readers.vocdevkit import CLASSES, Choice, Devkit, list_place
from learned_saliency.datamodules.readers.writing import write_metadata
from learned_saliency.datamodules.textfile import DataError

_VERSION = 1
_DEVKIT = "VOCdevkit"
_PAGE = "The PASCAL VOC project (http://host.robots.ox.ac.uk/pascal/VOC/)"
_IMAGES = {  # numbers of images in lists, as the kits state them
    "VOC2007/Main/train": 2501,
    "VOC2007/Main/val": 2510,
    "VOC2007/Main/trainval": 5011,
    "VOC2007/Main/test": 4952,
    "VOC2012/Main/train": 5717,
    "VOC2012/Main/val": 5823,
    "VOC2012/Main/trainval": 11540,
    "VOC2012/Segmentation/train": 1464,
    "VOC2012/Segmentation/val": 1449,
    "VOC2012/Segmentation/trainval": 2913,
}


class VOCReader:
    """Writer of the metadata of PASCAL VOC from its lists, annotations and segmentations.

    A list is named by its place, ``VOC2012/Main/train`` for
    ``VOCdevkit/VOC2012/ImageSets/Main/train.txt``. Images of ``train_lists`` are for training.
    Of those of ``val_lists`` a share is drawn as ``val``, in which every class has its part; the
    others are ``test``, and so are the images of ``test_lists``.

    VOC counts pixels from 1, with both ends inside a box: 1 is subtracted of what is left after
    fractions are cut off, which some annotations have. VOC's evaluations leave *difficult* objects
    out; so they are here, unless they are kept: they have no box, an image of difficult objects
    alone does not have the class (VOC counts it neither way), and in masks their pixels are
    ignored. Truncated and occluded objects count.

    An image of ``val`` and ``test`` with a segmentation gets a mask of each of its classes, in
    which the border, 255 in VOC's, is ignored. Masks are written below the metadata.

    Args:
        train_lists: Lists for training.
        val_lists: Lists out of which ``val`` is drawn.
        test_lists: Further lists for testing.
        val_fraction: Share of the images of ``val_lists`` that becomes ``val``, in (0, 1].
        keep_difficult: Whether difficult objects count like others.
        make_masks: Whether masks are made.
        seed: Seed of the draw, 0 or more.

    Raises:
        ValueError: If ``val_fraction`` or ``seed`` is out of range.
    """

    tasks = MANY_CLASSES
    mask_values = MASK_VALUES

    def __init__(
        self,
        *,
        train_lists: Sequence[str] = ("VOC2012/Main/train",),
        val_lists: Sequence[str] = ("VOC2012/Main/val",),
        test_lists: Sequence[str] = (),
        val_fraction: float = 0.2,
        keep_difficult: bool = False,
        make_masks: bool = True,
        seed: int = 0,
    ) -> None:
        check_draw(val_fraction, seed)
        lists = train_lists, val_lists, test_lists
        self.lists = dict(zip(SPLITS, map(list, lists), strict=True))
        self.val_fraction, self.seed = val_fraction, seed
        self.keep_difficult, self.make_masks = keep_difficult, make_masks

    @property
    def published(self) -> Mapping[str, Published]:
        """Published numbers of images, as far as they are known of all lists of a split."""
        counts = {
            split: sum(_IMAGES[name] for name in lists)
            for split, lists in self.lists.items()
            if all(name in _IMAGES for name in lists)
        }
        if not {"val", "test"} <= counts.keys():
            return {split: Published(counts[split]) for split in counts.keys() & {"train"}}
        drawn = share_sizes(counts["val"], self.val_fraction)
        counts |= {"val": drawn["val"], "test": counts["test"] + drawn["test"]}
        return {split: Published(count, classes=len(CLASSES)) for split, count in counts.items()}

    @property
    def sources(self) -> Sequence[Source]:
        """Parts of the download that the lists need."""
        names = [name for lists in self.lists.values() for name in lists]
        found = [(list_place(name), "list of images", True) for name in names]
        for year in dict.fromkeys(name.split("/")[0] for name in names):
            found += [(f"{year}/JPEGImages", "images", True)]
            found += [(f"{year}/Annotations", "objects with boxes", True)]
            if self.make_masks:
                found += [(f"{year}/SegmentationObject", "masks of objects", False)]
                found += [(f"{year}/SegmentationClass", "masks of classes", False)]
        return [
            Source(f"{_DEVKIT}/{place}", what, _PAGE, needed, (place,))
            for place, what, needed in found
        ]

    def prepare(self, root: Path, metadata: Path) -> None:
        """Write the metadata unless this reader, with the same settings, has written it already.

        Args:
            root: The folder ``VOCdevkit``, or the one that holds it.
            metadata: The folder to write.

        Raises:
            DataError: If a list or an annotation is missing or malformed, an image is in lists of
                two splits, an image or a segmentation of ``val`` or ``test`` is missing, damaged or
                of another size than the other, or ``metadata`` holds files of another origin.
        """
        devkit = root / _DEVKIT if (root / _DEVKIT).is_dir() else root
        for name in (name for lists in self.lists.values() for name in lists):
            if not (devkit / list_place(name)).is_file():
                raise DataError(
                    f"{devkit / list_place(name)}: this list of images is missing; set `root` to"
                    f" the folder that holds {_DEVKIT}, or name other lists."
                )
        choice = Choice(**vars(self))
        settings = {"version": _VERSION, "root": root, **vars(self)}
        write_metadata(metadata, "VOC", settings, lambda: Devkit(choice, root, devkit).read())
