"""Files of ILSVRC2012 where its archives, or that of the Kaggle challenge, unpack them."""

import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from learned_saliency.datamodules.textfile import DataError

IMAGES = (".jpeg", ".jpg", ".png")  # endings of the names of files
ANNOTATIONS = (".xml",)
DATA = ("", "ILSVRC/Data/CLS-LOC", "Data/CLS-LOC", "ILSVRC")  # where train and val may lie
NOTES = ("Annotations/CLS-LOC", "ILSVRC/Annotations/CLS-LOC", "Annotations", "")  # and annotations
SOLUTION = "LOC_val_solution.csv"
_LOOKED_AT = 10  # folders of classes, each of which has some annotated images
_SYNSET = re.compile(r"n\d{8}")


class Layout(NamedTuple):
    """Places of the parts of a download; None for what is not there."""

    train: Path
    val: Path
    train_notes: Path | None
    val_notes: Path | None
    solution: Path | None


def find_layout(root: Path) -> Layout:
    """Find the parts of the download below the root."""
    places = [root / place for place in DATA]
    data = next((p for p in places if (p / "train").is_dir() and (p / "val").is_dir()), None)
    if data is None:
        raise DataError(
            f"{root}: not the unpacked ILSVRC2012 (no folders train and val, there or in"
            f" {DATA[1]}); set `root`."
        )
    notes = {}
    for split, holds in (("train", _holds_train_notes), ("val", _holds_val_notes)):
        folders = [*(root / place / split for place in NOTES), data / split]
        notes[split] = next((path for path in folders if path.is_dir() and holds(path)), None)
    solutions = [place / SOLUTION for place in (root, root.parent)]
    solution = next((path for path in solutions if path.is_file()), None)
    return Layout(data / "train", data / "val", notes["train"], notes["val"], solution)


def _holds_train_notes(folder: Path) -> bool:
    few = sorted(filter(_SYNSET.fullmatch, os.listdir(folder)))[:_LOOKED_AT]
    return any(list_files(folder / synset, ANNOTATIONS) for synset in few)


def _holds_val_notes(folder: Path) -> bool:
    return bool(list_files(folder, ANNOTATIONS))


def list_synsets(place: Path, endings: tuple[str, ...]) -> dict[str, list[str]]:
    """List the files in the folders of the classes, in threads; classes and files are sorted."""
    synsets = sorted(name for name in os.listdir(place) if _SYNSET.fullmatch(name))
    if not synsets:
        raise DataError(
            f"{place}: holds no folders like n01440764; unpack each n*.tar in a folder of its name."
        )
    with ThreadPoolExecutor(max_workers=16) as pool:
        files = pool.map(lambda synset: list_files(place / synset, endings), synsets)
        return dict(zip(synsets, files, strict=True))


def list_files(folder: Path, endings: tuple[str, ...]) -> list[str]:
    """List the files with one of some endings, in small letters, by their names; none hidden."""
    names = os.listdir(folder)
    return sorted(name for name in names if name.lower().endswith(endings) and name[0] != ".")


def list_val(place: Path) -> dict[str, tuple[Path, str]]:
    """List paths and, where they are sorted, synsets of the validation images by their names."""
    found = {name.rpartition(".")[0]: (place / name, "") for name in list_files(place, IMAGES)}
    for synset in sorted(name for name in os.listdir(place) if _SYNSET.fullmatch(name)):
        for name in list_files(place / synset, IMAGES):
            stem = name.rpartition(".")[0]
            if stem in found:
                raise DataError(
                    f"{place / synset / name}: {found[stem][0]} is the same image; remove one."
                )
            found[stem] = (place / synset / name, synset)
    if not found:
        raise DataError(f"{place}: holds no images; unpack ILSVRC2012_img_val.tar there.")
    return dict(sorted(found.items()))
