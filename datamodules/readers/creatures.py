"""Embedded data set: creatures rendered to disk in the benchmark's format."""

import dataclasses
import json
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from learned_saliency.datamodules.creatures.classes import class_attributes
from learned_saliency.datamodules.creatures.cue import Cue
from learned_saliency.datamodules.creatures.drawing import Drawing
from learned_saliency.datamodules.creatures.images import CreatureImages
from learned_saliency.datamodules.creatures.pair import room_for
from learned_saliency.datamodules.creatures.scene import SceneOptions
from learned_saliency.datamodules.creatures.store import (
    Record,
    SplitStore,
    read_regular,
    replace_file,
)
from learned_saliency.datamodules.creatures.texts import class_texts, split_texts
from learned_saliency.datamodules.metadata import SPLITS
from learned_saliency.datamodules.readers.base import MANY_CLASSES, ONE_CLASS, SplitReader
from learned_saliency.datamodules.textfile import DataError

_LOGGER = logging.getLogger(__name__)
_STAMP = "creatures.json"
VERSION = 3  # raise it, also in configs/data, with every change that alters a rendered byte


class CreaturesRenderer(SplitReader):
    """Renderer of the creatures on first use, kept for later runs.

    A class shows on head, wing and tail, which are small. The body, most of the extent, has shape
    and color of its own in every image. With ``"combined"`` evidence it takes two parts to tell a
    class (within 16 classes head and wing decide), and the body's pattern is neutral, too. With
    ``"redundant"`` evidence any of the four parts is enough, except between siblings; with
    ``"ringed"`` evidence, too, but a strong blur erases it; with ``"vivid"`` evidence, too, but the
    head's color catches the eye; see `class_attributes`. The folder written is a complete data set
    in the benchmark's format, each image S x S pixels::

        root/creatures.json                      stamp: version and parameters, but for numbers
        root/checksums/SPLIT.txt                 label, box and checksums of each image
        root/images/SPLIT/00001.png              RGB, uint8 (S, S, 3)
        root/masks/{val,test}/00001.png          0 background, 1 creature
        root/parts/{val,test}/00001.png          0 none, 1 head, 2 wing, 3 tail, 4 body
        metadata/class_names.txt                 label,name
        metadata/attributes.txt                  label,head,wing,tail,body; has a header
        metadata/SPLIT/image_ids.txt             images/SPLIT/00001.png
        metadata/SPLIT/class_labels.txt          id,label
        metadata/SPLIT/image_sizes.txt           id,width,height
        metadata/{val,test}/localization.txt     id,x0,y0,x1,y1: pixel indices, both ends inside
        metadata/{val,test}/masks.txt            id,mask,ignore: relative to root, ignore is empty
        metadata/{val,test}/parts.txt            id,part_mask: relative to root
        metadata/SPLIT/planted.txt               id,x0,y0,x1,y1 of planted tags; only with a cue

    The training split has image labels only. In ``attributes.txt`` the columns after the label are
    in the order of the part labels; the body's attribute is "any" where it is neutral. Image i of a
    split, from 0, has label i modulo the number of classes.

    With two ``animals`` an image shows a creature of that class and one of another, mostly apart
    (`draw_group`), so that the set is one for ``task="multilabel"``. Masks lie in
    ``root/masks/1/SPLIT`` and ``root/masks/2/SPLIT``; labels, boxes and masks have a line per
    creature, the latter two with the class at its end. All pairs of classes take turns. There are
    no part masks.

    Every image has a random generator seeded by (seed, split, number), so that its bytes depend
    neither on the number of workers nor on how many images a split has: a folder serves metadata of
    any numbers of images, and holds as many as were asked for so far. (Another version of OpenCV
    or NumPy may round differently.)

    Args:
        image_size: Side S of an image in pixels, at least 32.
        train_images: Number of training images, at least one per class.
        val_images: Number of validation images, at least one per class.
        test_images: Number of test images, at least one per class.
        num_classes: Number of classes, 2 to 64, with redundant and ringed evidence to 32, with
            vivid evidence to 8. From 5 or 6 classes up there are pairs with one, two and three
            differing parts, except with vivid evidence.
        seed: Seed of the whole data set, at least 0.
        workers: Processes that render, by default one per usable core; see `fork_map`.
        min_area: Smallest area of a box as a fraction of the image, in (0, max_area).
        max_area: Largest such area, in (min_area, 0.8].
        contrast: Distance of a body's color to its surroundings in Delta E (CIE 1976), 0 to 60.
        clutter: Amount of distractors, 0 to 3; an image has six times this amount on average.
        part_size: Factor on the size of head, wing and tail, 0.5 to 2; smaller parts are harder to
            classify and leave more of the creature to be found.
        noise: Largest standard deviation of the sensor noise as a fraction of full scale, 0 to 0.2.
        evidence: Kind of parts that tell a class: ``"combined"``, ``"redundant"``, ``"ringed"`` or
            ``"vivid"``.
        cue_class: Class whose background has a planted tag, a shortcut for a classifier, in all
            splits; see `Cue`. All other bytes of all images stay as they are without it. None for
            no tags.
        cue_strength: Probability of the tag in an image of this class, in (0, 1]; None, where
            there is no such class.
        animals: Creatures in each image, 1 or 2; two have different classes.

    Raises:
        ValueError: If an argument is outside its range.
    """

    def __init__(
        self,
        image_size: int = 128,
        train_images: int = 2560,
        val_images: int = 320,
        test_images: int = 640,
        num_classes: int = 16,
        seed: int = 0,
        workers: int | None = None,
        *,
        min_area: float = 0.05,
        max_area: float = 0.6,
        contrast: float = 35.0,
        clutter: float = 1.0,
        part_size: float = 1.0,
        noise: float = 0.03,
        evidence: str = "combined",
        cue_class: int | None = None,
        cue_strength: float | None = None,
        animals: int = 1,
    ) -> None:
        self.classes = class_attributes(num_classes, evidence)
        self.evidence = evidence
        self.options = SceneOptions(
            image_size, min_area, max_area, contrast, clutter, part_size, noise
        )
        self.cue, self.animals = _cue(cue_class, cue_strength, num_classes), animals
        self.tasks = ONE_CLASS if animals == 1 else MANY_CLASSES
        _check_animals(animals, self.options, planted=self.cue is not None)
        self.split_sizes = dict(zip(SPLITS, (train_images, val_images, test_images), strict=True))
        for split, count in self.split_sizes.items():
            if count < num_classes:
                raise ValueError(
                    f"{split}_images must be at least num_classes ({num_classes}), got {count}"
                )
        if seed < 0:
            raise ValueError(f"seed must be at least 0, got {seed}")
        if workers is not None and workers < 1:
            raise ValueError(f"workers must be at least 1, got {workers}")
        self.workers = workers or _usable_cores()
        self.images = CreatureImages(self.classes, self.options, seed, self.animals, self.cue)

    def prepare_splits(self, root: Path, metadata: Path, splits: Sequence[str]) -> None:
        """Make sure that splits lie in ``root`` and their metadata in ``metadata``.

        What is missing or damaged is rendered and written, and nothing else. An interruption leaves
        whole files, and the next call goes on. Several processes may do this at the same time.

        Args:
            root: Folder of the images; must not exist, be empty, or hold these creatures, of
                however many images.
            metadata: Folder of the metadata, below ``root`` or under the same conditions.
            splits: Names of the splits.

        Raises:
            DataError: If a folder holds anything else, such as creatures of other parameters.
        """
        root, metadata = (Path(path).expanduser().resolve() for path in (root, metadata))
        known = any(self._store(root, split).records() for split in SPLITS)
        self._check_owner(root, known)
        self._check_owner(metadata, metadata.is_relative_to(root))
        self._write_texts(root, {_STAMP: self._stamp()})
        texts = {_STAMP: self._stamp(), **class_texts(self.classes)}
        for split in splits:
            store = self._store(root, split)
            size, planted = self.options.image_size, self.cue is not None
            texts |= split_texts(store, self._complete(store), size, planted=planted)
        self._write_texts(metadata, texts)

    def draw(self, split: str, number: int) -> tuple[Drawing, int]:
        """Draw one image; see `CreatureImages.draw`."""
        return self.images.draw(split, number)

    def _store(self, root: Path, split: str) -> SplitStore:
        return SplitStore(root, split, self.animals)

    def _identity(self) -> dict[str, object]:
        """Return what the bytes of an image depend on, beside its split and number."""
        cue = self.cue
        return {
            "version": VERSION,
            "seed": self.images.seed,
            "num_classes": len(self.classes),
            "evidence": self.evidence,
            **dataclasses.asdict(self.options),
            **({"cue_class": cue.label, "cue_strength": cue.strength} if cue else {}),
            **({"animals": self.animals} if self.animals > 1 else {}),
        }

    def _stamp(self) -> str:
        return json.dumps(self._identity(), indent=2) + "\n"

    def _check_owner(self, folder: Path, known: bool) -> None:
        """Check that a folder is free or holds these creatures.

        Args:
            folder: The folder.
            known: Whether other files than the stamp show that it is theirs.

        Raises:
            DataError: If it holds something else.
        """
        if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
            return
        remedy = "choose another folder or remove this one"
        try:
            found = json.loads(read_regular(folder / _STAMP) or b"")
        except ValueError:
            found = None
        if not isinstance(found, dict):
            if known:
                return
            raise DataError(
                f"{folder} holds other files than the creatures (no readable {_STAMP}); {remedy}"
            )
        wanted = self._identity()
        if found == wanted:
            return
        differences = ", ".join(
            f"{key} {found.get(key)} instead of {value}"
            for key, value in wanted.items()
            if found.get(key) != value
        )
        raise DataError(f"{folder} holds creatures with {differences or 'unknown keys'}; {remedy}")

    def _write_texts(self, folder: Path, texts: Mapping[str, str]) -> None:
        """Write those text files that are not there as they should be."""
        for name, text in texts.items():
            found = read_regular(folder / name)
            if found != text.encode():
                if found is not None:
                    _LOGGER.warning("%s is damaged or of another set: written anew", folder / name)
                replace_file(folder / name, text.encode())

    def _complete(self, store: SplitStore) -> list[Record]:
        """Render the images of a split that are missing or damaged; return all its records."""
        count = self.split_sizes[store.split]
        known = {n: record for n, record in store.records().items() if n < count}
        damaged = store.damaged(known)
        numbers = sorted({*damaged, *(set(range(count)) - known.keys())})
        if damaged:
            _LOGGER.warning(
                "%d images of %s in %s are damaged: rendered again",
                *(len(damaged), store.split, store.root),
            )
        if numbers:
            _LOGGER.info("Rendering %d images of creatures into %s", len(numbers), store.root)
            known |= dict(
                zip(numbers, self.images.render(store, numbers, self.workers), strict=True)
            )
            store.keep(known)
        return [known[number] for number in range(count)]


def _check_animals(animals: int, options: SceneOptions, *, planted: bool) -> None:
    if animals not in (1, 2):
        raise ValueError(f"animals must be 1 or 2, got {animals}")
    if animals > 1 and planted:
        raise ValueError("cue_class is for images of one animal, got animals=2: leave one out")
    room_for(options, animals)  # raises where they would find none


def _cue(label: int | None, strength: float | None, num_classes: int) -> Cue | None:
    if label is None and strength is None:
        return None
    if label is None or strength is None:
        raise ValueError(
            f"cue_class and cue_strength go together, got {label} and {strength}: give both, or "
            "neither"
        )
    if not 0 <= label < num_classes:
        raise ValueError(f"cue_class must be in [0, {num_classes - 1}], got {label}")
    return Cue(label, strength)


def _usable_cores() -> int:
    """Count the cores that this process may use if the system tells them, else all cores."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
