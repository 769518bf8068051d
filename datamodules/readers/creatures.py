"""Embedded data set: creatures rendered to disk in the benchmark's format."""

import contextlib
import dataclasses
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from learned_saliency.datamodules.creatures.anatomy import PARTS
from learned_saliency.datamodules.creatures.classes import class_attributes, class_name
from learned_saliency.datamodules.creatures.forks import fork_map
from learned_saliency.datamodules.creatures.scene import (
    Scene,
    SceneOptions,
    render_scene,
    tight_box,
)
from learned_saliency.datamodules.textfile import DataError

_LOGGER = logging.getLogger(__name__)
_STAMP = "creatures.json"
_VERSION = 3  # raise it with every change that alters a rendered byte
_SPLITS = ("train", "val", "test")


class CreaturesRenderer:
    """Renderer of the creatures on first use, kept for later runs.

    A class shows on head, wing and tail, which are small. The body, most of the extent, has shape
    and color of its own in every image. With ``"combined"`` evidence it takes two parts to tell a
    class (within 16 classes head and wing decide), and the body's pattern is neutral, too. With
    ``"redundant"`` evidence any of the four parts is enough, except between siblings; with
    ``"ringed"`` evidence, too, but a strong blur erases it; with ``"vivid"`` evidence, too, but the
    head's color catches the eye; see `class_attributes`. The folder written is a complete data set
    in the benchmark's format, each image S x S pixels::

        root/creatures.json                      stamp: version and all parameters
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

    The training split has image labels only. In ``attributes.txt`` the columns after the label are
    in the order of the part labels; the body's attribute is "any" where it is neutral. Image i of a
    split, from 0, has label i modulo the number of classes.

    Every image has a random generator seeded by (seed, split, number), so that its bytes depend
    neither on the number of workers nor on how many images a split has. (Another version of OpenCV
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
    ) -> None:
        self.classes = class_attributes(num_classes, evidence)
        self.evidence = evidence
        self.options = SceneOptions(
            image_size, min_area, max_area, contrast, clutter, part_size, noise
        )
        self.split_sizes = dict(zip(_SPLITS, (train_images, val_images, test_images), strict=True))
        for split, count in self.split_sizes.items():
            if count < num_classes:
                raise ValueError(
                    f"{split}_images must be at least num_classes ({num_classes}), got {count}"
                )
        if seed < 0:
            raise ValueError(f"seed must be at least 0, got {seed}")
        if workers is not None and workers < 1:
            raise ValueError(f"workers must be at least 1, got {workers}")
        self.seed = seed
        self.workers = workers or _usable_cores()

    def prepare(self, root: Path, metadata: Path) -> None:
        """Make sure that the data set lies in ``root`` and its metadata in ``metadata``.

        A folder with the same stamp is used as it is. Otherwise everything is rendered beside it
        and moved into place at the end, so that an interruption leaves no partial data set.

        Args:
            root: Folder of the images; must not exist, be empty, or hold this very data set.
            metadata: Folder of the metadata, usually ``root/metadata``, which is written anyway;
                any other folder receives a copy, under the same conditions as ``root``.

        Raises:
            DataError: If a folder holds anything else, such as creatures of other parameters.
        """
        root, metadata = (Path(path).expanduser().resolve() for path in (root, metadata))
        if not self._is_ready(root):
            count = sum(self.split_sizes.values())
            _LOGGER.info("Rendering %d images of creatures into %s", count, root)
            self._publish(root, self._render)
        if not self._is_ready(metadata):
            self._publish(metadata, lambda folder: shutil.copytree(root / "metadata", folder))

    def render(self, split: str, number: int) -> tuple[Scene, int]:
        """Render one image.

        Args:
            split: "train", "val" or "test".
            number: Index of the image in its split, from 0.

        Returns:
            The scene and its label.
        """
        label = number % len(self.classes)
        rng = np.random.default_rng([self.seed, _SPLITS.index(split), number])
        return render_scene(self.classes[label], self.options, rng), label

    def _stamp(self) -> dict[str, object]:
        return {
            "version": _VERSION,
            "seed": self.seed,
            "num_classes": len(self.classes),
            "evidence": self.evidence,
            **{f"{split}_images": count for split, count in self.split_sizes.items()},
            **dataclasses.asdict(self.options),
        }

    def _is_ready(self, folder: Path) -> bool:
        """Return whether the folder holds this data set; raise if it holds something else."""
        if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
            return False
        remedy = "choose another folder or remove this one"
        try:
            found = json.loads((folder / _STAMP).read_text())
        except (OSError, ValueError):
            raise DataError(
                f"{folder} holds other files than the creatures (no readable {_STAMP}); {remedy}"
            ) from None
        wanted = self._stamp()
        # The first stamps had no choice of evidence.
        found = {"evidence": "combined"} | found if isinstance(found, dict) else {}
        if found == wanted:
            return True
        differences = ", ".join(
            f"{key} {found.get(key)} instead of {value}"
            for key, value in wanted.items()
            if found.get(key) != value
        )
        raise DataError(f"{folder} holds creatures with {differences or 'unknown keys'}; {remedy}")

    def _publish(self, folder: Path, write: Callable[[Path], object]) -> None:
        """Let ``write`` make a new folder beside ``folder`` and move the new one into place."""
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as scratch:
            fresh = Path(scratch, "fresh")
            write(fresh)
            with contextlib.suppress(OSError):
                folder.rmdir()  # an empty folder is in the way on some systems
            try:
                fresh.rename(folder)
            except OSError:
                if not self._is_ready(folder):  # else another process was faster
                    raise

    def _render(self, folder: Path) -> None:
        stamp = json.dumps(self._stamp(), indent=2) + "\n"
        metadata = folder / "metadata"
        metadata.mkdir(parents=True)
        names = [f"{k},{class_name(attributes)}" for k, attributes in enumerate(self.classes)]
        _write_lines(metadata / "class_names.txt", names)
        rows = [f"{k},{','.join(attributes)}" for k, attributes in enumerate(self.classes)]
        _write_lines(metadata / "attributes.txt", [",".join(("label", *PARTS)), *rows])
        threads = cv2.getNumThreads()
        cv2.setNumThreads(1)  # threads would compete with the workers and be lost in a fork
        try:
            for split, count in self.split_sizes.items():
                self._render_split(folder, split, count)
        finally:
            cv2.setNumThreads(threads)
        (metadata / _STAMP).write_text(stamp)
        (folder / _STAMP).write_text(stamp)

    def _render_split(self, folder: Path, split: str, count: int) -> None:
        names = [f"{split}/{number + 1:05d}.png" for number in range(count)]
        localized = split != "train"
        for kind in ("images", "masks", "parts") if localized else ("images",):
            (folder / kind / split).mkdir(parents=True)

        def work(number: int) -> tuple[int, tuple[int, int, int, int]]:
            scene, label = self.render(split, number)
            _write_png(folder / "images" / names[number], scene.image[..., ::-1])
            if localized:
                _write_png(folder / "masks" / names[number], scene.mask)
                _write_png(folder / "parts" / names[number], scene.parts)
            return label, tight_box(scene.mask)

        labels, boxes = zip(*fork_map(work, count, self.workers), strict=True)
        ids = [f"images/{name}" for name in names]
        size = self.options.image_size
        tables = {
            "image_ids": ids,
            "class_labels": [f"{i},{label}" for i, label in zip(ids, labels, strict=True)],
            "image_sizes": [f"{i},{size},{size}" for i in ids],
        }
        if localized:
            tables["localization"] = [
                f"{i},{','.join(map(str, box))}" for i, box in zip(ids, boxes, strict=True)
            ]
            tables["masks"] = [f"images/{name},masks/{name}," for name in names]
            tables["parts"] = [f"images/{name},parts/{name}" for name in names]
        (folder / "metadata" / split).mkdir()
        for name, lines in tables.items():
            _write_lines(folder / "metadata" / split / f"{name}.txt", lines)


def _usable_cores() -> int:
    """Count the cores that this process may use if the system tells them, else all cores."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _write_lines(path: Path, lines: list[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n")


def _write_png(path: Path, pixels: np.ndarray) -> None:
    """Write an image (H, W) or, channels in the order blue, green, red, (H, W, 3)."""
    _, data = cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    path.write_bytes(data.tobytes())
