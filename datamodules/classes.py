"""Number and names of the classes of a data set."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from learned_saliency.datamodules.batch import UNKNOWN
from learned_saliency.datamodules.class_files import read_class_names
from learned_saliency.datamodules.metadata import SplitMetadata, read_split
from learned_saliency.datamodules.textfile import (
    DataError,
    line_error,
    read_columns,
)

MAX_CLASSES = 1_000_000
MAX_COUNTED = 100_000  # several times the classes of the largest data sets


def find_classes(
    folder: Path,
    splits: Mapping[str, SplitMetadata],
    *,
    num_classes: int | None = None,
    class_names: Sequence[str] | None = None,
    read: Callable[..., SplitMetadata] = read_split,
) -> tuple[int, list[str]]:
    """Settle the number of classes and their names.

    Args:
        folder: The folder of the metadata, with ``class_names.txt`` and ``train`` if there are any.
        splits: The splits read so far.
        num_classes: The number of classes, if it is known.
        class_names: The names in the order of the labels, if they are known.
        read: Reader of a split, as `read_split`.

    Returns:
        The number of classes: ``num_classes``, or the number of names, or 1 + the largest training
        label (the largest label of ``splits`` where there is no training split), or 1 where all
        labels are unknown. The names:
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
            splits = {"train": read(folder / "train", localization=False)}
        num_classes = _count(splits)
    if num_classes > MAX_CLASSES:
        raise DataError(
            f"{folder}: {num_classes} classes are more than the {MAX_CLASSES} that are possible;"
            " correct `num_classes` or class_names.txt."
        )
    if class_names is None:
        class_names = [str(label) for label in range(num_classes)]
    if len(class_names) != num_classes:
        raise DataError(
            f"{folder}: {len(class_names)} class names but {num_classes} classes; correct"
            " `num_classes`, `class_names` or class_names.txt."
        )
    return num_classes, list(class_names)


def _count(splits: Mapping[str, SplitMetadata]) -> int:
    """Count the classes by the training labels, which must leave no gap, or by those there are."""
    if "train" in splits:
        _check_gaps(splits["train"])
        return max(1 + _largest_label(splits["train"]), 1)
    for split in splits.values():
        wrong = split.labels >= MAX_COUNTED
        if wrong.any():
            first = int(wrong.argmax())
            raise _label_error(
                split,
                first,
                f"label {split.labels[first]} is beyond the {MAX_COUNTED} classes that are"
                " counted; correct it, or set `num_classes`.",
            )
    return max(1 + max(map(_largest_label, splits.values())), 1)


def _largest_label(split: SplitMetadata) -> int:
    for columns in (split.presence, split.values):
        if columns is not None:
            return columns.shape[1] - 1
    return int(split.labels.max())


def _labels_found(split: SplitMetadata) -> np.ndarray:
    """List the labels that images of a split have, in ascending order."""
    if split.values is not None:
        return np.arange(split.values.shape[1])
    if split.presence is None:
        return np.unique(split.labels)
    return np.flatnonzero(split.presence.any(0))


def _check_gaps(train: SplitMetadata) -> None:
    """Check that the known training labels are 0, 1, 2, ... without a gap.

    Raises:
        DataError: If they are not. The error names the line of the smallest label beyond the gap.
    """
    labels = _labels_found(train)
    labels = labels[labels >= 0]  # `check_labels` names the others
    beyond = np.flatnonzero(labels != np.arange(len(labels)))
    if not len(beyond):
        return
    missing, found = int(beyond[0]), labels[beyond[0]]
    counted = "; labels count from 0" if missing == 0 else ""
    raise _label_error(
        train,
        _first_with(train, int(found)),
        f"label {found}, but no training image has label {missing}{counted}; correct it, or name"
        " all classes in class_names.txt or set `num_classes`.",
    )


def check_use(
    train: SplitMetadata, class_names: Sequence[str], classes: Sequence[int] | None
) -> None:
    """Warn of classes without training images, and of names that several classes have.

    Args:
        train: The training split.
        class_names: Names of all classes.
        classes: Labels of the classes to train on; None for all.
    """
    wanted = range(len(class_names)) if classes is None else classes
    absent = np.setdiff1d(np.array(wanted, np.int64), _labels_found(train))
    if len(absent) and (train.labels != UNKNOWN).any():
        first = int(absent[0])
        named = "" if class_names[first] == str(first) else f" ({class_names[first]})"
        more = f", nor of {len(absent) - 1} other classes" if len(absent) > 1 else ""
        source = train.folder / "class_labels.txt"
        warnings.warn(f"{source}: there is no image of class {first}{named}{more}.", stacklevel=2)
    labels: dict[str, list[int]] = {}
    for label, name in enumerate(class_names):
        labels.setdefault(name, []).append(label)
    twice = {name: found for name, found in labels.items() if len(found) > 1}
    if twice:
        name, found = next(iter(twice.items()))
        more = f" (so are {len(twice) - 1} other names)" if len(twice) > 1 else ""
        warnings.warn(
            f"{train.folder.parent}: '{name}' is the name of the classes "
            f"{', '.join(map(str, found))}{more}; they are told apart by their numbers alone.",
            stacklevel=2,
        )


def check_labels(metadata: SplitMetadata, num_classes: int) -> None:
    """Check that every label names a class or is -1, unknown.

    Args:
        metadata: A split with labels of shape (N,).
        num_classes: The number of classes C.

    Raises:
        DataError: If a label is neither in [0, C) nor -1.
    """
    wrong = (metadata.labels < UNKNOWN) | (metadata.labels >= num_classes)
    if metadata.presence is not None and metadata.presence.shape[1] > num_classes:
        label = metadata.presence.shape[1] - 1
        raise _label_error(
            metadata,
            _first_with(metadata, label),
            f"label {label} is out of range 0..{num_classes - 1}; correct it or set `num_classes`.",
        )
    if wrong.any():
        first = int(wrong.argmax())
        raise _label_error(
            metadata,
            first,
            f"label {metadata.labels[first]} is out of range 0..{num_classes - 1}; correct it, set"
            " `num_classes`, or write -1 where the class is unknown.",
        )


def _first_with(split: SplitMetadata, label: int) -> int:
    """Find the first image that has a label; the caller knows that there is one."""
    found = split.labels == label if split.presence is None else split.presence[:, label]
    return int(found.argmax())


def _label_error(metadata: SplitMetadata, image: int, message: str) -> DataError:
    """Make an error that names the line of an image's label, or the first of its labels."""
    source = metadata.folder / "class_labels.txt"
    ids, _ = read_columns(source, "id,label")
    return line_error(source, ids.index(metadata.files[image]), message)


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
