"""Reader of ILSVRC2012, "ImageNet" (Russakovsky et al., IJCV 2015), as its archives unpack."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from learned_saliency.datamodules.readers.annotated import (
    AnnotatedImage,
    annotated_split,
    read_all_voc,
)
from learned_saliency.datamodules.readers.base import ONE_CLASS, Published, Source
from learned_saliency.datamodules.readers.holdout import check_draw, draw_val
from learned_saliency.datamodules.readers.imagenet_files import (
    ANNOTATIONS,
    DATA,
    IMAGES,
    NOTES,
    SOLUTION,
    Layout,
    find_layout,
    list_files,
    list_synsets,
    list_val,
)
from learned_saliency.datamodules.readers.imagenetv2 import read_imagenetv2
from learned_saliency.datamodules.readers.voc import NamedBox
from learned_saliency.datamodules.readers.writing import (
    Metadata,
    SplitRows,
    absolute,
    write_metadata,
)
from learned_saliency.datamodules.textfile import DataError, line_error, read_columns

_LOGGER = logging.getLogger(__name__)
_VERSION = 1
_CLASSES, _TRAIN, _VAL, _BOXES, _V2 = 1000, 1_281_167, 50_000, 64_058, 10_000
_PAGE = "ImageNet (https://www.image-net.org/download.php)"
_KAGGLE = (
    "the ImageNet Object Localization Challenge"
    " (https://www.kaggle.com/c/imagenet-object-localization-challenge/data)"
)
_BENCHMARK = "the WSOL benchmark's repository (https://github.com/clovaai/wsolevaluation)"


class ImageNetReader:
    """Writer of the metadata of ILSVRC2012 from its folders and annotations.

    The root holds ``train/n01440764/*.JPEG`` and ``val/*.JPEG``, or ``val`` sorted into folders
    like ``train``'s; or it is the unpacked archive of the Kaggle challenge, with
    ``ILSVRC/Data/CLS-LOC`` and ``ILSVRC/Annotations/CLS-LOC``. The annotations, XML files, may also
    lie in ``Annotations/CLS-LOC`` or beside the images. Classes are in the order of their WordNet
    ids, as torchvision and timm have them, and are called by id and word: ``n01440764 tench``.

    As in the WSOL benchmark, ImageNet's validation images are ``test``. Their classes are those of
    their folders, of their annotations, or of ``LOC_val_solution.csv``, and their boxes those of
    the annotations or of that file; without either there are no boxes. Boxes are truncated to
    integers and end at the last pixel of the image, as in the benchmark.

    ``val`` is ImageNetV2 where ``imagenetv2_metadata`` or ``imagenetv2_root`` is given, with the
    benchmark's boxes by the former. Otherwise ``val_per_class`` training images of each class,
    drawn with ``seed``, become ``val`` and are missing from ``train``. They have boxes, and are
    drawn among the annotated images, where the training annotations are there. No training image is
    opened but those.

    Args:
        imagenetv2_metadata: The benchmark's folder ``metadata/ILSVRC/val``.
        imagenetv2_root: Folder of ImageNetV2 (threshold 0.7) with its folders 0 to 999; None takes
            the benchmark's place for it, ``val2`` beside ``val``.
        val_per_class: Images of each class that become ``val`` without ImageNetV2, 1 or more.
        seed: Seed of the choice of these images, 0 or more.

    Raises:
        ValueError: If ``val_per_class`` or ``seed`` is out of range.
    """

    tasks = ONE_CLASS

    def __init__(
        self,
        imagenetv2_metadata: str | Path | None = None,
        imagenetv2_root: str | Path | None = None,
        *,
        val_per_class: int = 10,
        seed: int = 0,
    ) -> None:
        check_draw(val_per_class, seed)
        self.imagenetv2_metadata = absolute(imagenetv2_metadata)
        self.imagenetv2_root = absolute(imagenetv2_root)
        self.val_per_class, self.seed = val_per_class, seed

    @property
    def image_roots(self) -> list[Path]:
        """Folders of images beside the root: the one that ``imagenetv2_root`` names, if any."""
        return [] if self.imagenetv2_root is None else [self.imagenetv2_root]

    @property
    def _has_v2(self) -> bool:
        return self.imagenetv2_metadata is not None or self.imagenetv2_root is not None

    @property
    def published(self) -> Mapping[str, Published]:
        """Published counts; without ImageNetV2, less or only what ``val_per_class`` sets aside."""
        drawn = 0 if self._has_v2 else self.val_per_class * _CLASSES
        return {
            "train": Published(_TRAIN - drawn, classes=_CLASSES),
            "val": Published(_V2 if self._has_v2 else drawn, classes=_CLASSES),
            "test": Published(_VAL, _BOXES, classes=_CLASSES),
        }

    @property
    def sources(self) -> Sequence[Source]:
        """Parts of the download."""
        images = {
            "train": "training images (ILSVRC2012_img_train.tar)",
            "val": "validation images (ILSVRC2012_img_val.tar)",
        }
        notes = {
            "val": "boxes of the validation images (ILSVRC2012_bbox_val_v3.tgz)",
            "train": "boxes of training images (ILSVRC2012_bbox_train_v2.tar.gz)",
        }
        solution = "classes and boxes of the validation images, in place of annotations"
        v2 = "boxes of ImageNetV2, for data.reader.imagenetv2_metadata"
        v2_place = str(self.imagenetv2_metadata or "metadata/ILSVRC/val")
        return [
            *(_source(DATA, split, what, True) for split, what in images.items()),
            *(_source(NOTES[:-1], split, what, False) for split, what in notes.items()),
            Source(SOLUTION, solution, _KAGGLE, False),
            Source(v2_place, v2, _BENCHMARK, self.imagenetv2_metadata is not None),
        ]

    def prepare(self, root: Path, metadata: Path) -> None:
        """Write the metadata unless this reader, with the same settings, has written it already.

        Args:
            root: The folder of the download; see the class.
            metadata: The folder to write.

        Raises:
            DataError: If images are missing, a validation image has no class, an annotation is
                missing, malformed or of another class, a box is inverted or outside of its image, a
                class is too small to split, or ``metadata`` holds files of another origin.
        """
        layout = find_layout(root)
        settings = {"version": _VERSION, "root": root, **layout._asdict(), **vars(self)}
        write_metadata(metadata, "ImageNet", settings, lambda: self._read(root, layout))

    def _read(self, root: Path, layout: Layout) -> Metadata:
        """Read the three splits and the class names."""
        _LOGGER.info("Listing the images and boxes below %s, once, in a minute or so", root)
        files = list_synsets(layout.train, IMAGES)
        empty = next((synset for synset, names in files.items() if not names), None)
        if empty is not None:
            raise DataError(f"{layout.train / empty}: holds no images; unpack {empty}.tar there.")
        synsets = list(files)
        place = layout.train.relative_to(root).as_posix()
        ids = [f"{place}/{synset}/{name}" for synset in synsets for name in files[synset]]
        labels = np.repeat(np.arange(len(synsets)), [len(files[synset]) for synset in synsets])
        rows = np.arange(len(ids))
        splits = {"test": _read_test(root, layout, synsets)}
        if self._has_v2:
            v2 = self.imagenetv2_root or layout.val.parent / "val2"
            splits["val"] = read_imagenetv2(root, v2, self.imagenetv2_metadata)
        else:
            drawn = self._draw(layout.train_notes, files, labels)
            rows = np.setdiff1d(rows, drawn, assume_unique=True)
            own = [ids[row] for row in drawn]
            splits["val"] = _read_drawn(root, layout.train_notes, own, labels[drawn], synsets)
        splits["train"] = SplitRows([ids[row] for row in rows], labels[rows])
        return Metadata(_class_names(synsets), splits)

    def _draw(
        self, notes: Path | None, files: Mapping[str, Sequence[str]], labels: np.ndarray
    ) -> np.ndarray:
        """Draw ``val`` among the training images, or among those that are annotated."""
        rows = np.arange(len(labels))
        if notes is None:
            return draw_val(labels, rows, self.val_per_class, self.seed)
        noted = list_synsets(notes, ANNOTATIONS)
        stems = {synset: {name[:-4] for name in names} for synset, names in noted.items()}
        has_notes = [
            name.rpartition(".")[0] in stems.get(synset, ())
            for synset, names in files.items()
            for name in names
        ]
        among = rows[np.array(has_notes, bool)]
        what = f"annotated training images in {notes}"
        return draw_val(labels, among, self.val_per_class, self.seed, what=what, left_over=0)


def _source(places: Sequence[str], split: str, what: str, required: bool) -> Source:
    """Make the source of a part that may lie in several places."""
    paths = [f"{place}/{split}".lstrip("/") for place in places]
    return Source(paths[0], what, _PAGE, required, tuple(paths[1:]))


def _read_test(root: Path, layout: Layout, synsets: Sequence[str]) -> SplitRows:
    """Read ImageNet's validation images with their classes and, where there are some, boxes."""
    images = list_val(layout.val)
    listed = {} if layout.solution is None else _read_solution(layout.solution)
    notes, sources = listed, dict.fromkeys([*listed, *images], layout.solution)
    if layout.val_notes is not None:
        stems = [name[:-4] for name in list_files(layout.val_notes, ANNOTATIONS)]
        sources = {n: layout.val_notes / f"{n}.xml" for n in dict.fromkeys([*stems, *images])}
        notes = dict(zip(sources, read_all_voc(list(sources.values())), strict=True))
    elif layout.solution is None:
        return _without_boxes(root, layout.val, images, synsets)
    gone = next((stem for stem in notes if stem not in images), None)
    if gone is not None:
        raise DataError(
            f"{layout.val / gone}.JPEG: this image is missing, though {sources[gone]} lists it;"
            " unpack ILSVRC2012_img_val.tar again."
        )
    found = []
    for stem, (path, synset) in images.items():
        class_name = synset or next((name for name, _ in notes.get(stem, ())), "")
        second = next((name for name, _ in listed.get(stem, ())), class_name)
        if class_name and second != class_name:
            raise DataError(
                f"{layout.solution}: {stem} is of class {second} here, but of {class_name} by its"
                f" {'folder' if synset else 'annotation'}; restore the wrong one."
            )
        image_id = path.relative_to(root).as_posix()
        found.append(AnnotatedImage(image_id, class_name, sources[stem], notes.get(stem, ())))
    return annotated_split(root, found, synsets)


def _without_boxes(
    root: Path, place: Path, images: Mapping[str, tuple[Path, str]], synsets: Sequence[str]
) -> SplitRows:
    """Make the rows of validation images that are sorted into folders and not annotated."""
    unsorted = next((path for path, synset in images.values() if not synset), None)
    if unsorted is not None:
        raise DataError(
            f"{unsorted}: nothing tells the class of this image; unpack"
            f" ILSVRC2012_bbox_val_v3.tgz as Annotations/CLS-LOC/val, or put {SOLUTION} into the"
            " root."
        )
    labels = {synset: label for label, synset in enumerate(synsets)}
    unknown = next((synset for _, synset in images.values() if synset not in labels), None)
    if unknown is not None:
        raise DataError(f"{place / unknown}: there is no such folder in train; restore it.")
    ids = [path.relative_to(root).as_posix() for path, _ in images.values()]
    return SplitRows(ids, [labels[synset] for _, synset in images.values()])


def _read_drawn(
    root: Path, notes: Path | None, ids: Sequence[str], labels: np.ndarray, synsets: Sequence[str]
) -> SplitRows:
    """Make the rows of training images that were drawn as ``val``."""
    if notes is None:
        return SplitRows(ids, labels)
    paths = [notes.joinpath(*Path(name).parts[-2:]).with_suffix(".xml") for name in ids]
    own = [synsets[label] for label in labels]
    return annotated_split(
        root, list(map(AnnotatedImage, ids, own, paths, read_all_voc(paths))), synsets
    )


def _read_solution(path: Path) -> dict[str, list[NamedBox]]:
    """Read classes and boxes, lines of ``ImageId,PredictionString``, by the images' names."""
    columns = read_columns(path, "ImageId,PredictionString", from_left=True)
    found: dict[str, list[NamedBox]] = {}
    for row, (name, text) in enumerate(zip(*columns, strict=True)):
        if row == 0 and name == "ImageId":
            continue
        objects = _parse_objects(text)
        if not objects or name in found:
            fault = f"{text[:40]!r} is not `class x0 y0 x1 y1`, repeated, with ordered corners"
            fault = f"{name} is listed twice" if name in found else fault
            raise line_error(path, row, f"{fault}; restore the file.")
        found[name] = objects
    return found


def _parse_objects(text: str) -> list[NamedBox] | None:
    """Read objects, five words each; return None where there is anything else."""
    words = text.split()
    try:
        starts = range(0, len(words), 5)
        objects = [NamedBox(words[i], tuple(map(float, words[i + 1 : i + 5]))) for i in starts]
    except ValueError:
        return None
    fits = len(words) % 5 == 0 and all(x0 <= x1 and y0 <= y1 for _, (x0, y0, x1, y1) in objects)
    return objects if fits else None


def _class_names(synsets: Sequence[str]) -> list[str]:
    """Name classes by WordNet id and first word, as far as they are ImageNet's 1000."""
    from timm.data import ImageNetInfo  # takes a second, and is needed once

    info = ImageNetInfo("imagenet-1k")
    words = dict(zip(info.label_names(), info.label_descriptions(), strict=True))
    return [f"{synset} {words.get(synset, '').partition(',')[0]}".strip() for synset in synsets]
