"""COCO's instances: one JSON file, boxes and masks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from learned_saliency.pipeline.prediction.labels.base import (
    Files,
    Fragments,
    LabelFormat,
    LabelledImage,
    LabelledObject,
    run_lengths,
)


class COCO(LabelFormat):
    """``instances.json`` as https://cocodataset.org/#format-data describes it.

    Boxes are x, y, width and height, a pixel wide where they hold one column. Masks are run lengths
    down the columns, which holes and several parts survive, with ``iscrowd`` 0. Categories and
    images have ids from 1 on. ``score`` is the class's probability, which the format does not ask
    for.
    """

    name = "coco"

    def fragment(self, image: LabelledImage) -> dict[str, Any]:
        """Give the image's row and those of its objects, whose ids come later."""
        row = {
            "id": image.number + 1,
            "file_name": image.name,
            "width": image.width,
            "height": image.height,
        }
        objects = [_annotation(row, found) for found in image.objects]
        return {"image": row, "annotations": objects}

    def joined_files(self, fragments: Fragments) -> Files:
        """Give the file."""
        yield "instances.json", self._pieces(fragments)

    def _pieces(self, fragments: Fragments) -> Iterator[str]:
        described = {"description": "Found by learned-saliency; to be checked by a person."}
        yield f'{{"info": {json.dumps(described)},\n"licenses": [],\n"categories": [\n'
        rows = ({"id": k + 1, "name": name} for k, name in enumerate(self.class_names))
        yield from _listed(rows)
        yield '],\n"images": [\n'
        yield from _listed(fragment["image"] for fragment in fragments())
        yield '],\n"annotations": [\n'
        every = (row for fragment in fragments() for row in fragment["annotations"])
        yield from _listed({"id": number} | row for number, row in enumerate(every, 1))
        yield "]}\n"


def _annotation(image: dict[str, Any], found: LabelledObject) -> dict[str, Any]:
    x0, y0, x1, y1 = found.box
    counts = run_lengths(found.mask.T.ravel())
    return {
        "image_id": image["id"],
        "category_id": found.label + 1,
        "bbox": [x0, y0, x1 - x0 + 1, y1 - y0 + 1],
        "area": int(found.mask.sum()),
        "segmentation": {"size": [image["height"], image["width"]], "counts": counts},
        "iscrowd": 0,
        "score": round(found.probability, 6),
    }


def _listed(rows: Iterator[dict[str, Any]]) -> Iterator[str]:
    for number, row in enumerate(rows):
        yield (",\n" if number else "") + json.dumps(row)
