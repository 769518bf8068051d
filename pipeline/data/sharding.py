"""Writing of a data set as tar shards."""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from omegaconf import DictConfig

from learned_saliency.datamodules import (
    AS_STORED,
    IMAGE_ENDINGS,
    SPLITS,
    DataError,
    Decoding,
    ImageError,
    ImageSource,
    SplitMetadata,
    WSOLDataModule,
    check_inside,
    image_ending,
    image_opener,
    image_roots,
    image_source,
    inspect_image,
    mask_opener,
    mask_values,
    read_parts,
    read_samples,
    read_split,
    writing_shard,
)
from learned_saliency.pipeline.cli import UserError
from learned_saliency.pipeline.data.progress import Progress
from learned_saliency.pipeline.data.shardrecord import (
    RECORD,
    facts_of,
    open_record,
    record_text,
    settings_of,
)
from learned_saliency.storage import write_text
from learned_saliency.visualization import encode_png

_DIGITS = 9  # the length of a sample's key
_AHEAD = 4  # samples that each thread may have read before they are written

_Parts = list[tuple[str, bytes]]  # endings and contents of a sample's members


class WrittenSplit(NamedTuple):
    """Count of what was written of a split.

    Attributes:
        samples: Number of images.
        shards: Number of shards.
        kept: Number of those that an earlier call had written.
    """

    samples: int
    shards: int
    kept: int


def write_shards(data: WSOLDataModule, folder: Path, config: DictConfig) -> dict[str, WrittenSplit]:
    """Write the splits of a data set as shards, but for those that are there.

    Args:
        data: The data set, which is made and not set up.
        folder: Folder of the shards.
        config: See ``configs/shard.yaml``.

    Raises:
        UserError: If the folder has shards of another data set or other options.
        DataError: If an image or a mask cannot be read, or lies outside of the data set's folders.
    """
    wanted = [split for split in SPLITS if split in config.splits]
    splits = {
        split: read_split(data.metadata / split, localization=split != "train")
        for split in wanted
        if (data.metadata / split).is_dir()
    }
    if not splits:
        raise UserError(f"splits: {data.metadata} has none of {', '.join(config.splits)}.")
    if not data.allow_outside_root:
        for metadata in splits.values():
            check_inside(metadata, data.root, data.mask_root, image_roots(data.reader))
    record = open_record(folder, settings_of(data, config, splits))
    facts = facts_of(data, splits)
    record["facts"] = facts
    write_text(folder / RECORD, record_text(record))
    written = {}
    for split, metadata in splits.items():
        written[split] = _Split(data, metadata, split, folder, config, facts["class_names"]).write()
        counts = {"samples": written[split].samples, "shards": written[split].shards}
        record.setdefault("splits", {})[split] = counts
        write_text(folder / RECORD, record_text(record))
    return written


class _Split:
    """Writer of the shards of a split."""

    def __init__(
        self,
        data: WSOLDataModule,
        metadata: SplitMetadata,
        split: str,
        folder: Path,
        config: DictConfig,
        class_names: Sequence[str],
    ) -> None:
        self.data, self.metadata, self.split, self.folder = data, metadata, split, folder
        self.config, self.class_names = config, class_names
        self.order = np.arange(len(metadata))
        if config.shuffle and split == "train":
            self.order = np.random.default_rng(config.seed).permutation(len(metadata))
        self.boxes: dict[int, list[list[int]]] = {}
        for image, box in zip(
            [] if metadata.boxes is None else metadata.box_images.tolist(),
            [] if metadata.boxes is None else metadata.boxes.tolist(),
            strict=True,
        ):
            self.boxes.setdefault(image, []).append(box)
        self.image = image_opener(data.reader, data.root)
        self.mask = mask_opener(data.reader, data.mask_root)
        self.values = mask_values(data.reader)

    def write(self) -> WrittenSplit:
        """Write the shards one after the other, passing over those that are there."""
        begin = shards = kept = 0
        progress = Progress(f"images of {self.split}", len(self.order))
        workers = self.config.workers or min(16, 4 * (os.cpu_count() or 1))
        with ThreadPoolExecutor(workers) as pool:
            try:
                while begin < len(self.order):
                    path = self.folder / f"{self.split}-{shards:06d}.tar"
                    count = self._count(path, begin)
                    kept += count > 0
                    count = count or self._write(path, begin, pool, workers)
                    begin, shards = begin + count, shards + 1
                    progress.advance(count)
            finally:
                pool.shutdown(cancel_futures=True)
                progress.close()
        return WrittenSplit(len(self.order), shards, kept)

    def _count(self, path: Path, begin: int) -> int:
        """Count the samples of a shard that is there, which is whole; 0 for none.

        Raises:
            UserError: If it begins with another sample than it should.
        """
        if not path.exists():
            return 0
        count = 0
        for sample in read_samples(path):
            if count == 0 and sample.key != _key(begin):
                raise UserError(f"{path}: begins with {sample.key}, not {_key(begin)}; remove it.")
            count += 1
        return count

    def _write(self, path: Path, begin: int, pool: ThreadPoolExecutor, workers: int) -> int:
        """Write a shard from a place in the order on; return its number of images."""
        most_bytes, most = round(self.config.shard_mb * 1e6), self.config.shard_images
        places = self.order[begin : begin + most].tolist()
        count = 0
        with writing_shard(path) as shard:
            for parts in _ahead(pool, self._sample, places, workers * _AHEAD):
                size = sum(1024 + len(content) for _, content in parts)
                if count and shard.bytes + size > most_bytes:
                    break
                for ending, content in parts:
                    shard.add(f"{_key(begin + count)}.{ending}", content)
                count += 1
        return count

    def _sample(self, image: int) -> _Parts:
        """Read an image with what is known of it.

        Raises:
            DataError: If it, or a mask of it, cannot be read.
        """
        name = self.metadata.image_ids[image]
        source = image_source(self.data.root, name, self.image)
        content, ending, size = self._read(source, "image", self.data.decoding)
        label = int(self.metadata.labels[image])
        note: dict[str, Any] = {"id": name, "split": self.split, "label": label}
        if 0 <= label < len(self.class_names):
            note["class"] = self.class_names[label]
        note |= {"width": size[0], "height": size[1]}
        if self.metadata.boxes is not None:
            note["boxes"] = self.boxes.get(image, [])
        text = json.dumps(note, ensure_ascii=False).encode()
        parts = [(ending, content), ("cls", str(label).encode()), ("json", text)]
        return parts + (self._masks(image) if self.metadata.mask_paths is not None else [])

    def _masks(self, image: int) -> _Parts:
        """Read the masks of an image, with values of their own brought to plain masks."""
        groups: dict[str, _Parts] = {"mask": [], "ignore": []}
        named = {"mask": self.metadata.mask_paths, "ignore": self.metadata.ignore_paths}
        for kind, paths in named.items():
            for path in paths[image]:
                source = image_source(self.data.mask_root, path, self.mask)
                if kind == "ignore" or self.values is None:
                    content, ending, _ = self._read(source, "mask", AS_STORED)
                    groups[kind].append((ending, content))
                    continue
                try:
                    read = read_parts(source, self.data.decoding, self.values)
                except ImageError as error:
                    raise DataError(f"{source}: the mask does not decode ({error}).") from None
                for name, marked in zip(groups, read, strict=True):
                    groups[name].append(("png", encode_png(marked.astype(np.uint8) * 255)))
        return [
            (f"{kind}.{ending}" if len(found) == 1 else f"{kind}.{number}.{ending}", content)
            for kind, found in groups.items()
            for number, (ending, content) in enumerate(found)
        ]

    def _read(
        self, source: ImageSource, what: str, decoding: Decoding
    ) -> tuple[bytes, str, tuple[int, int]]:
        """Read the bytes of an image, the ending for its name and its size."""
        facts = inspect_image(source, decoding=decoding)
        if facts.problem:
            raise DataError(f"{source}: the {what} cannot be read ({facts.problem}); replace it.")
        try:
            content = source.read_bytes()
        except (OSError, ImageError) as error:
            raise DataError(f"{source}: the {what} cannot be read ({error}).") from None
        ending = PurePosixPath(str(source)).suffix[1:].lower()
        with suppress(ImageError):  # what only this project reads, as .npy
            ending = ending if ending in IMAGE_ENDINGS else image_ending(source)
        if ending not in IMAGE_ENDINGS:
            raise DataError(f"{source}: shards do not hold images of this kind; convert it.")
        return content, ending, facts.size(self.data.decoding.exif_orientation)


def _key(number: int) -> str:
    return str(number).zfill(_DIGITS)


def _ahead(
    pool: ThreadPoolExecutor, read: Any, places: Sequence[int], most: int
) -> Iterator[_Parts]:
    """Read samples in their order, some of them ahead."""
    remaining = iter(places)
    waiting = deque(pool.submit(read, place) for place in islice(remaining, most))
    try:
        while waiting:
            first = waiting.popleft()
            waiting.extend(pool.submit(read, place) for place in islice(remaining, 1))
            yield first.result()
    finally:  # what comes into the next shard is read for that one
        for future in waiting:
            future.cancel()
