"""Reader of CUB-200-2011 (Wah et al. 2011), straight from the unpacked download."""

from pathlib import Path

import numpy as np

from learned_saliency.datamodules.checks import read_sizes
from learned_saliency.datamodules.metadata import read_split
from learned_saliency.datamodules.readers.writing import (
    Metadata,
    SplitRows,
    absolute,
    write_metadata,
)
from learned_saliency.datamodules.textfile import DataError, is_integer, line_error, read_lines

_VERSION = 1


class CUBReader:
    """Writer of the metadata of CUB-200-2011 from the data set's own text files.

    The official test split is ``test``. ``val`` is CUBV2, the 1000 images that the WSOL benchmark
    collected for the purpose, where ``cubv2_metadata`` is given, and ``train`` then is the whole
    official training split as in the benchmark. Without CUBV2, ``val_per_class`` training images of
    each class, drawn with ``seed``, become ``val`` and are *missing from* ``train``; thresholds and
    checkpoints are then chosen on other images than the benchmark's.

    Boxes become x0 = int(x), y0 = int(y), x1 = int(x + w), y1 = int(y + h) as in the benchmark's
    metadata, and end at the last pixel of the image. Image sizes are read from the image files.

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

    def __init__(
        self,
        cubv2_metadata: str | Path | None = None,
        cubv2_root: str | Path | None = None,
        *,
        val_per_class: int = 5,
        seed: int = 0,
    ) -> None:
        if val_per_class < 1:
            raise ValueError(f"expected val_per_class of 1 or more, got {val_per_class}")
        if seed < 0:
            raise ValueError(f"expected a seed of 0 or more, got {seed}")
        self.cubv2_metadata = absolute(cubv2_metadata)
        self.cubv2_root = absolute(cubv2_root)
        self.val_per_class = val_per_class
        self.seed = seed

    @property
    def image_roots(self) -> list[Path]:
        """Folders of images beside the root: the one that ``cubv2_root`` names, if any."""
        return [] if self.cubv2_root is None else [self.cubv2_root]

    def prepare(self, root: Path, metadata: Path) -> None:
        """Write the metadata unless this reader, with the same settings, has written it already.

        Metadata of other settings is replaced as a whole. Ids are relative to ``root``, so
        ``images/001.Black_footed_Albatross/...``.

        Args:
            root: The folder ``CUB_200_2011`` of the download.
            metadata: The folder to write.

        Raises:
            DataError: If a text file of the download is missing or malformed, an image is missing,
                a class is too small to split, or ``metadata`` holds files of another origin.
        """
        if not (root / "images.txt").is_file():
            raise DataError(
                f"{root}: not the unpacked folder CUB_200_2011 (no images.txt); set `root`."
            )
        settings = {"version": _VERSION, "root": root, **vars(self)}
        write_metadata(metadata, "CUB", settings, lambda: self._read(root))

    def _read(self, root: Path) -> Metadata:
        """Read the three splits and the class names."""
        names = _read_table(root / "images.txt", "image_id path")
        classes = _read_table(root / "classes.txt", "class_id name")
        class_ids = _read_numbers(root / "image_class_labels.txt", "image_id class_id", names)
        is_train = _read_numbers(root / "train_test_split.txt", "image_id is_training", names)
        corners = _read_numbers(root / "bounding_boxes.txt", "image_id x y width height", names)
        positions = {class_id: i for i, class_id in enumerate(classes)}
        unknown = np.flatnonzero(~np.isin(class_ids[:, 0], list(positions)))
        if len(unknown):
            raise DataError(
                f"{root / 'image_class_labels.txt'}: class {class_ids[unknown[0], 0]:g} of image"
                f" {list(names)[unknown[0]]} is not in classes.txt; unpack the download again."
            )
        ids = [f"images/{name}" for name in names.values()]
        labels = np.array([positions[int(class_id)] for class_id in class_ids[:, 0]], np.int64)
        sizes = _read_image_sizes(root, ids)
        corners[:, 2:] += corners[:, :2]
        boxes = np.clip(corners.astype(np.int64), 0, np.tile(sizes, 2) - 1)

        train = np.flatnonzero(is_train[:, 0] != 0)
        rows = {"train": train, "test": np.flatnonzero(is_train[:, 0] == 0)}
        splits = {}
        if self.cubv2_metadata is None:
            rows["val"] = self._draw_val(labels, train)
            rows["train"] = np.setdiff1d(train, rows["val"])
        else:
            splits["val"] = self._read_cubv2(root)
        for split, chosen in rows.items():
            names_of_split = [ids[row] for row in chosen]
            splits[split] = SplitRows(
                names_of_split, labels[chosen], sizes[chosen], boxes[chosen], names_of_split
            )
        return Metadata([name.split(".", 1)[-1] for name in classes.values()], splits)

    def _draw_val(self, labels: np.ndarray, train: np.ndarray) -> np.ndarray:
        """Draw the rows of ``val`` among those of the official training split."""
        generator = np.random.default_rng(self.seed)
        drawn = []
        for label in np.unique(labels[train]):
            members = train[labels[train] == label]
            if len(members) <= self.val_per_class:
                raise DataError(
                    f"class {label} has {len(members)} training images, too few to set"
                    f" {self.val_per_class} of them aside; lower `val_per_class`."
                )
            drawn.append(generator.choice(members, self.val_per_class, replace=False))
        return np.sort(np.concatenate(drawn))

    def _read_cubv2(self, root: Path) -> SplitRows:
        """Read the benchmark's validation metadata with ids that are relative to ``root``."""
        split = read_split(self.cubv2_metadata, localization=True)
        if split.boxes is None:
            raise DataError(f"{self.cubv2_metadata}: holds no boxes; give CUBV2's own metadata.")
        place = root / "images" if self.cubv2_root is None else self.cubv2_root
        if place.is_relative_to(root):
            place = place.relative_to(root)
        ids = [(place / image_id).as_posix() for image_id in split.image_ids]
        box_ids = [ids[row] for row in split.box_images]
        return SplitRows(ids, split.labels, split.sizes, split.boxes, box_ids)


def _read_table(path: Path, form: str) -> dict[int, str]:
    """Read lines of an integer id and a text, separated by spaces, in the file's order."""
    spaces = form.count(" ")
    table: dict[int, str] = {}
    for row, line in enumerate(line for line in read_lines(path) if line.strip()):
        key, _, rest = line.strip().partition(" ")
        if not is_integer(key) or len(rest.split(" ", spaces - 1)) != spaces or not rest:
            raise line_error(path, row, f"expected `{form}`; unpack the download again.")
        table[int(key)] = rest
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


def _read_image_sizes(root: Path, ids: list[str]) -> np.ndarray:
    sizes, broken = read_sizes([root / image_id for image_id in ids])
    if broken:
        first = min(broken)
        message = f"the image {root / ids[first]} cannot be read ({broken[first]}); restore it."
        raise line_error(root / "images.txt", first, message)
    return sizes
