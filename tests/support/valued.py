"""A data set of images with values: a bright disc on a textured ground, its area and brightness."""

from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 48


def write_valued_set(folder: Path, counts: dict[str, int] | None = None, values: int = 2) -> None:
    """Write images and metadata of ``data=wsol data.task=regression``.

    Args:
        folder: Gets ``images`` and ``metadata``.
        counts: Number of images of each split.
        values: 2 for area in percent and brightness, 1 for the area alone.
    """
    generator = np.random.default_rng(0)
    for split, count in (counts or {"train": 96, "val": 24, "test": 24}).items():
        (folder / "images" / split).mkdir(parents=True)
        tables = folder / "metadata" / split
        tables.mkdir(parents=True)
        lines = {"image_ids": [], "values": [], "image_sizes": [], "localization": []}
        for number in range(count):
            name = f"{split}/{number}.png"
            pixels, box, told = _disc(generator)
            Image.fromarray(pixels).save(folder / "images" / name)
            lines["image_ids"].append(name)
            lines["values"].append(",".join([name, *(f"{v:.3f}" for v in told[:values])]))
            lines["image_sizes"].append(f"{name},{SIDE},{SIDE}")
            lines["localization"].append(",".join([name, *map(str, box)]))
        for file, rows in lines.items():
            (tables / f"{file}.txt").write_text("\n".join(rows) + "\n")
    names = "0,area\n1,brightness\n" if values == 2 else "0,area\n"
    (folder / "metadata" / "class_names.txt").write_text(names)


def _disc(generator: np.random.Generator) -> tuple[np.ndarray, list[int], list[float]]:
    """Draw an image; return its pixels, the box of the disc, and the values."""
    radius, bright = generator.integers(4, 13), generator.uniform(0.4, 1)
    x, y = generator.integers(radius, SIDE - radius, 2)
    columns, rows = np.meshgrid(np.arange(SIDE), np.arange(SIDE))
    disc = (columns - x) ** 2 + (rows - y) ** 2 <= radius**2
    picture = generator.uniform(0, 0.3, (SIDE, SIDE, 3))
    picture[disc] = bright * generator.uniform(0.8, 1, (disc.sum(), 3))
    box = [int(v) for v in (x - radius, y - radius, x + radius, y + radius)]
    return (255 * picture).astype(np.uint8), box, [100 * disc.mean(), bright]
