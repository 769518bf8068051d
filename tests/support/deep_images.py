"""Sets of images whose class is lost where images become 8-bit colors.

`write_gray` makes images of one channel and 16 bits: their upper 8 bits are equal everywhere, and a
square in the lower 8 bits tells the class by its brightness. `write_planes` makes images of four
channels of 8 bits: three are noise, and the square is in the fourth. The square is the object of
the WSOL metadata, so that boxes of maps are scored, too.
"""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

SIDE, OBJECT = 48, 20
COUNTS = {"train": 48, "val": 16, "test": 24}


def write_gray(root: Path, counts: dict[str, int] = COUNTS, seed: int = 0) -> Path:
    """Write images (48, 48) of 16 bits as PNG, whose first 8 bits are equal in all pixels."""

    def draw(rng: np.random.Generator, label: int, place: slice) -> NDArray[np.uint16]:
        low = rng.integers(110, 146, (SIDE, SIDE))
        low[place] = rng.integers(0, 36, low[place].shape) + (220 if label else 0)
        return (128 * 256 + low).astype(np.uint16)

    return _write(root, ".png", draw, counts, seed)


def write_planes(
    root: Path, counts: dict[str, int] = COUNTS, seed: int = 0, suffix: str = ".png"
) -> Path:
    """Write images (48, 48, 4) of 8 bits as PNG, .npy or TIFF, as ``suffix`` says."""

    def draw(rng: np.random.Generator, label: int, place: slice) -> NDArray[np.uint8]:
        planes = rng.integers(60, 196, (SIDE, SIDE, 4))
        inner = planes[place][..., 3]
        planes[(*place, 3)] = rng.integers(0, 30, inner.shape) + (225 if label else 0)
        return planes.astype(np.uint8)

    return _write(root, suffix, draw, counts, seed)


def _write(
    root: Path, suffix: str, draw: Callable[..., NDArray], counts: dict[str, int], seed: int
) -> Path:
    rng = np.random.default_rng(seed)
    for split, count in counts.items():
        folder = root / "metadata" / split
        folder.mkdir(parents=True)
        ids, labels, boxes, sizes = [], [], [], []
        for number in range(count):
            label, name = number % 2, f"{split}{number}{suffix}"
            y, x = rng.integers(2, SIDE - OBJECT - 2, 2).tolist()
            place = slice(y, y + OBJECT), slice(x, x + OBJECT)
            write_image(root / name, draw(rng, label, place))
            ids.append(name)
            labels.append(f"{name},{label}")
            boxes.append(f"{name},{x},{y},{x + OBJECT - 1},{y + OBJECT - 1}")
            sizes.append(f"{name},{SIDE},{SIDE}")
        lines = {"image_ids": ids, "class_labels": labels, "image_sizes": sizes}
        lines |= {} if split == "train" else {"localization": boxes}
        for stem, rows in lines.items():
            (folder / f"{stem}.txt").write_text("".join(f"{row}\n" for row in rows))
    (root / "metadata" / "class_names.txt").write_text("0,dark\n1,bright\n")
    return root


def write_image(path: Path, values: NDArray) -> None:
    """Write an image (H, W) or (H, W, C), red first, in the format of the path's name."""
    if path.suffix == ".npy":
        np.save(path, values)
    elif path.suffix in (".tif", ".tiff") and values.ndim == 3:
        import tifffile

        tifffile.imwrite(path, values, photometric="minisblack", planarconfig="contig")
    else:
        order = [2, 1, 0, 3][: values.shape[-1]] if values.ndim == 3 else ...
        assert cv2.imwrite(str(path), values[..., order] if values.ndim == 3 else values)
