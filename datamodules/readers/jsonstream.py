"""Lists of records in a JSON file that may be larger than the memory."""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from learned_saliency.datamodules.opening import ImageError, check_regular
from learned_saliency.datamodules.textfile import DataError

_CHUNK = 1 << 20  # characters that are read at a time
_LONGEST = 1 << 26  # characters of a record; a polygon of COCO has some thousands
_SPACE = re.compile(r"[ \t\r\n]*")

Record = dict[str, Any]


def read_records(path: Path, handlers: Mapping[str, Callable[[int, Record], None]]) -> set[str]:
    """Read the lists of records at the top of a JSON object, a record at a time.

    Args:
        path: The file, an object of lists of objects; members without a handler are passed over.
        handlers: Functions that get the number and the content of each record, by the key of the
            list. The lists come in the order of the file.

    Returns:
        The keys of the lists that were there.

    Raises:
        DataError: If the file is missing, no JSON object in UTF-8, cut off, or a list with a
            handler holds something else than records. The error names the list and the record.
    """
    try:
        check_regular(path)
        with path.open(encoding="utf-8-sig") as file:
            return _Scanner(path, file.read, handlers).scan()
    except FileNotFoundError:
        raise DataError(f"{path}: this file of annotations is missing; restore it.") from None
    except (ImageError, OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: is no readable JSON ({error}); replace it.") from None


class _Scanner:
    """Reader of one file, of which a part is held.

    Args:
        path: The file, for messages.
        read: Reads at most so many further characters.
        handlers: See `read_records`.
    """

    def __init__(
        self,
        path: Path,
        read: Callable[[int], str],
        handlers: Mapping[str, Callable[[int, Record], None]],
    ) -> None:
        self._path, self._read, self._handlers = path, read, handlers
        self._text, self._at, self._done = "", 0, False
        self._place = "at the top"
        self._decoder = json.JSONDecoder()

    def scan(self) -> set[str]:
        """Go through the whole file."""
        found = set()
        self._expect("{")
        while self._next() != "}":
            key = self._value()
            if not isinstance(key, str):
                raise self._fault("has a key that is no text")
            self._expect(":")
            self._place = key[:40]
            if self._next() == "[" and key in self._handlers:
                self._records(self._handlers[key], key)
                found.add(key)
            elif key in self._handlers:
                raise self._fault("is no list of records")
            else:
                self._pass_over()
            self._place = f"behind {key[:40]}"
            if self._next() == ",":
                self._at += 1
            elif self._next() != "}":
                raise self._fault("misses a comma")
        return found

    def _records(self, handle: Callable[[int, Record], None], key: str) -> None:
        self._expect("[")
        number = 0
        while self._next() != "]":
            self._place = f"{key[:40]}[{number}]"
            record = self._value()
            if not isinstance(record, dict):
                raise self._fault("is no record")
            handle(number, record)
            number += 1
            if self._next() == ",":
                self._at += 1
            elif self._next() != "]":
                raise self._fault("misses a comma behind it")
        self._at += 1

    def _pass_over(self) -> None:
        """Pass over a value, of a list its items one by one."""
        if self._next() != "[":
            self._value()
            return
        self._at += 1
        while self._next() != "]":
            self._value()
            if self._next() == ",":
                self._at += 1
            elif self._next() != "]":
                raise self._fault("misses a comma")
        self._at += 1

    def _next(self) -> str:
        """Find the next character that is no space; empty at the end of the file."""
        while True:
            self._at = _SPACE.match(self._text, self._at).end()
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                raise self._fault("is cut off")

    def _expect(self, character: str) -> None:
        if self._next() != character:
            raise self._fault(f"has {self._next()!r} where {character!r} is expected")
        self._at += 1

    def _value(self) -> Any:
        """Read one value; where it does not end in what is held, more is read."""
        while True:
            self._next()
            try:
                found, end = self._decoder.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                # what is wrong in the middle of the text stays wrong, however much follows
                if len(self._text) - self._at > _LONGEST or not self._more():
                    raise self._fault(f"is no JSON: {error.msg}") from None
                continue
            except (ValueError, RecursionError) as error:
                raise self._fault(f"cannot be read: {error}") from None
            if end < len(self._text) or not self._more():  # else a number may go on
                self._at = end
                return found

    def _more(self) -> bool:
        """Read on, and let go of what is done with; tell whether anything was read."""
        if self._done:
            return False
        more = self._read(max(_CHUNK, len(self._text) - self._at))
        self._text, self._at = self._text[self._at :] + more, 0
        self._done = not more
        return bool(more)

    def _fault(self, what: str) -> DataError:
        return DataError(f"{self._path}, {self._place}: {what}; replace the file.")
