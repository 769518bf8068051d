"""Reader of a data set in tar shards, the public WebDataset layout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from learned_saliency.datamodules.decoding import COLORS
from learned_saliency.datamodules.metadata import SPLITS
from learned_saliency.datamodules.opening import PackedImage
from learned_saliency.datamodules.readers.annotations import Marks
from learned_saliency.datamodules.readers.base import ONE_CLASS
from learned_saliency.datamodules.readers.folderrows import Photos
from learned_saliency.datamodules.readers.foldersplits import Rule, make_splits
from learned_saliency.datamodules.readers.making import report_of
from learned_saliency.datamodules.readers.packed import PackedReader, split_by_names
from learned_saliency.datamodules.readers.shardclasses import (
    CLASS_NAMES,
    RECORD,
    class_labels,
    read_record,
)
from learned_saliency.datamodules.readers.shardrows import ShardRow, ShardScan, rows_of_split
from learned_saliency.datamodules.readers.writing import Metadata
from learned_saliency.datamodules.shards import (
    Remote,
    ShardStore,
    expand_braces,
    find_shards,
    is_address,
    split_id,
)
from learned_saliency.datamodules.textfile import DataError

_THREADS = 8
_REMOTE_WINDOW = 4096  # images, of shards that are fetched
_FAULTS = 20  # after so many in all shards, no more are looked for


class WebDatasetReader(PackedReader):
    """Writer of the metadata of images in tar shards, and reader of the images.

    A sample is members that follow each other and share their name up to its first dot: an image,
    ``.cls`` with its class (a number, or a name) and ``.json``, an object whose keys ``label``,
    ``class``, ``width``, ``height`` and ``boxes`` are read; masks are images, ``.mask.png`` or
    ``.mask.0.png``, ``.mask.1.png``, what counts for nothing is in ``.ignore.png``. Members of all
    other kinds are never looked at. docs/shards.md describes the keys. The id of an image is its
    shard and its member, ``train-000000.tar/000123.jpg``.

    The root is a folder, or the address of one on a web server, from which shards are fetched into
    the cache when they are needed. Splits that are missing are drawn as in `FolderReader`, unless
    their fraction is 0.

    Args:
        train: Names of the shards for training, relative to the root: patterns with ``*`` and
            ranges ``{000..099}``, one or several. None takes all .tar files below the root whose
            names or folders tell the split. From an address they have to be named.
        val: Likewise.
        test: Likewise.
        image: Ending of the image's member, where samples have several images, ``left.jpg``; None
            for the only one.
        label: Key of the JSON member that holds the class; None for ``.cls``, or else ``label``.
        val_fraction: See `FolderReader`.
        test_fraction: See `FolderReader`.
        seed: See `FolderReader`.
        keep_similar: See `FolderReader`.
        exif_orientation: See `WSOLDataModule`; as `data shard` has noted it.
        max_value: Likewise.
        channels: Number of channels of the images; the data module's.
        shuffle_window: Images among which the order for training is mixed, 1 or more, so that
            shards are read nearly in one go; None mixes all images, of fetched shards 4096.
        keep_gb: Largest size of all fetched shards in the cache, GB.

    Raises:
        ValueError: If a fraction, the seed, the window or ``keep_gb`` is out of range.
    """

    tasks = ONE_CLASS
    kind = "webdataset"
    packs_masks = True

    def __init__(
        self,
        *,
        train: str | Sequence[str] | None = None,
        val: str | Sequence[str] | None = None,
        test: str | Sequence[str] | None = None,
        image: str | None = None,
        label: str | None = None,
        val_fraction: float = 0.0,
        test_fraction: float = 0.0,
        seed: int = 0,
        keep_similar: bool = True,
        exif_orientation: bool = False,
        max_value: float | None = None,
        channels: int = COLORS,
        shuffle_window: int | None = None,
        keep_gb: float = 100.0,
    ) -> None:
        self.patterns = {
            split: [given] if isinstance(given, str) else list(given or ())
            for split, given in (("train", train), ("val", val), ("test", test))
        }
        self.image, self.label = image, label
        super().__init__(
            val_fraction=val_fraction,
            test_fraction=test_fraction,
            seed=seed,
            keep_similar=keep_similar,
            exif_orientation=exif_orientation,
            channels=channels,
        )
        if not keep_gb > 0 or (shuffle_window is not None and shuffle_window < 1):
            got = f"{keep_gb} and {shuffle_window}"
            raise ValueError(f"expected keep_gb above 0 and shuffle_window of 1 or more, got {got}")
        self.max_value = max_value
        self._keep_gb, self._window = keep_gb, shuffle_window
        self._remote: Remote | None = None
        self._store: ShardStore | None = None

    @property
    def shuffle_window(self) -> int | None:
        """Window of the order of training images, see `ByteReader`."""
        return self._window or (None if self._remote is None else _REMOTE_WINDOW)

    def placed(self, root: str | Path, read_only: bool) -> tuple[WebDatasetReader, Path]:
        """Return a reader for a root, and the folder of it on this machine; see `placed`."""
        if not is_address(root):
            return self, Path(root)
        remote = Remote(str(root), not read_only, round(self._keep_gb * 1e9))
        return self._copy(_remote=remote), remote.folder

    def at(self, root: Path) -> WebDatasetReader:
        """Return a reader of the same settings that opens images below ``root``."""
        locate = None if self._remote is None else self._remote.locate
        return self._copy(_store=ShardStore(root, locate))

    def open(self, image_id: str) -> bytes:
        """Read the encoded bytes of an image or a mask.

        Raises:
            ImageError: If there is no such image.
        """
        assert self._store is not None, "a reader opens images after `at`"
        return self._store.read(image_id)

    def container(self, image_id: str) -> str:
        """Return the name of the shard that an image is in."""
        return split_id(image_id)[0]

    def containers(self, image_ids: Sequence[str]) -> list[str]:
        """Name the shards that images are in; none of fetched ones, whose changes do not count."""
        return [] if self._remote is not None else super().containers(image_ids)

    def _listing(self, root: Path, files: Mapping[str, str]) -> str:
        """Return what tells that the shards have changed; of fetched ones their names alone."""
        if self._remote is not None:
            return repr((self._remote.address, [*files]))
        beside = [name for name in (RECORD, CLASS_NAMES) if (root / name).is_file()]
        return super()._listing(root, dict.fromkeys([*files, *beside], ""))

    def _list(self, root: Path) -> dict[str, str]:
        """List the shards with their splits.

        Raises:
            DataError: If there are none, one is in two splits, or the split of one is not clear.
        """
        named = {split: patterns for split, patterns in self.patterns.items() if patterns}
        if self._remote is not None:
            root.mkdir(parents=True, exist_ok=True)
            if "train" not in named:
                raise DataError(
                    f"{self._remote.address}: a web server does not list its shards; name them by "
                    "data.reader.train='train-{000000..000099}.tar', likewise val and test."
                )
            listed = {s: [n for p in given for n in expand_braces(p)] for s, given in named.items()}
        elif not root.is_dir():
            raise DataError(f"{root}: the folder of shards is missing; set `root`.")
        elif not named:
            return split_by_names(
                root,
                ".tar",
                lambda stem: stem.replace("_", "-").split("-"),
                none="holds no shards, files that end in .tar",
                remedy="name the shards of each by data.reader.train='*.tar', data.reader.val and "
                "data.reader.test",
            )
        else:
            listed = {split: find_shards(root, patterns) for split, patterns in named.items()}
        found: dict[str, str] = {}
        for split, names in listed.items():
            for name in names:
                if found.setdefault(name, split) != split:
                    raise DataError(f"{root / name}: is in {found[name]} and in {split}; correct.")
        return found

    def _read(self, root: Path, shards: Mapping[str, str]) -> Metadata:
        """Read the labels, boxes and names of masks of all samples."""
        store = self.at(root)
        scans = self._scan(store._store, shards)
        rows = [row for scan in scans for row in scan.rows]
        record = read_record(
            root / RECORD,
            {
                "exif_orientation": self.exif_orientation,
                "max_value": self.max_value,
            },
        )
        labels, names = class_labels(root, rows, record.get("class_names"))
        splits = [row.split for row in rows]
        remarks, report = [], {"given": sorted({*splits} - {"train"}), "made": []}
        if any(part > 0 and split not in splits for split, part in self.fractions.items()):
            splits, report, remarks = self._drawn(root, store, rows, labels, names)
        made, size_of = {}, partial(self._size, root, store)
        for split in SPLITS:
            chosen = [place for place, name in enumerate(splits) if name == split]
            if chosen:
                of_split = [rows[place] for place in chosen]
                of_labels = [labels[place] for place in chosen]
                made[split] = rows_of_split(split, of_split, of_labels, size_of)
        if "train" not in made:
            raise DataError(f"{root}: holds no training images; name some shards train-*.tar.")
        return Metadata(names, made, report_of(root, made, report, remarks))

    def _size(self, root: Path, store: WebDatasetReader, image_id: str) -> tuple[int, int]:
        """Read the size of an image for boxes to fit into."""
        image = PackedImage(root / image_id, image_id, store.open)
        (facts,) = self._facts(root, [image_id], [image])
        return facts.size(self.exif_orientation)

    def _scan(self, store: ShardStore, shards: Mapping[str, str]) -> list[ShardScan]:
        """Read all shards, several at a time.

        Raises:
            DataError: If there are faults: the first one, and how many more there are.
        """

        def scan(shard: tuple[str, str]) -> ShardScan:
            return ShardScan.of(store.path(shard[0]), *shard, image=self.image, label=self.label)

        scans, faults = [], []
        with ThreadPoolExecutor(_THREADS) as pool:
            for found in pool.map(scan, shards.items()):
                scans.append(found)
                faults += found.faults
                if len(faults) > _FAULTS:
                    pool.shutdown(wait=False, cancel_futures=True)
                    break
        if faults:
            more = f" Further faults: {' '.join(faults[1:])}" if faults[1:] else ""
            raise DataError(f"{faults[0]}{more}")
        return scans

    def _drawn(
        self,
        root: Path,
        store: WebDatasetReader,
        rows: Sequence[ShardRow],
        labels: Sequence[int],
        names: Sequence[str],
    ) -> tuple[list[str], dict[str, Any], list[str]]:
        """Draw the splits that are missing; return all splits, and what there is to tell."""
        ids = [row.image_id for row in rows]
        images = (PackedImage(root / name, name, store.open) for name in ids)
        facts = self._facts(root, ids, images)
        photos = Photos(root, ids, [*labels], [row.split for row in rows], facts)
        boxes = {row.image_id: [row] for row in rows if row.boxes}
        masks = {row.image_id: [*row.masks] for row in rows if row.masks}
        rule = Rule(self.fractions, self.seed, None, "add samples, or shards {split}-*.tar")
        found = make_splits(photos, names, Marks(boxes, masks, []), rule, {})
        return found.photos.splits, found.report, found.remarks
