"""Label Studio's tasks with predictions: one JSON file, boxes and masks."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from learned_saliency.pipeline.prediction.labels.base import (
    Files,
    Fragments,
    LabelFormat,
    LabelledImage,
    LabelledObject,
    in_xml,
    run_lengths,
)

_LOCAL = "/data/local-files/?d="  # where Label Studio serves files of its machine
_SIZES = (3, 4, 8, 16)  # bits of a run's length that its code can choose from
_WORD = 8  # bits of a value
_CHANNELS = 4  # red, green, blue and opacity, all alike


class LabelStudio(LabelFormat):
    """``tasks.json`` to import, and ``config.xml``, the labeling interface that goes with it.

    As https://labelstud.io/guide/predictions describes them: pre-annotations, which a person turns
    into annotations. Each object is a rectangle in percent of the image and a brush's mask in the
    tool's own run-length code. Images are files of the tool's machine, named relative to its
    ``LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT``.
    """

    name = "labelstudio"

    def fragment(self, image: LabelledImage) -> dict[str, Any]:
        """Give the task of an image."""
        results = [
            result
            for number, found in enumerate(image.objects)
            for result in self._results(image, number, found)
        ]
        prediction = {"model_version": "learned-saliency", "result": results}
        if image.objects:
            prediction["score"] = round(image.objects[0].probability, 6)
        url = _LOCAL + quote(os.fsencode(image.name))
        return {"data": {"image": url}, "predictions": [prediction]}

    def joined_files(self, fragments: Fragments) -> Files:
        """Give both files."""
        yield "tasks.json", _tasks(fragments)
        yield "config.xml", self._interface()

    def _results(
        self, image: LabelledImage, number: int, found: LabelledObject
    ) -> Iterator[dict[str, Any]]:
        x0, y0, x1, y1 = found.box
        box = {
            "x": 100 * x0 / image.width,
            "y": 100 * y0 / image.height,
            "width": 100 * (x1 - x0 + 1) / image.width,
            "height": 100 * (y1 - y0 + 1) / image.height,
            "rotation": 0,
        }
        mask = {"format": "rle", "rle": list(brush_code(run_lengths(found.mask.ravel())))}
        for kind, name, value in (("rectangle", "box", box), ("brush", "mask", mask)):
            yield {
                "id": f"{name}{number}",
                "type": f"{kind}labels",
                "from_name": name,
                "to_name": "image",
                "original_width": image.width,
                "original_height": image.height,
                "image_rotation": 0,
                "score": round(found.probability, 6),
                "value": {**value, f"{kind}labels": [self.class_names[found.label]]},
            }

    def _interface(self) -> Iterator[str]:
        yield '<View>\n  <Image name="image" value="$image"/>\n'
        for tag, name in (("RectangleLabels", "box"), ("BrushLabels", "mask")):
            yield f'  <{tag} name="{name}" toName="image">\n'
            for label in self.class_names:
                yield f"    <Label value={quoteattr(in_xml(label))}/>\n"
            yield f"  </{tag}>\n"
        yield "</View>\n"


def brush_code(counts: Sequence[int]) -> bytes:
    """Write run lengths of a mask in Label Studio's code for brushes.

    A stream of bits, the highest first: the number of values in 32 bits; the bits of a value less 1
    in 5; the four possible sizes of a length, less 1, in 4 each; then for each run a 1, the place
    of its size in 2 bits, its length less 1 in that size, and its value. Values are the channels of
    all pixels, 0 or 255, row by row.

    Args:
        counts: Lengths of the runs of pixels, of background first, which may be 0.
    """
    bits = [f"{_CHANNELS * sum(counts):032b}", f"{_WORD - 1:05b}"]
    bits += [f"{size - 1:04b}" for size in _SIZES]
    most = 2 ** _SIZES[-1]
    for number, count in enumerate(counts):
        value = f"{255 * (number % 2):0{_WORD}b}"
        left = _CHANNELS * count
        while left:
            length = min(left, most)
            place = next(k for k, size in enumerate(_SIZES) if length <= 2**size)
            bits.append(f"1{place:02b}{length - 1:0{_SIZES[place]}b}{value}")
            left -= length
    stream = "".join(bits)
    stream += "0" * (-len(stream) % 8)
    return int(stream, 2).to_bytes(len(stream) // 8)


def _tasks(fragments: Fragments) -> Iterator[str]:
    yield "[\n"
    for number, fragment in enumerate(fragments()):
        yield (",\n" if number else "") + json.dumps(fragment)
    yield "\n]\n"
