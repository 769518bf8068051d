"""YOLO's boxes: a text file per image, and a file that names the classes."""

from __future__ import annotations

from collections.abc import Iterator

import yaml

from learned_saliency.pipeline.prediction.labels.base import (
    Files,
    Fragments,
    LabelFormat,
    LabelledImage,
)


class YOLO(LabelFormat):
    """``labels/STEM.txt`` and ``data.yaml`` as Ultralytics' detection data sets have them.

    A line holds the class's number, then the middle, width and height of the box as fractions of
    the image. The photographs belong into ``images/`` beside ``labels/``.
    """

    name = "yolo"

    def image_files(self, image: LabelledImage) -> Iterator[tuple[str, bytes]]:
        """Give the file of an image, empty without an object."""
        lines = []
        for found in image.objects:
            x0, y0, x1, y1 = found.box
            x, width = (x0 + x1 + 1) / 2 / image.width, (x1 - x0 + 1) / image.width
            y, height = (y0 + y1 + 1) / 2 / image.height, (y1 - y0 + 1) / image.height
            lines.append(f"{found.label} {x:.8f} {y:.8f} {width:.8f} {height:.8f}\n")
        yield f"labels/{image.stem}.txt", "".join(lines).encode()

    def joined_files(self, fragments: Fragments) -> Files:
        """Give the file of the classes."""
        content = {
            "path": ".",
            "train": "images",
            "val": "images",
            "names": dict(enumerate(self.class_names)),
        }
        yield "data.yaml", [yaml.safe_dump(content, sort_keys=False, allow_unicode=True)]
