"""Checks of boxes: whether they lie in their images and surround something."""

from __future__ import annotations

from learned_saliency.pipeline.data.content import Content, SplitContent
from learned_saliency.pipeline.data.findings import Findings

_WHOLE = 0.1  # share of boxes that are the whole image, from which on that is suspicious
_FEW = 3  # such boxes are none to speak of


def check_boxes(content: Content, split: SplitContent, findings: Findings) -> None:
    """Check the boxes of a split; those of images that cannot be read, by `image_sizes.txt`."""
    rows, path, whole = split.table.boxes or [], split.table.localization, 0
    for row in rows:
        size = split.size(row.image, content.turned)
        said = (split.table.sizes or {}).get(row.image)
        box = ",".join(map(str, row.values))
        name = split.table.ids[row.image]
        if fault := _fault(row.values, size if said is None else said.values):
            message = f"the box {box} of {name} {fault}; correct x0,y0,x1,y1 or the size."
            findings.add("box", path, message, row.line)
        elif row.values[0] == row.values[2] or row.values[1] == row.values[3]:
            message = f"the box {box} of {name} has no area; see whether it surrounds an object."
            findings.add("box-thin", path, message, row.line)
        elif size is not None:
            x0, y0, x1, y1 = row.values
            whole += x0 <= 0 and y0 <= 0 and x1 >= size[0] - 1 and y1 >= size[1] - 1
    if whole > _FEW and whole > _WHOLE * len(rows):
        message = (
            f"{whole} of {len(rows)} boxes are the whole image; see whether they stand for boxes "
            "that are missing."
        )
        findings.add("box-whole", path, message)


def _fault(box: tuple[int, ...], size: tuple[int, ...] | None) -> str:
    """Say why a box cannot be; empty if it can."""
    x0, y0, x1, y1 = box
    if x0 > x1 or y0 > y1:
        return "is inverted"
    width, height = size or (x1 + 1, y1 + 1)
    if x0 < 0 or y0 < 0 or x1 > width or y1 > height or x0 >= width or y0 >= height:
        return f"lies outside the image of {width}x{height} pixels"
    return ""
