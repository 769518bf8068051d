"""Types and ranges of the configuration's values: the rows of the files in ``configs/values``."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from learned_saliency import configs

FOLDER = Path(configs.__file__).resolve().parent / "values"
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast where it was built
_INTEGERS = 2**31  # from here on an integer is taken for a slip
_NUMBERS = 1e300
GROUP_FILES = (".csv", ".txt")  # endings of files of groups of classes
_DURATION = re.compile(r"\d+:\d\d:\d\d:\d\d")
_PATH, _NAME = 4096, 255  # bytes of a path and of each name in it, on all usual systems
_USUAL = f"with names of up to {_NAME} bytes and no ~NAME of a user who does not exist"
_PART = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")


class Row(NamedTuple):
    """Values that a key may have; ``configs/values/general.yaml`` describes the fields."""

    type: str = "any"
    least: float | None = None
    most: float | None = None
    above: float | None = None
    below: float | None = None
    odd: bool = False
    choices: list[str] | None = None
    form: str = ""
    told: str = ""
    items: Row | None = None
    length: int | None = None
    also: tuple[Any, ...] = ()
    refused: str = ""

    def allows(self, value: Any) -> bool:
        """Tell whether a plain value (of text, numbers, None, lists and dictionaries) is allowed.

        Args:
            value: The value, with no reference left in it.
        """
        if any(value is other or (_same(value, other)) for other in self.also):
            return True
        return TYPES[self.type].test(self, value)

    def expected(self) -> str:
        """Describe the values that are allowed, as the end of "expected ..."."""
        comma = "," if self.type in ("list", "size") else ""
        further = "".join(f"{comma} or {shown(value)}" for value in self.also)
        return TYPES[self.type].describe(self) + further


class _Type(NamedTuple):
    """A kind of value: how it is tested, and how a message puts it."""

    test: Callable[[Row, Any], bool]
    describe: Callable[[Row], str]


def _same(value: Any, other: Any) -> bool:
    return type(value) is type(other) and value == other


def _integer(row: Row, value: Any) -> bool:
    whole = isinstance(value, int) and not isinstance(value, bool)
    most = _INTEGERS if row.most is None else row.most + 1
    return whole and -_INTEGERS < value < most and _in_range(row, value)


def _number(row: Row, value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return -_NUMBERS < value < _NUMBERS and _in_range(row, value)  # not so for NaN


def _in_range(row: Row, value: float) -> bool:
    return (
        (row.least is None or value >= row.least)
        and (row.most is None or value <= row.most)
        and (row.above is None or value > row.above)
        and (row.below is None or value < row.below)
        and not (row.odd and value % 2 == 0)
    )


def _text(row: Row, value: Any) -> bool:
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        return False
    if row.choices is not None:
        return value in row.choices
    return not row.form or re.fullmatch(row.form, value) is not None


def _path(row: Row, value: Any) -> bool:
    """Tell whether a value is a path that a system can look for; Python raises at others."""
    if not _text(Row(), value):
        return False
    try:
        place = os.fsencode(os.path.abspath(Path(value).expanduser()))
    except (RuntimeError, UnicodeEncodeError):
        return False
    return len(place) < _PATH and max(map(len, place.split(os.fsencode(os.sep)))) <= _NAME


def _list(row: Row, value: Any) -> bool:
    items = row.items or Row()
    return (
        isinstance(value, list | tuple)
        and row.length in (None, len(value))
        and all(map(items.allows, value))
    )


def _texts(row: Row, value: Any) -> bool:
    return _text(Row(), value) or _list(Row(items=Row("text")), value)


def _paths(row: Row, value: Any) -> bool:
    return all(_path(Row(), item) for item in value) if _list(row, value) else _path(row, value)


def _groups(row: Row, value: Any) -> bool:
    """Tell whether a value names groups of classes, a file of them, or lists them."""
    if not isinstance(value, str):
        return _list(Row(items=Row("text")), value) and bool(value)
    if value.lower().endswith(GROUP_FILES):
        return _path(row, value)
    return value in (row.choices or ()) or re.fullmatch(row.form, value) is not None


def _described_groups(row: Row) -> str:
    return f"one of {', '.join(row.choices or ())}, {row.told}"


def _classes(row: Row, value: Any) -> bool:
    one = Row("integer", least=0)
    items = value if isinstance(value, list | tuple) and value else [value]
    return all(one.allows(item) or _text(Row(), item) for item in items)


def _devices(row: Row, value: Any) -> bool:
    """Tell whether a value is a number of devices, their numbers, or "auto"."""
    several = isinstance(value, list | tuple) and bool(value)
    return (
        value == "auto"
        or (value == -1 and not isinstance(value, bool))
        or _integer(Row(least=1, most=100_000), value)
        or (several and all(_integer(Row(least=0), item) for item in value))
        or (isinstance(value, str) and re.fullmatch(r"\d+(,\s*\d+)*,?", value) is not None)
    )


def _size(row: Row, value: Any) -> bool:
    return _integer(row, value) or _list(Row(items=row._replace(type="integer"), length=2), value)


def _part_of_batches(row: Row, value: Any) -> bool:
    fraction = isinstance(value, float) and 0 < value <= 1
    return fraction or _integer(Row(least=1), value)


def _duration(row: Row, value: Any) -> bool:
    if isinstance(value, dict):
        units = {"weeks", "days", "hours", "minutes", "seconds"}
        number = Row("number", least=0)
        return bool(value) and value.keys() <= units and all(map(number.allows, value.values()))
    return isinstance(value, str) and _DURATION.fullmatch(value) is not None


def _described_range(row: Row) -> str:
    begin = f" from {shown(row.least)}" if row.least is not None else ""
    begin += f" above {shown(row.above)}" if row.above is not None else ""
    if row.most is not None and row.least is not None:
        return f"{begin} to {shown(row.most)}"
    bounds = (("up to", row.most), ("below", row.below))
    end = " and".join(f" {word} {shown(bound)}" for word, bound in bounds if bound is not None)
    if begin and end:
        return f"{begin} and{end}"
    return f"{begin} on" if row.least is not None else begin + end


def _described_text(row: Row) -> str:
    return row.told or (f"one of {', '.join(row.choices)}" if row.choices else "a text")


def _described_list(row: Row) -> str:
    items = (row.items or Row("any")).expected()
    count = "" if row.length is None else f"{row.length} values, "
    return f"a list [a,b,...], {count}each {items}"


def _in_words(words: str) -> Callable[[Row], str]:
    return lambda row: words


TYPES = {
    "any": _Type(lambda row, value: True, _in_words("anything")),
    "integer": _Type(_integer, lambda row: f"an {'odd ' * row.odd}integer{_described_range(row)}"),
    "number": _Type(_number, lambda row: f"a number{_described_range(row)}"),
    "switch": _Type(lambda row, value: isinstance(value, bool), _in_words("true or false")),
    "text": _Type(_text, _described_text),
    "path": _Type(_path, _in_words(f"a path, {_USUAL}")),
    "place": _Type(_path, _in_words(f"a path, {_USUAL}")),
    "part": _Type(
        lambda row, value: isinstance(value, str) and _PART.fullmatch(value) is not None,
        _in_words("the name of a part of Python, a.b.C"),
    ),
    "text_or_group": _Type(
        lambda row, value: isinstance(value, dict) or _text(row, value), _described_text
    ),
    "group": _Type(lambda row, value: isinstance(value, dict), _in_words("a group of keys")),
    "list": _Type(_list, _described_list),
    "names": _Type(_texts, _in_words("a name or a list of names")),
    "paths": _Type(_paths, _in_words(f"a path, {_USUAL}, or a list of these")),
    "groups": _Type(_groups, _described_groups),
    "classes": _Type(_classes, _in_words("a class by its name or number, or a list of these")),
    "pretrained": _Type(
        lambda row, value: isinstance(value, bool) or _path(Row(), value),
        _in_words(f"true, false or a file, {_USUAL}"),
    ),
    "devices": _Type(
        _devices, _in_words("a number of devices from 1 on, a list of their numbers, or auto")
    ),
    "size": _Type(
        _size, lambda row: f"an integer{_described_range(row)} or a list [height,width] of two"
    ),
    "part_of_batches": _Type(
        _part_of_batches,
        _in_words("a number of batches from 1 on, or a part of them above 0.0 and up to 1.0"),
    ),
    "duration": _Type(_duration, _in_words("days:hours:minutes:seconds, 00:12:00:00")),
}


def row_of_default(value: Any) -> Row:
    """Make the row of a key that has none: its values are of the type of its default.

    Args:
        value: The default, plain.
    """
    if isinstance(value, bool):
        return Row("switch")
    if isinstance(value, int):
        return Row("integer")
    if isinstance(value, float):
        return Row("number")
    if isinstance(value, str):
        return Row("text")
    if isinstance(value, dict):
        return Row("group")
    if isinstance(value, list) and value:
        kinds = {row_of_default(item) for item in value}
        return Row("list", items=kinds.pop() if len(kinds) == 1 else None)
    return Row()


@cache
def rows() -> dict[str, Row]:
    """Read the rows of all files, by their patterns; those with most letters come first.

    Raises:
        ValueError: If two files have a row for one pattern.
    """
    found: dict[str, Row] = {}
    for path in sorted(FOLDER.glob("*.yaml")):
        for pattern, row in yaml.load(path.read_text(encoding="utf-8"), _LOADER).items():
            if pattern in found:
                raise ValueError(f"{path}: there is another row of {pattern}")
            found[pattern] = _row(row)
    return dict(sorted(found.items(), key=lambda item: -len(item[0].replace("*", ""))))


def _row(fields: dict[str, Any]) -> Row:
    items = fields.get("items")
    more = {"items": _row(items)} if items else {}
    row = Row(**{**fields, **more, "also": tuple(fields.get("also", ()))})
    TYPES[row.type]  # a KeyError names another type
    return row


@cache
def find_row(key: str) -> Row | None:
    """Find the row of a key: that of its own name, else that of the most special pattern."""
    table = rows()
    if key in table:
        return table[key]
    return next((row for pattern, row in table.items() if fnmatchcase(key, pattern)), None)


def shown(value: Any) -> str:
    """Write a value as one types it, shortened."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list | tuple):
        text = f"[{','.join(map(shown, value))}]"
    elif isinstance(value, float) and math.isfinite(value):
        text = repr(value)
    else:
        text = str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
