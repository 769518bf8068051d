"""Reader of CUB-200-2011 (Wah et al. 2011), straight from the unpacked download."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from learned_saliency.datamodules.checks import read_sizes
from learned_saliency.datamodules.masks import MaskValues
from learned_saliency.datamodules.metadata import read_split
from learned_saliency.datamodules.readers.base import ONE_CLASS, Published, Source
from learned_saliency.datamodules.readers.holdout import check_draw, draw_val
from learned_saliency.datamodules.readers.writing import (
    Metadata,
    SplitRows,
    absolute,
    write_metadata,
)
from learned_saliency.datamodules.textfile import DataError, is_integer, line_error, read_lines

_VERSION = 2
_MASKS = "segmentations"
_CLASSES, _TRAIN, _TEST, _CUBV2 = 200, 5994, 5794, 1000  # numbers of classes and images
_PAGE = "Caltech-UCSD Birds-200-2011 (https://www.vision.caltech.edu/datasets/cub_200_2011/)"
_BENCHMARK = "the WSOL benchmark's repository (https://github.com/clovaai/wsolevaluation)"


class CUBReader:
    """Writer of the metadata of CUB-200-2011 from the data set's own text files.

    The official test split is ``test``. ``val`` is CUBV2, the 1000 images that the WSOL benchmark
    collected for the purpose, where ``cubv2_metadata`` is given, and ``train`` then is the whole
    official training split as in the benchmark. Without CUBV2, ``val_per_class`` training images of
    each class, drawn with ``seed``, become ``val`` and are *missing from* ``train``; thresholds and
    checkpoints are then chosen on other images than the benchmark's.

    Boxes become x0 = int(x), y0 = int(y), x1 = int(x + w), y1 = int(y + h) as in the benchmark's
    metadata, and end at the last pixel of the image. Image sizes are read from the image files.
    Where the separate download of segmentations lies in ``root/segmentations``, evaluation images
    have masks, too, except those of CUBV2. Its gray values are shares of annotators: the object is
    what at least half of them marked.

    Args:
        cubv2_metadata: The benchmark's folder of CUB validation metadata (``image_ids.txt`` and so
            on); None makes a split instead.
        cubv2_root: Folder that CUBV2's ids are relative to; None takes the images of CUB itself,
            among which the benchmark unpacks them.
        val_per_class: Images of each class that become ``val`` without CUBV2, 1 or more.
        seed: Seed of the choice of these images, 0 or more.

    Raises:
        ValueError: If ``val_per_class`` or ``seed`` is out of range.
    """

    tasks = ONE_CLASS
    mask_values = MaskValues(object=range(128, 256))

    def __init__(
        self,
        cubv2_metadata: str | Path | None = None,
        cubv2_root: str | Path | None = None,
        *,
        val_per_class: int = 5,
        seed: int = 0,
    ) -> None:
        check_draw(val_per_class, seed)
        self.cubv2_metadata = absolute(cubv2_metadata)
        self.cubv2_root = absolute(cubv2_root)
        self.val_per_class = val_per_class
        self.seed = seed

    @property
    def image_roots(self) -> list[Path]:
        """Folders of images beside the root: the one that ``cubv2_root`` names, if any."""
        return [] if self.cubv2_root is None else [self.cubv2_root]

    @property
    def published(self) -> Mapping[str, Published]:
        """Published counts; without CUBV2, less or only what ``val_per_class`` sets aside."""
        drawn = 0 if self.cubv2_metadata else self.val_per_class * _CLASSES
        val = (_CUBV2, _CUBV2, None) if self.cubv2_metadata else (drawn, drawn, drawn)
        return {
            "train": Published(_TRAIN - drawn, _TRAIN - drawn, None, _CLASSES),
            "val": Published(*val, _CLASSES),
            "test": Published(_TEST, _TEST, _TEST, _CLASSES),
        }

    @property
    def sources(self) -> Sequence[Source]:
        """Parts of the download."""
        needed = {
            "images.txt": "list of the images",
            "classes.txt": "names of the classes",
            "image_class_labels.txt": "classes of the images",
            "train_test_split.txt": "official split",
            "bounding_boxes.txt": "boxes",
            "images": "images",
        }
        extra = {
            _MASKS: "masks, a separate download (segmentations.tgz)",
            "attributes": "attributes of the classes, for studies=[cues]",
            "parts": "places of the parts, for studies=[cues]",
        }
        cubv2 = Source(
            str(self.cubv2_metadata or "metadata/CUB/val"),
            "CUBV2, the benchmark's validation boxes, for data.reader.cubv2_metadata",
            _BENCHMARK,
            self.cubv2_metadata is not None,
        )
        return [
            *(Source(path, what, _PAGE) for path, what in needed.items()),
            *(Source(path, what, _PAGE, False) for path, what in extra.items()),
            cubv2,
        ]

    def prepare(self, root: Path, metadata: Path) -> None:
        """Write the metadata unless this reader, with the same settings, has written it already.

        Metadata of other settings is replaced as a whole. Ids are relative to ``root``, so
        ``images/001.Black_footed_Albatross/...``.

        Args:
            root: The folder ``CUB_200_2011`` of the download.
            metadata: The folder to write.

        Raises:
            DataError: If a text file of the download is missing or malformed, an image is missing,
                a box is inverted or outside of its image, a class is too small to split, or
                ``metadata`` holds files of another origin.
        """
        if not (root / "images.txt").is_file():
            raise DataError(
                f"{root}: not the unpacked folder CUB_200_2011 (no images.txt); set `root`."
            )
        masks = (root / _MASKS).is_dir()
        settings = {"version": _VERSION, "root": root, "masks": masks, **vars(self)}
        write_metadata(metadata, "CUB", settings, lambda: self._read(root, masks))

    def _read(self, root: Path, masks: bool) -> Metadata:
        """Read the three splits and the class names."""
        names = _read_table(root / "images.txt", "image_id path")
        classes = _read_table(root / "classes.txt", "class_id name")
        ids = [f"images/{name}" for name in names.values()]
        labels = _read_labels(root, names, classes)
        is_train = _read_numbers(root / "train_test_split.txt", "image_id is_training", names)
        sizes = _read_image_sizes(root, ids)
        boxes = _read_boxes(root, names, sizes)
        train = np.flatnonzero(is_train[:, 0] != 0)
        rows = {"train": train, "test": np.flatnonzero(is_train[:, 0] == 0)}
        if self.cubv2_metadata is None:
            rows["val"] = draw_val(labels, train, self.val_per_class, self.seed)
            rows["train"] = np.setdiff1d(train, rows["val"])
        splits = {}
        for split, chosen in rows.items():
            own = [ids[row] for row in chosen]
            has_masks = masks and split != "train"
            splits[split] = SplitRows(
                own,
                labels[chosen],
                sizes[chosen],
                boxes[chosen],
                own,
                [(name, _mask_of(name), "") for name in own] if has_masks else None,
            )
        if self.cubv2_metadata is not None:
            splits["val"] = self._read_cubv2(root)
        return Metadata([name.split(".", 1)[-1] for name in classes.values()], splits)

    def _read_cubv2(self, root: Path) -> SplitRows:
        """Read the benchmark's validation metadata with ids that are relative to ``root``."""
        if not (self.cubv2_metadata / "image_ids.txt").is_file():
            raise DataError(
                f"{self.cubv2_metadata}: not the benchmark's folder metadata/CUB/val (no"
                " image_ids.txt); set data.reader.cubv2_metadata."
            )
        split = read_split(self.cubv2_metadata, localization=True)
        if split.boxes is None:
            raise DataError(f"{self.cubv2_metadata}: holds no boxes; give CUBV2's own metadata.")
        place = root / "images" if self.cubv2_root is None else self.cubv2_root
        first = place / split.image_ids[0]
        if not first.is_file():
            raise DataError(
                f"{first}: this image of CUBV2 is missing; unpack CUBV2.tar in {place}, or set"
                " data.reader.cubv2_root."
            )
        if place.is_relative_to(root):
            place = place.relative_to(root)
        ids = [(place / image_id).as_posix() for image_id in split.image_ids]
        box_ids = [ids[row] for row in split.box_images]
        return SplitRows(ids, split.labels, split.sizes, split.boxes, box_ids)


def _mask_of(image_id: str) -> str:
    """Name the mask of an image ``images/CLASS/NAME.jpg``."""
    return Path(_MASKS, *Path(image_id).parts[1:]).with_suffix(".png").as_posix()


def _read_table(path: Path, form: str) -> dict[int, str]:
    """Read lines of an integer id and a text, separated by spaces, in the file's order."""
    spaces = form.count(" ")
    table: dict[int, str] = {}
    for row, line in enumerate(line for line in read_lines(path) if line.strip()):
        key, _, rest = line.strip().partition(" ")
        if not is_integer(key) or len(rest.split(" ", spaces - 1)) != spaces or not rest:
            raise line_error(path, row, f"expected `{form}`; unpack the download again.")
        if int(key) in table:
            raise line_error(path, row, f"{key} is listed twice; unpack the download again.")
        table[int(key)] = rest
    if not table:
        raise DataError(f"{path}: is empty; unpack the download again.")
    return table


def _read_numbers(path: Path, form: str, names: dict[int, str]) -> np.ndarray:
    """Read the numbers of all images, float64 of shape (N, fields - 1), in the images' order."""
    table = _read_table(path, form)
    missing = next((key for key in names if key not in table), None)
    if missing is not None:
        raise DataError(f"{path}: no line for image {missing}; unpack the download again.")
    try:
        return np.array([[float(field) for field in table[key].split()] for key in names])
    except ValueError as error:
        raise DataError(f"{path}: {error}; unpack the download again.") from error


def _read_labels(root: Path, names: dict[int, str], classes: dict[int, str]) -> np.ndarray:
    """Read the classes of the images, int64 (N,), as places in the list of classes."""
    path = root / "image_class_labels.txt"
    class_ids = _read_numbers(path, "image_id class_id", names)[:, 0]
    positions = {class_id: i for i, class_id in enumerate(classes)}
    unknown = np.flatnonzero(~np.isin(class_ids, list(positions)))
    if len(unknown):
        raise DataError(
            f"{path}: class {class_ids[unknown[0]]:g} of image {list(names)[unknown[0]]} is not in"
            " classes.txt; unpack the download again."
        )
    return np.array([positions[int(class_id)] for class_id in class_ids], np.int64)


def _read_boxes(root: Path, names: dict[int, str], sizes: np.ndarray) -> np.ndarray:
    """Read the boxes of the images of the given sizes (N, 2), int64 (N, 4), both ends inside."""
    path = root / "bounding_boxes.txt"
    corners = _read_numbers(path, "image_id x y width height", names)
    corners[:, 2:] += corners[:, :2]
    inverted = ~(corners[:, 2:] >= corners[:, :2]).all(1) | ~np.isfinite(corners).all(1)
    wrong = inverted | (corners[:, :2] >= sizes).any(1) | (corners[:, 2:] < 0).any(1)
    if wrong.any():
        row = int(wrong.argmax())
        fault = "is inverted" if inverted[row] else "lies outside of the image"
        raise DataError(
            f"{path}: the box of image {list(names)[row]} {fault}; unpack the download again."
        )
    return np.clip(corners.astype(np.int64), 0, np.tile(sizes, 2) - 1)


def _read_image_sizes(root: Path, ids: list[str]) -> np.ndarray:
    sizes, broken = read_sizes([root / image_id for image_id in ids])
    if broken:
        first = min(broken)
        message = f"the image {root / ids[first]} cannot be read ({broken[first]}); restore it."
        raise line_error(root / "images.txt", first, message)
    return sizes
