"""Annotations in Pascal VOC's XML: what is read, and what is refused in one sentence."""

import pytest

from learned_saliency.datamodules import DataError
from learned_saliency.datamodules.readers.voc import read_voc
from tests.support.layouts import ANNOTATION, OBJECT

ABOUT = {"folder": "val", "name": "a", "width": 48, "height": 36}


@pytest.fixture
def read(tmp_path):
    def write_and_read(text):
        path = tmp_path / "a.xml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_voc(path)

    return write_and_read


def annotation(*boxes, **values):
    objects = "".join(OBJECT.format(*box, synset="n01440764", **values) for box in boxes)
    return ANNOTATION.format(objects=objects, **ABOUT)


def test_all_objects_are_read_in_order_with_fractions(read):
    assert read(annotation((1, 2, 3, 4), (0.5, 0, 48, 36))) == [
        ("n01440764", (1, 2, 3, 4)),
        ("n01440764", (0.5, 0, 48, 36)),
    ]
    assert read(annotation()) == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "a.xml: the annotation is unusable: the file is empty"),
        ("<annotation>", "a.xml: the annotation is no XML .*no element found"),
        ("no XML", "a.xml: the annotation is no XML"),
        (b"<?xml version='1.0' encoding='x'?><a/>", "a.xml: the annotation is"),
        (b"\xff\xfe\x00", "a.xml: the annotation is no XML"),
        (annotation((3, 2, 1, 4)), r"the box 3,2,1,4 is inverted; correct it"),
        (annotation(("nan", 2, 1, 4)), r"the box nan,2,1,4 is inverted"),
        (annotation((1, 2, "inf", 4)), r"the box 1,2,inf,4 is inverted"),
        (annotation(("one", 2, 3, 4)), r"the box one,2,3,4 is not four numbers"),
        (annotation((1, 2, 3, 4)).replace("xmax", "x"), r"the box 1,2,,4 is not four numbers"),
        (annotation((1, 2, 3, 4)).replace("n01440764", " "), "an object has no name"),
        ("<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>", "declares the document type 'a'"),
        ("<!DOCTYPE a SYSTEM 'file:///etc/passwd'><a/>", "declares the document type 'a'"),
        ("<!DOCTYPE a [<!ENTITY b 'c'>]><a/>".encode("utf-16"), "declares the document type 'a'"),
    ],
)
def test_faults_are_named_in_one_sentence(read, text, told):
    with pytest.raises(DataError, match=told) as caught:
        read(text)
    assert "\n" not in str(caught.value)


def test_missing_files_and_folders_are_named(tmp_path):
    with pytest.raises(DataError, match=r"b.xml: this annotation is missing; restore it"):
        read_voc(tmp_path / "b.xml")
    with pytest.raises(DataError, match=r"the annotation is unusable: no regular file, but a fold"):
        read_voc(tmp_path)
