"""Text files of comma-separated fields, and errors that name the file and the line."""

import os
import re
import stat
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from learned_saliency.datamodules.opening import kind_of
from learned_saliency.errors import MendableError

MAX_TEXT_BYTES = 1 << 30  # many times the lists of the largest data sets
_NOT_IN_INTEGERS = re.compile(r"[^0-9+-]")
_INTEGER = re.compile(r"[+-]?[0-9]+")


class DataError(MendableError, ValueError):
    """A data set that cannot be used; one sentence names the file, the line and a remedy.

    Args:
        message: The sentence.
    """

    def __init__(self, message: str) -> None:
        # the worker of a loader hands an error on with its whole traceback before the sentence
        super().__init__(message.rpartition("DataError: ")[2].strip())


def line_error(path: Path, row: int, message: str) -> DataError:
    """Make an error that names the line of a text file.

    Args:
        path: The text file.
        row: Index of the row, blank lines not counted.
        message: Fault of the line, and remedy.

    Returns:
        The exception to raise. Only now is the line looked up, so that good files cost nothing.
    """
    numbers = [n for n, line in enumerate(read_lines(path), start=1) if line.strip()]
    return DataError(f"{path}, line {numbers[row]}: {message}")


def read_text(path: Path) -> str:
    """Read a UTF-8 text file.

    Args:
        path: The file.

    Returns:
        The content of the file.

    Raises:
        DataError: If the file is missing, not readable as text, no regular file, larger than
            `MAX_TEXT_BYTES`, or holds a zero byte.
    """
    try:
        found = os.stat(path)
        if not stat.S_ISREG(found.st_mode):
            raise DataError(f"{path}: no regular file, but {kind_of(found.st_mode)}; replace it.")
        if found.st_size > MAX_TEXT_BYTES:
            raise DataError(
                f"{path}: holds {found.st_size / 1e9:.1f} GB, more than the"
                f" {MAX_TEXT_BYTES / 1e9:.1f} GB of a text file; replace it."
            )
        with path.open(encoding="utf-8-sig") as file:
            text = file.read()
    except FileNotFoundError:
        raise DataError(f"{path}: this metadata file is missing; create it.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not a readable UTF-8 text file ({error}); replace it.") from error
    if "\0" in text:
        number = text.count("\n", 0, text.index("\0")) + 1
        raise DataError(f"{path}, line {number}: holds a zero byte; remove it.")
    return text


def read_lines(path: Path) -> list[str]:
    """Read the lines of a UTF-8 text file without their ends, blank lines included.

    Args:
        path: The file.

    Returns:
        The lines.

    Raises:
        DataError: See `read_text`.
    """
    return read_text(path).split("\n")


def read_columns(path: Path, form: str, *, from_left: bool = False) -> list[list[str]]:
    """Split the lines of a file, blank lines left out, into columns.

    Args:
        path: The file.
        form: Expected form of a line, e.g. ``id,label``; its commas give the columns.
        from_left: Whether further commas belong to the last field instead of the first.

    Returns:
        As many columns as ``form`` has fields, each with an entry per line, without blanks around
        it, the first not empty.

    Raises:
        DataError: If the file is not readable or a line has too few fields.
    """
    width = form.count(",") + 1
    lines = [stripped for line in read_lines(path) if (stripped := line.strip())]
    split = str.split if from_left else str.rsplit
    # one flat list: a list per line would take the garbage collector seconds on a million lines
    fields = [field.strip() for line in lines for field in split(line, ",", width - 1)]
    columns = [fields[i::width] for i in range(width)]
    if len(fields) != width * len(lines) or "" in columns[0]:
        found = [split(line, ",", width - 1) for line in lines]
        wrong = next(i for i, row in enumerate(found) if len(row) != width or not row[0])
        message = f"{len(found[wrong])} field(s) instead of {width}; write `{form}`."
        if len(found[wrong]) == width:
            message = f"the first field is empty; write `{form}`."
        raise line_error(path, wrong, message)
    return columns


def is_integer(text: str) -> bool:
    """Return whether a text is an integer in plain digits, whatever its size."""
    return _INTEGER.fullmatch(text.strip()) is not None


def read_numbers(path: Path, form: str) -> tuple[list[str], np.ndarray]:
    """Read lines of an id and integers.

    Args:
        path: The file.
        form: Expected form of a line, e.g. ``id,width,height``.

    Returns:
        The ids, and the integers as int64 of shape (lines, fields - 1).

    Raises:
        DataError: If the file is not readable or a line has another form.
    """
    ids, *columns = read_columns(path, form)
    try:
        if any(_NOT_IN_INTEGERS.search("".join(column)) for column in columns):
            raise ValueError  # `int` takes more: underscores and the digits of other scripts
        numbers = [np.fromiter(map(int, column), np.int64, len(ids)) for column in columns]
    except (ValueError, OverflowError):
        rows = enumerate(zip(*columns, strict=True))
        wrong, field = next((i, text) for i, row in rows for text in row if not _fits(text))
        fault = "does not fit into 64 bits" if is_integer(field) else "is not an integer"
        message = f"{_shortened(field)!r} {fault}; write `{form}` in integers."
        raise line_error(path, wrong, message) from None
    return ids, np.stack(numbers, axis=1)


def _fits(text: str) -> bool:
    """Return whether a text is an integer of 64 bits."""
    return is_integer(text) and len(text) < 30 and -(1 << 63) <= int(text) < 1 << 63


def _shortened(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:37]}..."


def look_up(
    path: Path, ids: Sequence[str], index: dict[str, int], *, complete: bool = True
) -> np.ndarray:
    """Turn ids into image indices.

    Args:
        path: The file from which the ids come, one per line.
        ids: L ids.
        index: The index of each of the split's N images, in the order of ``image_ids.txt``.
        complete: Whether every image needs a line.

    Returns:
        int64 of shape (L,), in [0, N).

    Raises:
        DataError: If an id is no image of the split, or an image has no line.
    """
    try:
        found = np.fromiter(map(index.__getitem__, ids), np.int64, len(ids))
    except KeyError:
        row = next(i for i, image_id in enumerate(ids) if image_id not in index)
        message = f"{ids[row]!r} is not in image_ids.txt; add it there or remove it here."
        raise line_error(path, row, message) from None
    absent = np.bincount(found, minlength=len(index)) == 0
    if complete and absent.any():
        row = int(absent.argmax())
        message = f"{list(index)[row]} has no line in {path.name}; add one or remove it here."
        raise line_error(path.parent / "image_ids.txt", row, message)
    return found
