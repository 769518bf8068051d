"""Checks of labels and of the names of classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from learned_saliency.datamodules import UNKNOWN, DataError, read_class_names
from learned_saliency.pipeline.data.content import Content
from learned_saliency.pipeline.data.findings import Findings
from learned_saliency.pipeline.data.tables import SplitTable

_MANY = 5  # images of a class from which on it is no chance that another one is always there


def check_classes(
    content: Content,
    findings: Findings,
    *,
    num_classes: int | None,
    class_names: Sequence[str] | None,
    classes: Sequence[int] | None,
) -> None:
    """Check the labels of all splits and the names of the classes.

    Args:
        content: The data set.
        findings: Collects what is wrong.
        num_classes: Number of classes; None counts the names or else the training labels.
        class_names: Names in the order of the labels; None reads ``class_names.txt``.
        classes: Labels of the classes to train on; None for all.
    """
    path = content.metadata / "class_names.txt"
    if class_names is None:
        try:
            class_names = read_class_names(path)
        except DataError as error:
            findings.add_refusal("metadata", path, error)
    tables = [split.table for split in content.splits]
    train = next((table for table in tables if table.is_trained_on), None)
    names = class_names or []
    count = num_classes or len(names) or None
    if count is None and train is not None:
        count = _count(train, findings)
    for table in tables:
        _check_range(table, count, findings)
    if train is not None and count is not None:
        wanted = range(count) if classes is None else classes
        _check_used(train, wanted, names, findings)
        _check_tied(train, names, findings)
    for table in tables:
        _tell_classless(table, findings)
    _check_names(path, names, findings)


def _count(train: SplitTable, findings: Findings) -> int | None:
    """Count the classes by the training labels; None where these leave a gap, which is told."""
    labels = sorted({row.values[0] for row in train.labels if row.values[0] >= 0})
    gap = next((k for k, label in enumerate(labels) if label != k), None)
    if gap is None:
        return len(labels) or None
    counted = "; labels count from 0" if gap == 0 else ""
    row = next(row for row in train.labels if row.values[0] == labels[gap])
    message = (
        f"label {labels[gap]}, but no training image has label {gap}{counted}; correct it, or name "
        "all classes in class_names.txt or set data.num_classes."
    )
    findings.add("label", train.folder / "class_labels.txt", message, row.line)
    return None


def _check_range(table: SplitTable, count: int | None, findings: Findings) -> None:
    path = table.folder / "class_labels.txt"
    unknown = "write -1 where the class is unknown"
    if table.several:
        unknown = "leave the line out where the image has none of the classes"
    for row in table.labels:
        label = row.values[0]
        negative = label < (0 if table.several else UNKNOWN)
        if negative or (count is not None and label >= count):
            fits = "is negative" if count is None else f"is out of range 0..{count - 1}"
            remedy = f"correct it, set data.num_classes, or {unknown}"
            message = f"label {label} {fits}; {remedy}."
            findings.add("label", path, message, row.line)


def _check_used(
    train: SplitTable, wanted: Sequence[int], names: Sequence[str], findings: Findings
) -> None:
    used = {row.values[0] for row in train.labels}
    if used <= {UNKNOWN}:
        return
    for label in wanted:
        if label not in used:
            message = f"there is no image of class {_named(label, names)}."
            findings.add("class-unused", train.folder / "class_labels.txt", message)


def _check_tied(train: SplitTable, names: Sequence[str], findings: Findings) -> None:
    """Find classes that never appear without another one, whose places no label tells apart."""
    if not train.several:
        return
    images: Counter[int] = Counter()
    pairs: Counter[tuple[int, int]] = Counter()
    for own in train.classes.values():
        images.update(own)
        pairs.update((one, other) for one in own for other in own if one != other)
    for (label, other), count in sorted(pairs.items()):
        if count == images[label] >= _MANY:
            one, two = (_named(k, names) for k in (label, other))
            message = (
                f"class {one} never appears without class {two}, in {count} images; labels do not "
                "tell a map which of the two it is about."
            )
            findings.add("class-tied", train.folder / "class_labels.txt", message)


def _tell_classless(table: SplitTable, findings: Findings) -> None:
    """Count the images of a split that have none of several classes."""
    count = sum(not own for own in table.classes.values())
    if count:
        message = f"{count} of {len(table.ids)} images have none of the classes."
        findings.add("classless", table.folder / "class_labels.txt", message)


def _named(label: int, names: Sequence[str]) -> str:
    return f"{label} ({names[label]})" if label < len(names) else str(label)


def _check_names(path: object, names: Sequence[str], findings: Findings) -> None:
    labels: dict[str, list[int]] = {}
    for label, name in enumerate(names):
        labels.setdefault(name, []).append(label)
    for name, found in labels.items():
        if len(found) > 1:
            message = (
                f"'{name}' is the name of the classes {', '.join(map(str, found))}; rename all but "
                "one, as only their numbers tell them apart."
            )
            findings.add("class-name", str(path), message)
