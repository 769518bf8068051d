"""Text files of the embedded data set's metadata."""

from collections.abc import Sequence

from learned_saliency.datamodules.creatures.anatomy import PARTS, Attributes
from learned_saliency.datamodules.creatures.classes import class_name
from learned_saliency.datamodules.creatures.store import Record, SplitStore


def class_texts(classes: Sequence[Attributes]) -> dict[str, str]:
    """Return the contents of the text files about classes, by their names.

    Args:
        classes: Attribute values of head, wing, tail and body of each class.
    """
    names = [f"{k},{class_name(attributes)}" for k, attributes in enumerate(classes)]
    rows = [f"{k},{','.join(attributes)}" for k, attributes in enumerate(classes)]
    header = ",".join(("label", *PARTS))
    return {"class_names.txt": _text(names), "attributes.txt": _text([header, *rows])}


def split_texts(
    store: SplitStore, records: Sequence[Record], size: int, *, planted: bool
) -> dict[str, str]:
    """Return the contents of a split's text files, by their names below the metadata.

    Args:
        store: The split.
        records: Facts about its images, in order.
        size: Side of an image in pixels.
        planted: Whether a class has a planted cue, whose places are listed.
    """
    files = [store.names(number) for number in range(len(records))]
    rows = [(names[0], record) for names, record in zip(files, records, strict=True)]
    tables = {
        "image_ids": [name for name, _ in rows],
        "class_labels": [f"{name},{label}" for name, record in rows for label in record.labels],
        "image_sizes": [f"{name},{size},{size}" for name, _ in rows],
    }
    if len(store.kinds) > 1:
        tables |= _localization(files, records, several=store.animals > 1)
    if planted:
        tables["planted"] = [_boxed(name, record.cue) for name, record in rows if record.cue]
    return {f"{store.split}/{name}.txt": _text(lines) for name, lines in tables.items()}


def _localization(
    files: Sequence[Sequence[str]], records: Sequence[Record], *, several: bool
) -> dict[str, list[str]]:
    """Write where the creatures are; where there are several, each line ends with its class."""
    tables: dict[str, list[str]] = {"localization": [], "masks": []}
    for (image, *others), record in zip(files, records, strict=True):
        creatures = zip(
            record.labels, record.boxes, others, strict=False
        )  # a single one has parts, too
        for label, box, mask in creatures:
            end = f",{label}" if several else ""
            tables["localization"].append(_boxed(image, box) + end)
            tables["masks"].append(f"{image},{mask},{end}")
    if not several:
        tables["parts"] = [f"{image},{parts}" for image, _, parts in files]
    return tables


def _boxed(name: str, box: Sequence[int]) -> str:
    return f"{name},{','.join(map(str, box))}"


def _text(lines: Sequence[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
