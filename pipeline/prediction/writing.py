"""Writers of the pictures, arrays and record of an image for predict.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from omegaconf import DictConfig

from learned_saliency.pipeline.cli import UserError, nearest
from learned_saliency.pipeline.prediction.images import Pixels
from learned_saliency.pipeline.prediction.outcomes import ClassScore, PlacedMap
from learned_saliency.pipeline.prediction.regions import region_record
from learned_saliency.storage import replacing, write_bytes
from learned_saliency.trainers import EVERY_CLASS
from learned_saliency.visualization import (
    COLORMAPS,
    FOUND_BOX,
    REGION,
    Picture,
    colorize,
    encode_png,
    overlay,
    side_by_side,
    with_boxes,
    with_caption,
    with_contour,
)

_OUTLINE = (255, 255, 255)


class Style(NamedTuple):
    """Style of a map's files and of its drawing; see ``configs/predict.yaml``."""

    layout: str
    colormap: str
    opacity: float
    contour: bool
    box: bool
    caption: bool
    overlay: bool
    map_png: bool
    arrays: bool
    region_png: bool

    @classmethod
    def of(cls, config: DictConfig) -> Style:
        """Read the style.

        Raises:
            UserError: If there is no such color map.
        """
        given = {name: config[name] for name in cls._fields}
        if given["overlay"] is None:
            given["overlay"] = config.packing == "files"
        style = cls(**given)
        if style.colormap not in COLORMAPS:
            known = list(COLORMAPS)
            raise UserError(
                f"colormap={style.colormap} does not exist{nearest(style.colormap, known)}; there "
                f"are: {', '.join(known)}."
            )
        return style

    def draw(
        self, image: Pixels, found: PlacedMap, threshold: float, predicted: ClassScore
    ) -> Picture:
        """Draw a map with its box, on its image of the same size or beside it.

        With a caption, which hides nothing, below; ``layout=map`` has none.
        """
        if self.layout == "map":
            return self._marked(colorize(found.saliency, self.colormap), found, threshold)
        drawn = overlay(image, found.saliency, self.opacity, self.colormap)
        drawn = self._marked(drawn, found, threshold)
        if self.layout == "side_by_side":
            drawn = side_by_side([image, drawn])
        elif self.layout == "triptych":
            drawn = side_by_side([image, colorize(found.saliency, self.colormap), drawn])
        return self._captioned(drawn, found, predicted) if self.caption else drawn

    def _captioned(self, picture: Picture, found: PlacedMap, predicted: ClassScore) -> Picture:
        """Add class, probability and method, the colors' meaning and, where it is so, "flat"."""
        explained = found.explained
        lines = [str(explained) if explained else EVERY_CLASS]
        other = explained is None or explained.index != predicted.index
        if other and not predicted.is_score:
            lines.append(f"predicted: {predicted}")
        lines.append(found.method)
        if found.flat:
            lines.append("flat map: nothing stands out")
        legend = [("predicted box", FOUND_BOX)] if self.box and found.box.any() else []
        if found.region is not None:
            legend.append(("region of the coverage", REGION))
        return with_caption(picture, lines, self.colormap, legend)

    def _marked(self, picture: Picture, found: PlacedMap, threshold: float) -> Picture:
        if self.contour and not found.flat:
            picture = with_contour(picture, found.saliency, threshold, _OUTLINE)
        if found.region is not None:
            picture = with_contour(picture, found.region.mask.astype(np.float32), 0.5, REGION)
        if self.box and found.box.any():
            picture = with_boxes(picture, [found.box], FOUND_BOX)
        return picture


def write_map(
    folder: Path,
    stem: str,
    image: Pixels,
    found: PlacedMap,
    style: Style,
    threshold: float,
    predicted: ClassScore,
) -> dict[str, Any]:
    """Write the files of a map.

    Args:
        folder: The folder ``out``.
        stem: Name of the image, method and class, relative to ``folder``.
        image: The image, uint8 (H, W, 3).
        found: The map.
        style: Style of the files.
        threshold: Threshold of the box.
        predicted: The most probable class.

    Returns:
        The record of the map, ready for JSON; files are named relative to ``folder``.
    """
    files = {}
    if style.overlay:
        files["overlay"] = f"{stem}.png"
        drawn = encode_png(style.draw(image, found, threshold, predicted))
        write_bytes(folder / files["overlay"], drawn)
    if style.map_png:
        files["map"] = f"{stem}.map.png"
        levels = np.rint(found.saliency * 65535).astype(np.uint16)
        write_bytes(folder / files["map"], encode_png(levels))
    if style.arrays:
        files["array"] = f"{stem}.npy"
        with replacing(folder / files["array"]) as temporary, temporary.open("wb") as file:
            np.save(file, found.saliency)
    region = {} if found.region is None else {"region": region_record(found.region)}
    if found.region is not None and style.region_png:
        files["region_mask"] = f"{stem}.region.png"
        levels = found.region.mask.astype(np.uint8) * 255
        write_bytes(folder / files["region_mask"], encode_png(levels))
    return {
        "method": found.method,
        **_explained(found.explained),
        "box": found.box.tolist() if found.box.any() else None,
        "flat": found.flat,
        **region,
        **files,
    }


def _explained(score: ClassScore | None) -> dict[str, Any]:
    kind = "score" if score is not None and score.is_score else "class"
    return {kind: None if score is None else score_record(score)}


def score_record(score: ClassScore) -> dict[str, Any]:
    """Return a class and its probability, or a score that is no class, ready for JSON."""
    named = {"index": score.index, "name": score.name}
    if score.is_score:
        return {**named, "score": float(f"{score.score:.6g}")}
    return {**named, "probability": round(score.probability, 6)}
