"""Table and pictures of the study ``seeds``."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from torch import Tensor

from learned_saliency.losses import background_chances, foreground_regions
from learned_saliency.pipeline.evaluation.studies.seed_counts import SeedShares
from learned_saliency.pipeline.evaluation.studies.shown import plot_panels
from learned_saliency.storage import write_bytes, write_csv
from learned_saliency.visualization import REGION, Picture, encode_png, with_contour
from learned_saliency.visualization import grid as laid_out

_FOREGROUND, _BACKGROUND = (32, 208, 64), (240, 48, 48)
_OPACITY = 0.55


class SeedGrid(NamedTuple):
    """Values that the study varies, and the object that it compares with.

    Attributes:
        erosions: Sides of the eroding squares, as they were given.
        pixels: The same in pixels of the maps.
        shares: Shares of the pixels that may be background.
        erosion: Index of the erosion that tables and pictures show.
        share: Index of the share that they show.
        reference_size: Side of the images that ``erosions`` are meant for; None for these images.
        masked: Whether the object is a mask; otherwise it is the union of the boxes.
    """

    erosions: Sequence[int]
    pixels: Sequence[int]
    shares: Sequence[float]
    erosion: int
    share: int
    reference_size: float | None
    masked: bool


def write_shares(path: Path, found: Mapping[str, SeedShares], grid: SeedGrid) -> None:
    """Write one row per method and erosion, and per method and background share, as CSV."""
    truth = "mask" if grid.masked else "box"
    rows = []
    for method, shares in found.items():
        about = {"method": method, "object": truth, "images": int(shares.images)}
        about |= _cells(without_region=shares.without, anywhere=shares.anywhere)
        for index, erosion in enumerate(grid.erosions):
            cells = {name: getattr(shares, name)[index] for name in ("missed", "size", "emptied")}
            sides = {"erosion": erosion, "erosion_pixels": grid.pixels[index]}
            right = _cells(right=shares.foreground[index], **cells)
            rows.append(about | {"region": "foreground"} | sides | right)
        for index, share in enumerate(grid.shares):
            right = _cells(right=shares.background[index], size=shares.background_size[index])
            rows.append(about | {"region": "background", "background_share": f"{share:g}"} | right)
    columns = ["method", "region", "erosion", "erosion_pixels", "background_share", "right"]
    columns += ["missed", "size", "emptied", "without_region", "anywhere", "object", "images"]
    write_csv(path, columns, [{name: row.get(name, "") for name in columns} for row in rows])


def _cells(**values: Tensor) -> dict[str, str]:
    numbers = {name: float(value) for name, value in values.items()}
    return {name: "" if math.isnan(v) else f"{v:.6f}" for name, v in numbers.items()}


def plot_shares(path: Path, found: Mapping[str, SeedShares], grid: SeedGrid) -> None:
    """Draw what is right against erosion and background share, one line per method, as PNG."""
    where = "object" if grid.masked else "box"
    titles = {
        "foreground": f"foreground seeds on the {where}, %",
        "missed": f"images: foreground misses the {where}, %",
        "background": f"background seeds off the {where}, %",
    }
    meant = "" if grid.reference_size is None else f" of {grid.reference_size:g}"
    anywhere = 100 * float(next(iter(found.values())).anywhere)
    levels = {"foreground": anywhere, "background": 100 - anywhere}

    def draw(name: str, axis: Axes) -> None:
        of_share = name == "background"
        x = grid.shares if of_share else grid.erosions
        for method, shares in found.items():
            values = 100 * getattr(shares, name).cpu().numpy()
            axis.plot(x, values, marker="o", markersize=3, label=method)
        if name in levels:
            axis.axhline(levels[name], color="gray", linestyle=":", label="drawn anywhere")
        axis.axvline(x[grid.share if of_share else grid.erosion], color="gray", linewidth=0.6)
        axis.set_xlabel("background share" if of_share else f"erosion, pixels{meant}")
        if name == "missed":
            axis.set_ylim(bottom=0, top=max(5.0, axis.get_ylim()[1]))

    plot_panels(path, titles, draw)


def draw_regions(
    path: Path, colors: Tensor, masks: Tensor, maps: Mapping[str, Tensor], grid: SeedGrid
) -> None:
    """Draw images with the regions that each method gives, and the object's outline, as PNG.

    Args:
        path: PNG to write.
        colors: Images (B, 3, H, W) in 0..255.
        masks: Truth uint8 (B, H, W): 1 object.
        maps: Maps (B, H, W) in [0, 1] by method.
        grid: See `SeedGrid`; the regions are those of ``erosion`` and ``share``.
    """
    images = colors.permute(0, 2, 3, 1).round().byte().cpu().numpy()
    objects = (masks == 1).float().cpu().numpy()
    columns = [list(images)]
    for saliency in maps.values():
        region = foreground_regions(saliency, [grid.pixels[grid.erosion]]).regions[0]
        chance = background_chances(saliency, [grid.shares[grid.share]])[0]
        parts = zip(images, region.cpu().numpy(), chance.cpu().numpy(), strict=True)
        columns.append([_tinted(*part) for part in parts])
    rows = [
        [with_contour(picture, objects[row], 0.5, REGION) for picture in pictures]
        for row, pictures in enumerate(zip(*columns, strict=True))
    ]
    legend: Any = [("foreground", _FOREGROUND), ("background", _BACKGROUND), ("object", REGION)]
    write_bytes(path, encode_png(laid_out(rows, ["image", *maps], legend=legend)))


def _tinted(image: Picture, foreground: np.ndarray, background: np.ndarray) -> Picture:
    """Lay the regions over an image; one that pixels belong to by chance is fainter."""
    mixed = image.astype(np.float64)
    for color, weight in ((_BACKGROUND, background), (_FOREGROUND, foreground)):
        opacity = _OPACITY * weight[..., None]
        mixed = (1 - opacity) * mixed + opacity * np.array(color, np.float64)
    return mixed.round().astype(np.uint8)
