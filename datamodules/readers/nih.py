"""Reader of ChestX-ray14 (Wang et al., CVPR 2017), straight from the unpacked download."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from learned_saliency.datamodules.readers.base import MANY_CLASSES, Published, Source
from learned_saliency.datamodules.readers.findings import (
    FINDINGS,
    Entry,
    FindingBox,
    read_finding_boxes,
    read_findings,
)
from learned_saliency.datamodules.readers.manylabels import (
    LabeledImage,
    check_draw,
    covering_box,
    draw_shares,
    multilabel_rows,
    sizes_of,
)
from learned_saliency.datamodules.readers.writing import Metadata, SplitRows, write_metadata
from learned_saliency.datamodules.textfile import DataError, line_error, read_lines

_VERSION = 1
_TABLES = ("Data_Entry_2017_v2020.csv", "Data_Entry_2017.csv")
_BOXES = "BBox_List_2017.csv"
_LISTS = {"train": "train_val_list.txt", "test": "test_list.txt"}
_PAGE = "NIH Clinical Center (https://nihcc.app.box.com/v/ChestXray-NIHCC)"


class NIHReader:
    """Writer of the metadata of ChestX-ray14 from its tables and lists.

    ``test`` is the official test list. ``val`` is a share of the official list for training and
    validation in which every finding has its part; the images of a patient stay together. A class
    is a finding; images of ``No Finding`` have none of the classes.

    Images are looked for in ``images`` and in ``images_001/images`` to ``images_012/images``, as
    the archives are unpacked into one folder or into one each. Boxes are there of few images and 8
    of the 14 findings; a box ``x, y, w, h`` lies between pixels, and of it the smallest box of
    whole pixels that covers it is taken.

    Args:
        val_fraction: Share of the official list for training and validation that becomes ``val``,
            in (0, 1].
        boxed_val_fraction: Share of the images of patients with boxes that become ``val`` with all
            images of these patients, in [0, 1). Without this ``val`` has no box to choose a
            threshold by, as boxes are of images of the official test list.
        skip_missing: Whether images of the lists that are not there are left out, for those who
            have unpacked a part of the archives.
        seed: Seed of the draws, 0 or more.

    Raises:
        ValueError: If a fraction or ``seed`` is out of range.
    """

    tasks = MANY_CLASSES
    sources: Sequence[Source] = (
        Source(
            "images",
            "images (images_001.tar.gz to images_012.tar.gz)",
            _PAGE,
            True,
            ("images_001",),
        ),
        Source(_TABLES[0], "table of findings", _PAGE, True, _TABLES[1:]),
        *(Source(name, f"official list for {split}", _PAGE) for split, name in _LISTS.items()),
        Source(_BOXES, "boxes of some test images", _PAGE, False),
    )

    def __init__(
        self,
        *,
        val_fraction: float = 0.1,
        boxed_val_fraction: float = 0.0,
        skip_missing: bool = False,
        seed: int = 0,
    ) -> None:
        check_draw(val_fraction, seed)
        if not 0 <= boxed_val_fraction < 1:
            raise ValueError(f"expected boxed_val_fraction in [0, 1), got {boxed_val_fraction}")
        self.val_fraction, self.boxed_val_fraction = val_fraction, boxed_val_fraction
        self.skip_missing, self.seed = skip_missing, seed

    @property
    def published(self) -> Mapping[str, Published]:
        """Published counts, but for how many are drawn, which depends on the patients."""
        found = {split: Published(classes=len(FINDINGS)) for split in ("train", "val")}
        if not self.boxed_val_fraction and not self.skip_missing:
            found["test"] = Published(25596, classes=len(FINDINGS))
        return found

    def prepare(self, root: Path, metadata: Path) -> None:
        """Write the metadata unless it was written with the same settings from the same files.

        Args:
            root: The folder of the download.
            metadata: The folder to write.

        Raises:
            DataError: If the table or a list is missing or malformed, an image of a list is not in
                the table or, unless such images are left out, not there, an image of ``test`` is
                damaged, a patient is in both lists, or ``metadata`` holds files of another origin.
        """
        table = next((root / name for name in _TABLES if (root / name).is_file()), None)
        if table is None:
            raise DataError(f"{root}: not ChestX-ray14 (no {_TABLES[1]}); set `root`.")
        lists = {split: root / name for split, name in _LISTS.items()}
        files = [table, *lists.values()]
        files += [root / _BOXES] if (root / _BOXES).is_file() else []
        for path in files:
            if not path.is_file():
                raise DataError(f"{path}: this list of images is missing; get it from {_PAGE}.")
        stamps = {path.name: [path.stat().st_size, path.stat().st_mtime_ns] for path in files}
        settings = {"version": _VERSION, "root": root, **vars(self), "files": stamps}
        if self.skip_missing:
            settings["images"] = len(_places(root))
        write_metadata(metadata, "NIH", settings, lambda: self._read(root, table, lists))

    def _read(self, root: Path, table: Path, lists: Mapping[str, Path]) -> Metadata:
        """Read the three splits."""
        entries, places = read_findings(table), _places(root)
        splits: dict[str, list[str]] = {}
        for split, path in lists.items():
            splits[split] = self._listed(path, entries, places, splits.get("train", ()))
        _check_patients(lists["test"], splits, entries)
        boxes = read_finding_boxes(root / _BOXES) if (root / _BOXES).is_file() else []
        splits["train"], splits["val"] = self._drawn(splits["train"], entries, self.val_fraction)
        boxed = {box.image for box in boxes}
        if self.boxed_val_fraction:
            patients = {entries[name].patient for name in splits["test"] if name in boxed}
            pool = [name for name in splits["test"] if entries[name].patient in patients]
            moved = set(self._drawn(pool, entries, self.boxed_val_fraction)[1])
            splits["val"] += [name for name in splits["test"] if name in moved]
            splits["test"] = [name for name in splits["test"] if name not in moved]
        rows = {}
        for split, names in splits.items():
            if not names:
                continue
            images = {
                name: LabeledImage(places[name], list(entries[name].labels)) for name in names
            }
            own = [box for box in boxes if box.image in images]
            rows[split] = self._rows(root, images, own if split != "train" else [])
        return Metadata(FINDINGS, rows)

    def _listed(
        self,
        path: Path,
        entries: Mapping[str, Entry],
        places: Mapping[str, str],
        others: Sequence[str],
    ) -> list[str]:
        """Read a list of images."""
        found: dict[str, None] = {}
        taken = set(others)
        for row, line in enumerate(line for line in read_lines(path) if line.strip()):
            name = line.strip()
            if name not in entries:
                raise line_error(path, row, f"{name[:60]!r} is not in the table; correct the line.")
            if name in found or name in taken:
                raise line_error(path, row, f"{name} is listed twice; remove one.")
            if name in places:
                found[name] = None
            elif not self.skip_missing:
                raise line_error(
                    path,
                    row,
                    f"the image {name} is in none of the folders images; unpack all archives, or"
                    " leave such images out by data.reader.skip_missing=true.",
                )
        if not found:
            raise DataError(f"{path}: none of its images is there; unpack the archives.")
        return list(found)

    def _drawn(
        self, names: Sequence[str], entries: Mapping[str, Entry], part: float
    ) -> tuple[list[str], list[str]]:
        """Divide images by patients: those that stay, and the part."""
        shares = draw_shares(
            names,
            [entries[name].labels for name in names],
            [entries[name].patient for name in names],
            {"train": 1 - part, "val": part},
            self.seed,
        )
        pairs = list(zip(names, shares, strict=True))
        stay, drawn = ([n for n, own in pairs if own == share] for share in ("train", "val"))
        return stay, drawn

    def _rows(
        self, root: Path, images: Mapping[str, LabeledImage], boxes: Sequence[FindingBox]
    ) -> SplitRows:
        """Make the rows of a split, with boxes where it has some."""
        found = list(images.values())
        if not boxes:
            return multilabel_rows(found)
        sizes = sizes_of(root, [image.id for image in found], "unpack the archives again")
        size_of = dict(zip(images, sizes.tolist(), strict=True))
        for box in boxes:
            image = images[box.image]
            if box.label not in image.labels:
                raise DataError(
                    f"{box.where}: the table of findings has no {FINDINGS[box.label]} for"
                    f" {box.image}; correct one of the two."
                )
            covering = covering_box(box.corners, size_of[box.image], box.where)
            image.boxes = [*image.boxes, (box.label, covering)]
        return multilabel_rows(found, np.array(sizes))


def _places(root: Path) -> dict[str, str]:
    """Find the images: their paths relative to the root by their names."""
    found: dict[str, str] = {}
    for folder in ["images", *(f"images_{number:03}/images" for number in range(1, 13))]:
        if (root / folder).is_dir():
            for name in sorted(os.listdir(root / folder)):
                found.setdefault(name, f"{folder}/{name}")
    return found


def _check_patients(
    path: Path, splits: Mapping[str, Sequence[str]], entries: Mapping[str, Entry]
) -> None:
    """Check that no patient has images in both lists."""
    known = {entries[name].patient for name in splits["train"]}
    for name in splits["test"]:
        if entries[name].patient in known:
            listed = [line.strip() for line in read_lines(path) if line.strip()]
            raise line_error(
                path,
                listed.index(name),
                f"{name} is of the patient {entries[name].patient}, who is in {_LISTS['train']},"
                " too; correct the lists.",
            )
