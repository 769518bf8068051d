"""A small data set in the WSOL benchmark's format, in which tests plant faults."""

from functools import cache
from pathlib import Path

import cv2
import numpy as np
from omegaconf import DictConfig, OmegaConf
from PIL import Image

from learned_saliency.pipeline.cli import compose_checked
from learned_saliency.pipeline.data import Examination, examine

WIDTH, HEIGHT = 120, 90
_IMAGES = {"train": 6, "val": 4, "test": 4}


def photograph(seed: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """Smooth random picture, uint8 (H, W, 3), that looks like no other."""
    generator = np.random.default_rng(seed)
    layers = (generator.random((side, side, 3)) / side for side in (3, 6, 12, 25, 50))
    total = sum(cv2.resize(layer, (width, height)) for layer in layers)
    return (255 * (total - total.min()) / np.ptp(total)).astype(np.uint8)


@cache
def _composed(*words: str) -> DictConfig:
    return compose_checked(["data=wsol", *words], "doctor", complete=False)


class SmallSet:
    """Data set of 14 photographs of two classes, with boxes or masks on val and test."""

    def __init__(self, folder: Path, masks: bool = False) -> None:
        self.folder, self.root, self.metadata = folder, folder / "images", folder / "metadata"
        self.masks = folder / "masks"
        for number, (split, name) in enumerate(
            (split, f"{split}/{k}.jpg") for split, count in _IMAGES.items() for k in range(count)
        ):
            (self.root / split).mkdir(parents=True, exist_ok=True)
            (self.metadata / split).mkdir(parents=True, exist_ok=True)
            self.save(name, photograph(number))
            self.append(f"{split}/image_ids.txt", name)
            self.append(f"{split}/class_labels.txt", f"{name},{number % 2}")
            if split != "train" and masks:
                self._add_masks(split, name)
            elif split != "train":
                self.append(f"{split}/image_sizes.txt", f"{name},{WIDTH},{HEIGHT}")
                self.append(f"{split}/localization.txt", f"{name},10,20,{60 + number},70")
        self.append("class_names.txt", "0,cat")
        self.append("class_names.txt", "1,cup")

    def _add_masks(self, split: str, name: str) -> None:
        stem = name.replace("/", "-").removesuffix(".jpg")
        self.save_mask(f"{stem}.png", slice(20, 50))
        self.save_mask(f"{stem}-ignore.png", slice(50, 60))
        self.append(f"{split}/localization.txt", f"{name},{stem}.png,{stem}-ignore.png")

    def save(self, name: str, pixels: np.ndarray, **options) -> None:
        """Save an image below the root."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path, **{"quality": 90, **options})

    def save_mask(self, name: str, rows: slice, size: tuple[int, int] = (HEIGHT, WIDTH)) -> None:
        """Save a mask some of whose rows are marked."""
        marks = np.zeros(size, np.uint8)
        marks[rows] = 255
        self.masks.mkdir(exist_ok=True)
        Image.fromarray(marks).save(self.masks / name)

    def append(self, file: str, line: str) -> None:
        """Append a line to a file of the metadata."""
        with (self.metadata / file).open("a", encoding="utf-8") as text:
            text.write(f"{line}\n")

    def replace(self, file: str, number: int, line: str | None) -> None:
        """Replace a line of a file of the metadata, counted from 1; None leaves it out."""
        path = self.metadata / file
        lines = path.read_text().splitlines()
        lines[number - 1 : number] = [] if line is None else [line]
        path.write_text("".join(f"{each}\n" for each in lines))

    def words(self, *more: str) -> list[str]:
        """Words of a command line that checks this set."""
        return ["wsol", *(f"{key}={value}" for key, value in self._places().items()), *more]

    def config(self, *more: str) -> DictConfig:
        """Configuration of a check of this set."""
        config = _composed(*more).copy()
        for key, value in self._places().items():
            OmegaConf.update(config, key, str(value))
        return config

    def _places(self) -> dict[str, Path]:
        return {
            "data.root": self.root,
            "data.metadata": self.metadata,
            "data.mask_root": self.masks,
            "output_dir": self.folder / "report",
        }

    def examine(self, *more: str) -> Examination:
        """Examine this set."""
        return examine(self.config(*more), self.folder / "report")
