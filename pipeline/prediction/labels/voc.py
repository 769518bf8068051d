"""Pascal VOC's annotations: an XML file per image, boxes."""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree import ElementTree

from learned_saliency.pipeline.prediction.labels.base import LabelFormat, LabelledImage, in_xml


class VOC(LabelFormat):
    """``Annotations/STEM.xml`` as VOC2012's development kit describes it.

    Pixels count from 1 and both corners lie inside the box. The format has no masks in its XML;
    ``labels=[voc,png]`` writes them beside it.
    """

    name = "voc"

    def image_files(self, image: LabelledImage) -> Iterator[tuple[str, bytes]]:
        """Give the file of an image."""
        folder, _, name = image.name.rpartition("/")
        root = ElementTree.Element("annotation")
        _add(root, folder=folder, filename=name)
        _add(_under(root, "source"), database="learned-saliency")
        _add(_under(root, "size"), width=image.width, height=image.height, depth=3)
        _add(root, segmented=0)
        for found in image.objects:
            x0, y0, x1, y1 = found.box
            node = _under(root, "object")
            name = self.class_names[found.label]
            _add(node, name=name, pose="Unspecified", truncated=0, difficult=0)
            _add(_under(node, "bndbox"), xmin=x0 + 1, ymin=y0 + 1, xmax=x1 + 1, ymax=y1 + 1)
        ElementTree.indent(root)
        content = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
        yield f"Annotations/{image.stem}.xml", content + b"\n"


def _under(parent: ElementTree.Element, name: str) -> ElementTree.Element:
    return ElementTree.SubElement(parent, name)


def _add(parent: ElementTree.Element, **texts: str | int) -> None:
    for name, text in texts.items():
        _under(parent, name).text = in_xml(str(text))
