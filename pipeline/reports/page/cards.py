"""Cards of a gallery: an image with the maps of all methods, its classes and its metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from learned_saliency.pipeline.reports.page.blocks import Card, Cell, Panel, Table
from learned_saliency.pipeline.reports.page.pictures import data_uri, gray_levels, map_layer
from learned_saliency.trainers import GalleryImage, GalleryMap


def image_card(
    image: GalleryImage,
    class_names: Sequence[str],
    panels: Sequence[Panel] | None = None,
    facts: Mapping[str, object] | None = None,
    table: Table | None = None,
    values: Sequence[float | None] = (),
) -> Card:
    """Make the card of an image.

    Args:
        image: The image.
        class_names: Names of the labels.
        panels: Its pictures; None for the image alone and the maps of all its methods.
        facts: Values by name beside its classes.
        table: Its metrics; None for none.
        values: Numbers to sort by, see `Card`.
    """
    if panels is None:
        panels = [plain_panel(image)]
        panels += [map_panel(name, found, image) for name, found in image.maps.items()]
    return Card(
        title=image.image_id,
        picture=data_uri(image.picture, "jpeg"),
        panels=panels,
        facts={**class_facts(image, class_names), **(facts or {})},
        table=table,
        values=values,
        label=_name(image.label, class_names),
        right=is_right(image),
    )


def plain_panel(image: GalleryImage) -> Panel:
    """Make the picture of the image alone, with what is true of it."""
    truth = [
        *(["true box"] if image.boxes else []),
        *(["outline of the true mask"] if image.regions else []),
    ]
    drawn = f", with {' and '.join(truth)}" if truth else ""
    return Panel(
        name="image",
        alt=f"Image {image.image_id}{drawn}",
        size=image.size,
        true_boxes=image.boxes,
        outlines=image.regions,
        group="image",
    )


def map_panel(
    name: str, found: GalleryMap, image: GalleryImage, levels: NDArray[np.uint8] | None = None
) -> Panel:
    """Make the picture of a method's map over the image.

    Args:
        name: Caption, such as the method's name.
        found: The map.
        image: The image whose card the picture is part of.
        levels: The map's gray levels, if they are known already.
    """
    if found.box is None:
        note = "constant map"
    else:
        note = "" if found.iou is None else f"IoU {found.iou:.2f}"
    return Panel(
        name=name,
        alt=f"Map of {name} over {image.image_id}" + (f", {note}" if note else ""),
        size=image.size,
        layer=map_layer(gray_levels(found.values) if levels is None else levels),
        true_boxes=image.boxes,
        found_box=found.box,
        note=note,
        group=name,
    )


def class_facts(image: GalleryImage, class_names: Sequence[str]) -> dict[str, str | Cell]:
    """Name an image's classes, with their probabilities where they are known."""
    found: dict[str, str | Cell] = {}
    if image.label >= 0:
        found["true class"] = _name(image.label, class_names)
    if image.predicted >= 0:
        wrong = ", wrong" if is_right(image) is False else ""
        note = f"{_percent(image.predicted_probability)}{wrong}"
        found["predicted"] = Cell(_name(image.predicted, class_names), note)
    if image.score is not None:
        found["explained score"] = Cell(_name(image.target, class_names), f"{image.score:.4g}")
    elif image.target_probability is not None:
        note = _percent(image.target_probability)
        found["explained"] = Cell(_name(image.target, class_names), note)
    return found


def is_right(image: GalleryImage) -> bool | None:
    """Tell whether the prediction is right; None where there is none, or no true class."""
    if image.label < 0 or image.predicted < 0:
        return None
    return image.label == image.predicted


def _name(label: int, class_names: Sequence[str]) -> str:
    if label < 0:
        return ""
    return class_names[label] if label < len(class_names) else str(label)


def _percent(probability: float | None) -> str:
    return "" if probability is None else f"{100 * probability:.1f} %"
