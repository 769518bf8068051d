"""Annotations of Pascal VOC's XML format, which ImageNet and many tools use."""

from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from learned_saliency.datamodules.opening import ImageError, check_regular
from learned_saliency.datamodules.textfile import DataError

_MOST_BYTES = 1 << 24  # several thousand times an annotation of ImageNet
_CORNERS = ("xmin", "ymin", "xmax", "ymax")


class NamedBox(NamedTuple):
    """Object of an annotation.

    Attributes:
        name: Name of its class.
        box: Corners x0, y0, x1, y1 in pixels, as they are written.
    """

    name: str
    box: tuple[float, float, float, float]


class VOCObject(NamedTuple):
    """Object of an annotation, with what VOC's own sets say of it.

    Attributes:
        name: Name of its class.
        box: Corners x0, y0, x1, y1 in pixels, as they are written.
        difficult: Whether it is hard to recognize, so that VOC's evaluations leave it out.
    """

    name: str
    box: tuple[float, float, float, float]
    difficult: bool


class _PlainTree(ElementTree.TreeBuilder):
    """Builder of a tree from XML without a document type, which alone could define entities."""

    def doctype(self, name: str, *_: object) -> None:
        """Refuse a document type.

        Raises:
            ValueError: In any case.
        """
        raise ValueError(f"it declares the document type {name[:40]!r}, which annotations do not")


def read_voc(path: Path) -> list[NamedBox]:
    """Read the objects of an annotation.

    Args:
        path: The XML file.

    Returns:
        The objects in the file's order; none where the image has no annotated object.

    Raises:
        DataError: If the file is missing, no XML, too large or declares a document type, or an
            object has no name, no box, a corner that is no finite number, or an inverted box.
    """
    return [NamedBox(found.name, found.box) for found in read_voc_objects(path)]


def read_voc_objects(path: Path) -> list[VOCObject]:
    """Read the objects of an annotation with all that is known of them; see `read_voc`.

    Raises:
        DataError: See `read_voc`; also if ``difficult`` is neither 0 nor 1.
    """
    try:
        check_regular(path)
        if path.stat().st_size > _MOST_BYTES:
            raise ValueError(f"it is larger than {_MOST_BYTES >> 20} MB")
        parser = ElementTree.XMLParser(target=_PlainTree())
        tree = ElementTree.parse(path, parser)
        return [_read_object(node) for node in tree.iter("object")]
    except FileNotFoundError:
        raise DataError(f"{path}: this annotation is missing; restore it.") from None
    except ElementTree.ParseError as error:
        raise DataError(f"{path}: the annotation is no XML ({error}); replace it.") from None
    except OSError as error:
        raise DataError(f"{path}: the annotation cannot be read ({error.strerror}).") from None
    except (ImageError, ValueError, LookupError) as error:  # unknown encodings are LookupErrors
        raise DataError(f"{path}: the annotation is unusable: {error}; correct it.") from None


def _read_object(node: ElementTree.Element) -> VOCObject:
    """Read one object; raise a ValueError that says what is wrong with it."""
    name = (node.findtext("name") or "").strip()
    if not name:
        raise ValueError("an object has no name")
    texts = [(node.findtext(f"bndbox/{corner}") or "").strip() for corner in _CORNERS]
    try:
        x0, y0, x1, y1 = (float(text) for text in texts)
    except ValueError:
        raise ValueError(f"the box {','.join(texts)[:60]} is not four numbers") from None
    if not (x0 <= x1 < float("inf") and y0 <= y1 < float("inf")) or min(x0, y0) == -float("inf"):
        raise ValueError(f"the box {','.join(texts)[:60]} is inverted")
    difficult = (node.findtext("difficult") or "0").strip()
    if difficult not in ("0", "1"):
        raise ValueError(f"difficult is {difficult[:40]!r}, neither 0 nor 1")
    return VOCObject(name, (x0, y0, x1, y1), difficult == "1")
