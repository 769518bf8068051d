import json

import pytest

from learned_saliency.datamodules import DataError
from learned_saliency.datamodules.readers.boxtables import read_coco, read_table

COCO = {
    "images": [
        {"id": 7, "file_name": "a.jpg", "width": 50, "height": 40},
        {"id": 8, "file_name": "cat/b.jpg", "width": 50, "height": 40},
    ],
    "annotations": [
        {"id": 1, "image_id": 8, "bbox": [1.5, 2, 10, 20.25], "category_id": 3},
        {"id": 2, "image_id": 7, "bbox": [0, 0, 5, 5], "category_id": 3, "iscrowd": 1},
        {"id": 3, "image_id": 7, "bbox": [0, 0, 5, 6]},
    ],
    "categories": [{"id": 3, "name": "cat"}],
}


def written(tmp_path, text):
    path = tmp_path / "boxes.file"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "corners"),
    [
        ("image,xmin,ymin,xmax,ymax,label\na.jpg,1,2,3.5,4,cat\n", (1, 2, 3.5, 4)),
        ("label;YMAX;XMAX;YMIN;XMIN;Image_Path\ncat;4;3.5;2;1;a.jpg\n", (1, 2, 3.5, 4)),
        ("\tfilename\tx0\ty0\tx1\ty1\tclass\n0\ta.jpg\t1\t2\t3\t4\tcat\n", (1, 2, 3, 4)),
        ("file,x1,y1,x2,y2,label\n\na.jpg,1,2,3,4,cat\n\n", (1, 2, 3, 4)),
        ("image,x,y,width,height,label\na.jpg,1,2,3,4,cat\n", (1, 2, 4, 6)),
        (
            "filename,width,height,class,xmin,ymin,xmax,ymax\na.jpg,90,80,cat,1,2,3,4\n",
            (1, 2, 3, 4),
        ),
        (
            '\ufeff"image","left","top","right","bottom","label"\n"a.jpg",1,2,3,4,"cat"',
            (1, 2, 3, 4),
        ),
    ],
)
def test_columns_are_known_by_their_names(tmp_path, text, corners):
    (box,) = read_table(written(tmp_path, text))
    assert (box.image, box.corners, box.label) == ("a.jpg", corners, "cat")


def test_tables_of_something_else_and_images_without_objects_are_passed_over(tmp_path):
    assert read_table(written(tmp_path, "image,label\na.jpg,cat\n")) is None
    assert read_table(written(tmp_path, "")) is None
    text = "image,xmin,ymin,xmax,ymax\na.jpg,,,,\nb.jpg,0,0,0,0\nc.jpg,0,0,1,2\n"
    assert [box.image for box in read_table(written(tmp_path, text))] == ["c.jpg"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a.jpg,5,2,3,4", r"boxes.file, line 3: the box 5,2,3,4 is inverted"),
        ("a.jpg,1,2,x,4", r"boxes.file, line 3: the box 1,2,x,4 is not four numbers"),
        ("a.jpg,1,2,,4", r"boxes.file, line 3: the box 1,2,,4 is not four numbers"),
        ("a.jpg,1,2,nan,4", r"line 3: the box 1,2,nan,4 is not four numbers"),
        (",1,2,3,4", r"line 3: the name of the image is missing"),
    ],
)
def test_faults_of_a_table_are_named_with_their_line(tmp_path, row, message):
    path = written(tmp_path, f"image,xmin,ymin,xmax,ymax\na.jpg,1,2,3,4\n{row}\n")
    with pytest.raises(DataError, match=message):
        read_table(path)


def test_boxes_in_fractions_are_refused(tmp_path):
    text = "ImageID,XMin,XMax,YMin,YMax\na,0.1,0.5,0.2,1\n"
    with pytest.raises(DataError, match=r"boxes.file: its boxes are fractions of the image"):
        read_table(written(tmp_path, text))


def test_coco_boxes_become_corners(tmp_path):
    boxes = read_coco(written(tmp_path, json.dumps(COCO)))
    assert [(box.image, box.corners, box.label) for box in boxes] == [
        ("cat/b.jpg", (1.5, 2, 11.5, 22.25), "cat"),
        ("a.jpg", (0, 0, 5, 6), ""),
    ]


def test_json_of_something_else_is_passed_over(tmp_path):
    for content in ([1, 2], {"images": []}, "text", None):
        assert read_coco(written(tmp_path, json.dumps(content))) is None


def spoilt(key, number, **values):
    content = json.loads(json.dumps(COCO))
    content[key][number].update(values)
    return json.dumps(content)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (json.dumps(COCO)[:-20], r"boxes.file: is no readable JSON"),
        ("[" * 100_000, r"boxes.file: is no readable JSON"),
        (spoilt("images", 1, id=7), r"images\[1\]: id 7 is used twice"),
        (spoilt("images", 1, id=None), r"images\[1\]: has no id or no file_name"),
        (spoilt("annotations", 0, image_id=9), r"annotations\[0\]: image_id 9 is not in images"),
        (spoilt("annotations", 2, bbox=[1, 2, 3]), r"annotations\[2\]: the box 1,2,3 is not four"),
        (spoilt("annotations", 2, bbox="x"), r"annotations\[2\]: the box x is not four numbers"),
        (spoilt("annotations", 2, bbox=[1, 2, -3, 4]), r"\[2\]: the box 1,2,-3,4 has a negative"),
        (json.dumps(COCO | {"annotations": [3]}), r"annotations is no list of records"),
        (json.dumps(COCO | {"images": {"a": 1}}), r"images is no list of records"),
    ],
)
def test_faults_of_coco_files_are_named(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        read_coco(written(tmp_path, text))
