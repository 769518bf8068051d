"""Number and names of the classes of a data set."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from learned_saliency.datamodules.metadata import SplitMetadata, read_split
from learned_saliency.datamodules.textfile import (
    DataError,
    is_integer,
    line_error,
    read_columns,
    read_lines,
)


def find_classes(
    folder: Path,
    splits: Mapping[str, SplitMetadata],
    *,
    num_classes: int | None = None,
    class_names: Sequence[str] | None = None,
) -> tuple[int, list[str]]:
    """Settle the number of classes and their names.

    Args:
        folder: The folder of the metadata, with ``class_names.txt`` and ``train`` if there are any.
        splits: The splits read so far.
        num_classes: The number of classes, if it is known.
        class_names: The names in the order of the labels, if they are known.

    Returns:
        The number of classes: ``num_classes``, or the number of names, or 1 + the largest training
        label (the largest label of ``splits`` where there is no training split). The names:
        ``class_names``, or the names in ``class_names.txt``, or the labels as text.

    Raises:
        DataError: If ``class_names.txt`` or the training labels are malformed, or the number of
            names is not ``num_classes``.
    """
    if class_names is None:
        class_names = read_class_names(folder / "class_names.txt")
    if num_classes is None and class_names is not None:
        num_classes = len(class_names)
    if num_classes is None:
        if "train" not in splits and (folder / "train").is_dir():
            splits = {"train": read_split(folder / "train", localization=False)}
        counted = [splits["train"]] if "train" in splits else splits.values()
        num_classes = 1 + max(int(split.labels.max()) for split in counted)
    if class_names is None:
        class_names = [str(label) for label in range(num_classes)]
    if len(class_names) != num_classes:
        raise DataError(
            f"{folder}: {len(class_names)} class names but {num_classes} classes; correct"
            " `num_classes`, `class_names` or class_names.txt."
        )
    return num_classes, list(class_names)


def read_class_names(path: Path) -> list[str] | None:
    """Read ``class_names.txt``, lines of ``label,name`` in any order.

    Args:
        path: The file, which need not exist.

    Returns:
        The names in the order of the labels 0, 1, ...; None where there is no such file.

    Raises:
        DataError: If a line is malformed or the labels are not 0, 1, ..., each exactly once.
    """
    if not path.exists():
        return None
    names: dict[int, str] = {}
    columns = read_columns(path, "label,name", from_left=True)
    for i, (label, name) in enumerate(zip(*columns, strict=True)):
        if not is_integer(label):
            raise line_error(path, i, f"{label!r} is not an integer; write `label,name`.")
        if int(label) in names:
            raise line_error(path, i, f"label {label} is named twice; remove one.")
        names[int(label)] = name.strip()
    if not names or sorted(names) != list(range(len(names))):
        raise DataError(f"{path}: the labels must be 0, 1, 2, ... without a gap; number them so.")
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


def check_labels(metadata: SplitMetadata, num_classes: int) -> None:
    """Check that every label names a class.

    Args:
        metadata: A split with labels of shape (N,).
        num_classes: The number of classes C.

    Raises:
        DataError: If a label is outside [0, C).
    """
    wrong = (metadata.labels < 0) | (metadata.labels >= num_classes)
    if wrong.any():
        first, source = int(wrong.argmax()), metadata.folder / "class_labels.txt"
        ids, _ = read_columns(source, "id,label")
        raise line_error(
            source,
            ids.index(metadata.image_ids[first]),
            f"label {metadata.labels[first]} is out of range 0..{num_classes - 1}; correct it or"
            " set `num_classes`.",
        )


def check_classes(classes: Sequence[int], num_classes: int) -> None:
    """Check a choice of classes to train on.

    Args:
        classes: Labels of the chosen classes.
        num_classes: The number of classes C.

    Raises:
        DataError: If no class is chosen, or a label is no integer in [0, C).
    """
    wrong = [c for c in classes if not isinstance(c, int) or not 0 <= c < num_classes]
    if wrong or not classes:
        raise DataError(
            f"classes={list(classes)}: {wrong[0] if wrong else 'nothing'} is no label of the data"
            f" set; choose some of 0..{num_classes - 1}, or null for all."
        )
