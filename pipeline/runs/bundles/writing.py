"""Writer of bundles."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from learned_saliency.pipeline.runs.bundles.archive import (
    Member,
    archive_end,
    checksum,
    directory_entry,
    local_header,
    offsets,
)
from learned_saliency.pipeline.runs.bundles.facts import (
    BOXES,
    CONFIG,
    FACTS,
    GALLERY,
    IMAGES,
    LOGITS,
    RESULTS,
    STATES,
    TABLE,
    Digest,
    Facts,
    image_columns,
    map_name,
    mask_name,
    member_names,
    write_facts,
)
from learned_saliency.storage import replacing
from learned_saliency.trainers import RecordedImage

_CHUNK = 2**20

Chunks = Callable[[], Iterable[bytes]]


class _Source(NamedTuple):
    """Content of a member, which can be read again and again."""

    name: str
    chunks: Chunks


def write_bundle(
    path: Path, folder: Path, config: str, facts: Facts, images: Sequence[RecordedImage]
) -> str:
    """Write a bundle, which appears whole or not at all; equal contents give equal bytes.

    Args:
        path: The file.
        folder: Folder of the finished evaluation, with its tables.
        config: Configuration of the evaluation, YAML.
        facts: Description of the bundle; its ``members`` are found here.
        images: The tested images with their maps.

    Returns:
        SHA-256 of the file, hexadecimal.
    """
    sources = _sources(folder, config, facts, images)
    found = {source.name: _digest(source) for source in sources}
    members = {name: Digest(member.size, sha256) for name, (member, sha256) in found.items()}
    content = write_facts(facts._replace(members=members))
    first = _Source(FACTS, lambda: [content])
    whole = hashlib.sha256()
    with replacing(path, durable=True) as temporary, temporary.open("wb") as file:
        listed = [_digest(first)[0], *(member for member, _ in found.values())]
        for chunk in _archive(listed, [first, *sources]):
            file.write(chunk)
            whole.update(chunk)
    return whole.hexdigest()


def _archive(members: Sequence[Member], sources: Iterable[_Source]) -> Iterator[bytes]:
    """Yield the bytes of the archive."""
    for member, source in zip(members, sources, strict=True):
        yield local_header(member)
        yield from source.chunks()
    *begins, start = offsets((member.name, member.size) for member in members)
    size = 0
    for member, offset in zip(members, begins, strict=True):
        entry = directory_entry(member, offset)
        size += len(entry)
        yield entry
    yield archive_end(len(members), start, size)


def _digest(source: _Source) -> tuple[Member, str]:
    told, size, crc = hashlib.sha256(), 0, 0
    for chunk in source.chunks():
        told.update(chunk)
        size, crc = size + len(chunk), checksum([chunk], crc)
    return Member(source.name, size, crc), told.hexdigest()


def _sources(
    folder: Path, config: str, facts: Facts, images: Sequence[RecordedImage]
) -> list[_Source]:
    """List the contents of all members but the first, in the order of the archive."""
    text = config.encode()
    found: dict[str, Chunks] = {
        CONFIG: lambda: [text],
        **{name: _file(folder / name) for name in (RESULTS, TABLE, STATES, GALLERY)},
        **_truth(facts, images),
        LOGITS: lambda: _logits(images, facts.logits),
    }
    for image in images:
        if image.mask is not None:
            found[mask_name(image.place)] = _part(image, image.mask)
        for number, name in enumerate(facts.methods):
            found[map_name(number, image.place)] = _part(image, image.maps[name])
    places = [image.place for image in images]
    names = member_names(facts, places, (folder / GALLERY).is_file())
    return [_Source(name, found[name]) for name in names]


def _truth(facts: Facts, images: Sequence[RecordedImage]) -> dict[str, Chunks]:
    """Write the tables of what is known of the images."""
    told = [
        (image.place, image.image_id, image.label, "" if image.seen is None else int(image.seen))
        for image in images
    ]
    further = [
        *([[_listed(image.labels) for image in images]] if facts.multilabel else []),
        *([[_listed(image.values) for image in images]] if facts.values else []),
        *([[image.source for image in images]] if facts.samples else []),
    ]
    told = [(*row, *more) for row, *more in zip(told, *further, strict=True)]
    boxes = [(image.place, *box) for image in images for box in image.boxes or []]
    tables = {
        IMAGES: _table(image_columns(facts), told),
        BOXES: _table(("place", "x0", "y0", "x1", "y1"), boxes),
    }
    return {name: lambda text=text: [text] for name, text in tables.items()}


def _listed(values: Sequence[float] | None) -> str:
    return " ".join(map(str, values or []))


def _table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> bytes:
    text = StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue().encode()


def logits_header(images: int, logits: int) -> bytes:
    """Write what stands before the values in ``logits.npy``, float32 (images, logits)."""
    header = BytesIO()
    described = {"descr": "<f4", "fortran_order": False, "shape": (images, logits)}
    np.lib.format.write_array_header_1_0(header, described)
    return header.getvalue()


def _logits(images: Sequence[RecordedImage], logits: int) -> Iterator[bytes]:
    yield logits_header(len(images), logits)
    for image in images:
        yield image.read(image.logits)


def _part(image: RecordedImage, extent: tuple[int, int]) -> Chunks:
    return lambda: [image.read(extent)]


def _file(path: Path) -> Chunks:
    def chunks() -> Iterator[bytes]:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                yield chunk

    return chunks
