"""Folder of predict.py and its ``predictions.json``, which several processes write together."""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from omegaconf import DictConfig, OmegaConf

from learned_saliency.pipeline.cli import UserError
from learned_saliency.storage import replacing, write_text

INDEX = "predictions.json"
_MARK = "predict.yaml"  # marks a folder as one of predict.py
_IMAGE, _SKIPPED = "images", "skipped"  # kinds of lines of a part, and keys of the index


def open_folder(config: DictConfig, given: Mapping[str, Any]) -> Path:
    """Make the folder ``out`` if it is missing.

    The index of an earlier call stays until the new one is whole.

    Args:
        config: The configuration.
        given: The network's ``input``, which a checkpoint knows better than the configuration.

    Raises:
        UserError: If ``out`` is a file, cannot be made, or holds files that predict.py has not
            written.
    """
    folder = Path(config.out).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()) and not (folder / _MARK).is_file():
            raise UserError(
                f"out={folder}: the folder holds other files (it has no {_MARK}); choose a new one."
            )
        written = OmegaConf.to_container(config) | {"input": dict(given)}
        write_text(folder / _MARK, OmegaConf.to_yaml(written))
        remove_parts(folder)  # left by a process that was killed
    except OSError as error:
        raise UserError(f"out={folder}: nothing can be written there ({error.strerror}).") from None
    return folder


class Part:
    """Records of one process, one per line: number of the file, kind, JSON.

    Lines of a kind are in the order of the files.

    Args:
        folder: The folder ``out``.
        process: Number of the process.

    Attributes:
        images: Number of images with a record.
        skipped: Number of skipped files.
    """

    def __init__(self, folder: Path, process: int) -> None:
        self._path = folder / f"{INDEX}.part-{process}"
        self._file = self._path.open("w", encoding="utf-8")
        self.images = 0
        self.skipped = 0

    def add(self, number: int, record: Mapping[str, Any]) -> None:
        """Add the record of an image, which was file ``number``."""
        self._write(number, _IMAGE, record)
        self.images += 1

    def skip(self, number: int, image: str, reason: str) -> None:
        """Add file ``number``, which was skipped."""
        self._write(number, _SKIPPED, {"image": image, "reason": reason})
        self.skipped += 1

    def note(self, number: int, kind: str, record: Any) -> None:
        """Add a line of another kind on file ``number``, for `read_records`."""
        self._write(number, kind, record)

    def is_there(self) -> bool:
        """Return whether the part still counts: a failing process removes the parts of all."""
        return self._path.exists()

    def close(self) -> None:
        """Finish the part."""
        self._file.close()

    def _write(self, number: int, kind: str, record: Any) -> None:
        self._file.write(f"{number} {kind} {json.dumps(record)}\n")


def put_together(folder: Path, header: Mapping[str, Any]) -> tuple[int, int]:
    """Write the index from the parts of all processes, in the order of the files; remove the parts.

    Args:
        folder: The folder ``out``.
        header: Values common to all images, ready for JSON.

    Returns:
        Number of images in the index, and number of skipped files.
    """
    with replacing(folder / INDEX) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write(json.dumps(header, indent=2)[:-2])
        images = _write_list(file, folder, _IMAGE)
        skipped = _write_list(file, folder, _SKIPPED)
        file.write("\n}\n")
    remove_parts(folder)
    return images, skipped


def read_records(folder: Path, kind: str) -> Iterator[Any]:
    """Yield the records of a kind from the parts of all processes, in the order of the files.

    Args:
        folder: The folder ``out``.
        kind: The kind that `Part.note` was called with.
    """
    for _, record in heapq.merge(*(_records(path, kind) for path in _parts(folder))):
        yield json.loads(record)


def remove_parts(folder: Path) -> None:
    """Remove the parts that the processes wrote for `put_together`."""
    for path in _parts(folder):
        path.unlink(missing_ok=True)


def _parts(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"{INDEX}.part-*"))


def _write_list(file: TextIO, folder: Path, kind: str) -> int:
    count = 0
    file.write(f',\n  "{kind}": [')
    for _, record in heapq.merge(*(_records(path, kind) for path in _parts(folder))):
        file.write((",\n    " if count else "\n    ") + record)
        count += 1
    file.write("\n  ]")
    return count


def _records(path: Path, kind: str) -> Iterator[tuple[int, str]]:
    """Yield numbers and JSON of the lines of a kind."""
    with path.open(encoding="utf-8") as file:
        for line in file:
            number, found, record = line.rstrip("\n").split(" ", 2)
            if found == kind:
                yield int(number), record
