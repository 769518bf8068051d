"""Folders of finished evaluations, written by hand: maps and truths that a test chooses."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from learned_saliency.pipeline.reports import write_gallery, write_results
from learned_saliency.storage import write_csv
from learned_saliency.trainers import GalleryImage, GalleryMap

CLASS_NAMES = ["heron", "owl", "wren"]


class Told(NamedTuple):
    """One image of an evaluation.

    Attributes:
        label: Its class.
        share: Share of its map's mass on the object; None for an image without truth.
        map: Its map, uint8 (H, W); None for an image that is not pictured.
        box: Its true box, both ends inside.
    """

    label: int
    share: float | None
    map: np.ndarray | None = None
    box: tuple[int, int, int, int] = (2, 2, 5, 5)


def write_evaluation(
    folder: Path,
    images: Mapping[str, Told],
    methods: tuple[str, ...] = ("native",),
    metric: str = "energy_pointing_game",
    split: str = "test",
    **record: Any,
) -> Path:
    """Write the files of an evaluation that guards read; returns the folder."""
    folder.mkdir(parents=True)
    rows = [
        {"image_id": name, "method": method, "label": told.label, "target": told.label}
        | {metric: "" if told.share is None else told.share}
        for name, told in images.items()
        for method in methods
    ]
    write_csv(folder / "images.csv", ["image_id", "method", "label", "target", metric], rows)
    results = {method: {metric: 0.5} for method in methods}
    write_results(folder, results, record, split)
    pictured = [
        picture(place, name, told, methods)
        for place, (name, told) in enumerate(images.items())
        if told.map is not None
    ]
    write_gallery(folder, pictured, CLASS_NAMES)
    return folder


def picture(
    place: int, name: str, told: Told, methods: tuple[str, ...] = ("native",)
) -> GalleryImage:
    """Make the picture of an image, with its map and its box, which is its mask, too."""
    code = cv2.imencode(".png", told.map)[1].tobytes()
    x0, y0, x1, y1 = told.box
    return GalleryImage(
        place=place,
        image_id=name,
        label=told.label,
        predicted=told.label,
        target=told.label,
        predicted_probability=1.0,
        target_probability=1.0,
        score=None,
        size=told.map.shape,
        picture=b"",
        boxes=[list(told.box)],
        regions=[[[x0, y0], [x1, y0], [x1, y1], [x0, y1]]],
        maps={method: GalleryMap(code, None, None) for method in methods},
    )
