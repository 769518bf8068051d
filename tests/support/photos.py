"""Photographs of people, drawn: files of real formats in folders of classes."""

from pathlib import Path

import numpy as np
from PIL import Image


def photo(number: int, size: tuple[int, int] = (48, 36)) -> Image.Image:
    """Draw a picture that resembles no other: smooth shapes of random places and colors."""
    rng = np.random.default_rng(number)
    coarse = rng.integers(0, 256, (12, 12, 3), np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def save(path: Path, number: int, size: tuple[int, int] = (48, 36), **options: object) -> Path:
    """Save the picture of a number; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    photo(number, size).save(path, **options)
    return path


def fill(root: Path, **classes: int) -> Path:
    """Make a folder of photographs, given numbers of images by class: cat/cat_0.jpg and so on."""
    for k, (name, count) in enumerate(sorted(classes.items())):
        for i in range(count):
            save(root / name / f"{name}_{i}.jpg", 1000 * k + i)
    return root
