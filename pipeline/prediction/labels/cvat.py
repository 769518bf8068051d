"""CVAT for images 1.1: one XML file, boxes and masks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from learned_saliency.pipeline.prediction.labels.base import (
    Files,
    Fragments,
    LabelFormat,
    LabelledImage,
    LabelledObject,
    in_xml,
    run_lengths,
)


class CVAT(LabelFormat):
    """``annotations.xml`` as https://docs.cvat.ai/docs/other/xml_format describes it.

    Each object is a box, whose far edges are those of its last pixels, and a mask, run lengths
    along the rows of that box.
    """

    name = "cvat"

    def fragment(self, image: LabelledImage) -> dict[str, Any]:
        """Give an image's attributes and those of its shapes."""
        attributes = {"name": image.name, "width": image.width, "height": image.height}
        shapes = [shape for found in image.objects for shape in self._shapes(found)]
        return {"image": attributes, "shapes": shapes}

    def joined_files(self, fragments: Fragments) -> Files:
        """Give the file."""
        yield "annotations.xml", self._pieces(fragments)

    def _shapes(self, found: LabelledObject) -> list[tuple[str, dict[str, Any]]]:
        x0, y0, x1, y1 = found.box
        common = {"label": self.class_names[found.label], "source": "auto", "occluded": 0}
        box = {"xtl": x0, "ytl": y0, "xbr": x1 + 1, "ybr": y1 + 1}
        counts = run_lengths(found.mask[y0 : y1 + 1, x0 : x1 + 1].ravel())
        mask = {
            "rle": ", ".join(map(str, counts)),
            "left": x0,
            "top": y0,
            "width": x1 - x0 + 1,
            "height": y1 - y0 + 1,
        }
        return [("box", common | box | {"z_order": 0}), ("mask", common | mask | {"z_order": 0})]

    def _pieces(self, fragments: Fragments) -> Iterator[str]:
        count = sum(1 for _ in fragments())
        yield '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n  <version>1.1</version>\n'
        yield f"  <meta>\n    <task>\n      <size>{count}</size>\n      <mode>annotation</mode>\n"
        yield "      <labels>\n"
        for name in self.class_names:
            written = escape(in_xml(name))
            yield f"        <label><name>{written}</name><attributes></attributes></label>\n"
        yield "      </labels>\n    </task>\n  </meta>\n"
        for number, fragment in enumerate(fragments()):
            yield f"  {_opened('image', {'id': number} | fragment['image'])}\n"
            for name, attributes in fragment["shapes"]:
                yield f"    {_opened(name, attributes)}</{name}>\n"
            yield "  </image>\n"
        yield "</annotations>\n"


def _opened(name: str, attributes: dict[str, Any]) -> str:
    listed = (f"{key}={quoteattr(in_xml(str(value)))}" for key, value in attributes.items())
    return f"<{name} {' '.join(listed)}>"
