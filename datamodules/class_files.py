"""Files of names of classes, and of groups of them."""

import os
from collections.abc import Sequence
from pathlib import Path

from learned_saliency.datamodules.textfile import (
    DataError,
    is_integer,
    line_error,
    read_columns,
    read_lines,
)

_LONGEST_LABEL = 20  # digits


def read_class_names(path: Path) -> list[str] | None:
    """Read ``class_names.txt``, lines of ``label,name`` in any order.

    Args:
        path: The file, which need not exist.

    Returns:
        The names in the order of the labels 0, 1, ...; None where there is no such file.

    Raises:
        DataError: If a line is malformed or the labels are not 0, 1, ..., each exactly once.
    """
    if not os.path.lexists(path):
        return None
    names: dict[int, str] = {}
    columns = read_columns(path, "label,name", from_left=True)
    for i, (label, name) in enumerate(zip(*columns, strict=True)):
        if not is_integer(label) or len(label) > _LONGEST_LABEL:
            raise line_error(path, i, f"{label[:40]!r} is no label; write `label,name`.")
        if int(label) in names:
            raise line_error(path, i, f"label {label} is named twice; remove one.")
        if not name:
            raise line_error(path, i, "the name is empty; write `label,name`.")
        names[int(label)] = name
    if not names:
        raise DataError(f"{path}: is empty; write a line `label,name` per class, or remove it.")
    beyond = next((i for i, label in enumerate(names) if not 0 <= label < len(names)), None)
    if beyond is not None:
        raise line_error(
            path, beyond, "the labels must be 0, 1, 2, ... without a gap; number them so."
        )
    return [names[label] for label in range(len(names))]


def read_name_list(path: Path) -> list[str]:
    """Read a file of class names that a person wrote.

    Args:
        path: A text file with a name per line in the order of the labels, or with the lines
            ``label,name`` of a ``class_names.txt``. Blank lines at the end are passed over.

    Returns:
        The names in the order of the labels.

    Raises:
        DataError: If the file is missing, no text or empty, or a line between others is blank.
    """
    lines = [line.strip() for line in read_lines(path)]
    while lines and not lines[-1]:
        lines.pop()
    if not lines:
        raise DataError(f"{path}: holds no class name; write one per line.")
    if all(is_integer(line.partition(",")[0]) and "," in line for line in lines):
        return read_class_names(path) or []
    if "" in lines:
        raise DataError(
            f"{path}, line {lines.index('') + 1}: is blank, where the name of class "
            f"{lines.index('')} is expected; write it."
        )
    return lines


def read_groups(path: Path, names: Sequence[str] | None = None) -> list[str]:
    """Read a file that puts classes into groups.

    Args:
        path: A text file with a line ``class,group`` per class, in any order, blank lines passed
            over. A class is given by its number, or by its name if ``names`` are known; a name may
            hold commas.
        names: Names of the classes in the order of the labels.

    Returns:
        The group of each class in the order of the labels.

    Raises:
        DataError: If a line is malformed, names no class, or a class has no group or two.
    """
    if not os.path.lexists(path):
        raise DataError(f"{path}: there is no such file of lines `class,group`.")
    columns = read_columns(path, "class,group")
    known = {name: label for label, name in enumerate(names or ())}
    groups: dict[int, str] = {}
    for row, (word, group) in enumerate(zip(*columns, strict=True)):
        label = known.get(word)
        if label is None and is_integer(word) and len(word) <= _LONGEST_LABEL:
            label = int(word)
        if label is None or label < 0 or (names and label >= len(names)):
            told = "is no class" if names else "is no number of a class, and names are not known"
            raise line_error(path, row, f"{word[:40]!r} {told}; write `class,group`.")
        if not group:
            raise line_error(path, row, "the group is empty; write `class,group`.")
        if label in groups:
            raise line_error(path, row, f"class {label} has a group already; remove one.")
        groups[label] = group
    if not groups:
        raise DataError(f"{path}: is empty; write a line `class,group` per class.")
    count = len(names) if names else 1 + max(groups)
    if len(groups) < count:
        missing = next(label for label in range(count) if label not in groups)
        called = f" ({names[missing]})" if names and names[missing] != str(missing) else ""
        raise DataError(f"{path}: class {missing}{called} has no group; write a line for it.")
    return [groups[label] for label in range(count)]
