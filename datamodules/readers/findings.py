"""Tables of ChestX-ray14: findings of images, and boxes of some of them."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from learned_saliency.datamodules.readers.boxtables import checked_box
from learned_saliency.datamodules.textfile import DataError, read_text

_NO_FINDING = "No Finding"
_OTHER_NAMES = {"Infiltrate": "Infiltration"}  # names in the list of boxes
FINDINGS = ("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Effusion", "Emphysema")
FINDINGS += ("Fibrosis", "Hernia", "Infiltration", "Mass", "Nodule", "Pleural_Thickening")
FINDINGS += ("Pneumonia", "Pneumothorax")
_LABELS = {name: label for label, name in enumerate(FINDINGS)}


class Entry(NamedTuple):
    """Line of the table of findings.

    Attributes:
        labels: Classes of the image in ascending order.
        patient: Id of the patient.
    """

    labels: tuple[int, ...]
    patient: str


class FindingBox(NamedTuple):
    """Line of the list of boxes.

    Attributes:
        image: Name of the image.
        label: Class of the finding.
        corners: x0 y0 x1 y1 in pixels, between pixels.
        where: Place of the line, for messages.
    """

    image: str
    label: int
    corners: tuple[float, float, float, float]
    where: str


def read_findings(path: Path) -> dict[str, Entry]:
    """Read the table of findings: the columns Image Index, Finding Labels and Patient ID.

    Args:
        path: The CSV file.

    Returns:
        The entries by the names of the images.

    Raises:
        DataError: If a column is missing, or a line has an unknown finding, no image or patient,
            or an image of another line.
    """
    found: dict[str, Entry] = {}
    columns = ("Image Index", "Finding Labels", "Patient ID")
    for where, (image, labels, patient) in _rows_of(path, columns):
        words = [word.strip() for word in labels.split("|")]
        if not image or not patient:
            raise DataError(f"{where}: has no image or no patient; correct the line.")
        if image in found:
            raise DataError(f"{where}: {image} is listed twice; remove one of the lines.")
        unknown = [word for word in words if word not in _LABELS and word != _NO_FINDING]
        if unknown or (_NO_FINDING in words and len(words) > 1):
            told = f"{unknown[0][:40]!r} is no finding" if unknown else f"{labels!r} is no answer"
            raise DataError(
                f"{where}: {told}; write some of {', '.join(FINDINGS)} with | between"
                f" them, or {_NO_FINDING}."
            )
        own = {_LABELS[word] for word in words if word != _NO_FINDING}
        found[image] = Entry(tuple(sorted(own)), patient)
    return found


def read_finding_boxes(path: Path) -> list[FindingBox]:
    """Read the list of boxes, whose header is ``Image Index,Finding Label,Bbox [x,y,w,h],,,``.

    Raises:
        DataError: If a line has an unknown finding, or a box that is not four numbers.
    """
    found = []
    for where, (image, name, *texts) in _rows_of(path, ("Image Index", "Finding Label"), 4):
        name = _OTHER_NAMES.get(name, name)
        if name not in _LABELS:
            raise DataError(f"{where}: {name[:40]!r} is no finding; correct the line.")
        try:
            x, y, width, height = map(float, texts)
        except ValueError:
            told = ",".join(texts)[:60]
            raise DataError(f"{where}: the box {told} is not four numbers; correct it.") from None
        corners = checked_box((x, y, width, height), True, where)
        found.append(FindingBox(image, _LABELS[name], corners, where))
    return found


def _rows_of(
    path: Path, columns: Sequence[str], further: int = 0
) -> Iterator[tuple[str, list[str]]]:
    """Yield the place and some fields of each row of a table with a header.

    Args:
        path: The CSV file.
        columns: Names of the columns to take.
        further: Number of columns to take behind the last of these, whatever their names.
    """
    reader = csv.reader(read_text(path).splitlines())
    try:
        header = [name.strip() for name in next(reader, [])]
        for name in columns:
            if name not in header:
                raise DataError(f"{path}, line 1: has no column {name!r}; restore the file.")
        places = [header.index(name) for name in columns]
        places += range(places[-1] + 1, places[-1] + 1 + further)
        for row in reader:
            where = f"{path}, line {reader.line_num}"
            if not any(field.strip() for field in row):
                continue
            if len(row) <= max(places):
                raise DataError(f"{where}: has {len(row)} fields, too few; restore the file.")
            yield where, [row[place].strip() for place in places]
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: {error}; correct it.") from None
