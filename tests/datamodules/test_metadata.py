import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from learned_saliency.datamodules import DataError, textfile
from learned_saliency.datamodules.checks import check_files, read_sizes
from learned_saliency.datamodules.class_files import read_class_names
from learned_saliency.datamodules.classes import check_labels, check_use, find_classes
from learned_saliency.datamodules.metadata import SplitMetadata, read_split
from learned_saliency.datamodules.selection import draw_sample


def _write(folder, **files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.txt").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def boxes(tmp_path):
    """Two images and three boxes, the files in different orders."""
    return _write(
        tmp_path / "val",
        image_ids="b.png\na,1.png\n",
        class_labels="a,1.png,4\nb.png,2\n",
        image_sizes="b.png,10,20\na,1.png,30,40\n",
        localization="a,1.png,0,1,29,39\nb.png,3,4,3,4\na,1.png,5,6,30,40\n",
    )


@pytest.fixture
def masks(tmp_path):
    return _write(
        tmp_path / "val",
        image_ids="a.png\nb.png\n",
        class_labels="a.png,0\nb.png,1\n",
        localization="b.png,m/b.png,\na.png,m/a0.png,m/ignore.png\na.png,m/a1.png,\n",
    )


def test_boxes_labels_and_sizes_follow_the_order_of_the_ids(boxes):
    split = read_split(boxes, localization=True)
    assert split.image_ids == ["b.png", "a,1.png"]
    assert split.labels.tolist() == [2, 4]
    assert split.sizes.tolist() == [[10, 20], [30, 40]]
    assert split.boxes.tolist() == [[0, 1, 29, 39], [3, 4, 3, 4], [5, 6, 30, 40]]
    assert split.box_images.tolist() == [1, 0, 1]
    assert split.mask_paths is None
    assert len(split) == 2


def test_masks_are_grouped_by_image(masks):
    split = read_split(masks, localization=True)
    assert split.mask_paths == [["m/a0.png", "m/a1.png"], ["m/b.png"]]
    assert split.ignore_paths == [["m/ignore.png"], []]
    assert split.boxes is None
    assert split.sizes is None


def test_a_split_with_boxes_takes_masks_from_a_file_of_their_own(boxes):
    _write(boxes, masks="b.png,b_mask.png,\na,1.png,a_mask.png,\n")
    split = read_split(boxes, localization=True)
    assert split.mask_paths == [["b_mask.png"], ["a_mask.png"]]
    assert len(split.boxes) == 3


def test_training_split_never_reads_localization(boxes):
    _write(boxes, localization="nonsense", image_sizes="nonsense")
    split = read_split(boxes, localization=False)
    assert split.boxes is None
    assert split.labels.tolist() == [2, 4]


def test_windows_line_ends_blank_lines_and_byte_order_mark_are_harmless(boxes):
    (boxes / "class_labels.txt").write_bytes(b"\xef\xbb\xbfa,1.png,4\r\n\r\n b.png, 2 \r\n\r\n")
    assert read_split(boxes, localization=False).labels.tolist() == [2, 4]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("image_ids", "", r"image_ids.txt: the split is empty"),
        ("image_ids", "b.png\na,1.png\nb.png", r"image_ids.txt, line 3: b.png is listed twice"),
        (
            "image_ids",
            "b.png\nc.png",
            r"class_labels.txt, line 1: 'a,1.png' is not in image_ids.txt",
        ),
        ("class_labels", "b.png,2", r"image_ids.txt, line 2: a,1.png has no line in class_labels"),
        (
            "class_labels",
            "b.png\na,1.png,4",
            r"class_labels.txt, line 1: 1 field\(s\) instead of 2",
        ),
        (
            "class_labels",
            "\nb.png,x\na,1.png,4",
            r"line 2: 'x' is not an integer; write `id,label`",
        ),
        ("class_labels", "b.png,2\na,1.png,4\nb.png,2", r"line 3: b.png is listed twice"),
        ("image_sizes", "b.png,10\na,1.png,3,4", r"image_sizes.txt, line 1: 2 field\(s\) instead"),
        ("localization", "b.png,1,2,3", r"localization.txt, line 1: 4 field\(s\) instead of 5"),
        ("localization", "b.png,1,2", r"localization.txt, line 1: 3 field\(s\) instead of 5"),
        ("localization", "b.png,1,2,3.5,4", r"localization.txt, line 1: '3.5' is not an integer"),
        ("localization", "b.png,1,2,x,4", r"localization.txt, line 1: 'x' is not an integer"),
        ("localization", "b.png,1,2,3,4", r"image_ids.txt, line 2: a,1.png has no line in local"),
        ("localization", "", r"image_ids.txt, line 1: b.png has no line in localization"),
    ],
)
def test_malformed_lines_are_named(boxes, name, text, message):
    _write(boxes, **{name: text})
    with pytest.raises(DataError, match=message):
        read_split(boxes, localization=True)


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ("5,6,4,8", "box 5,6,4,8 is inverted"),
        ("5,9,6,8", "is inverted"),
        ("-1,2,3,4", "lies outside the image of 10x20 pixels"),
        ("1,2,11,4", "lies outside"),
        ("1,2,3,21", "lies outside"),
        ("10,2,10,4", "lies outside"),
    ],
)
def test_boxes_outside_the_image_are_named(boxes, box, message):
    _write(boxes, localization=f"a,1.png,1,2,3,4\n\nb.png,{box}\n")
    with pytest.raises(DataError, match=rf"localization.txt, line 3: .*{message}"):
        read_split(boxes, localization=True)


@pytest.mark.parametrize("name", ["image_ids", "class_labels", "image_sizes", "localization"])
def test_missing_and_unreadable_files_are_named(boxes, name):
    (boxes / f"{name}.txt").unlink()
    with pytest.raises(DataError, match=rf"{name}.txt: this metadata file is missing"):
        read_split(boxes, localization=True)
    (boxes / f"{name}.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=rf"{name}.txt: not a readable UTF-8 text file"):
        read_split(boxes, localization=True)


def test_a_split_without_any_localization_has_labels_alone(boxes):
    for name in ("image_sizes", "localization"):
        (boxes / f"{name}.txt").unlink()
    split = read_split(boxes, localization=True)
    assert len(split) > 0
    assert split.boxes is None
    assert split.mask_paths is None


def test_missing_folder_and_ambiguous_masks_are_named(masks, tmp_path):
    with pytest.raises(DataError, match="absent: this folder of metadata is missing"):
        read_split(tmp_path / "absent", localization=True)
    _write(masks, masks="a.png,m.png,\nb.png,m.png,\n")
    with pytest.raises(DataError, match=r"masks.txt: localization.txt lists masks already"):
        read_split(masks, localization=True)
    (masks / "masks.txt").unlink()
    _write(masks, localization="a.png,m.png,\nb.png,,\n")
    with pytest.raises(DataError, match="line 2: the mask's path is empty"):
        read_split(masks, localization=True)


def test_labels_out_of_range_are_named(boxes):
    split = read_split(boxes, localization=False)
    check_labels(split, 5)
    with pytest.raises(DataError, match=r"class_labels.txt, line 1: label 4 is out of range 0..3"):
        check_labels(split, 4)
    _write(boxes, class_labels="a,1.png,4\nb.png,-2\n")
    with pytest.raises(DataError, match=r"class_labels.txt, line 2: label -2 is out of range 0..4"):
        check_labels(read_split(boxes, localization=False), 5)


def test_classes_come_from_arguments_names_or_training_labels(boxes):
    folder, splits = boxes.parent, {"val": read_split(boxes, localization=True)}
    assert find_classes(folder, splits) == (5, ["0", "1", "2", "3", "4"])
    _write(folder / "train", image_ids="x\ny\nz", class_labels="x,1\ny,0\nz,2")
    assert find_classes(folder, splits)[0] == 3
    _write(folder, class_names="1,cat, black\n0,dog\n")
    assert find_classes(folder, splits) == (2, ["dog", "cat, black"])
    assert find_classes(folder, splits, class_names=["a", "b", "c"]) == (3, ["a", "b", "c"])
    with pytest.raises(DataError, match="2 class names but 5 classes"):
        find_classes(folder, splits, num_classes=5)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ((0, 1, 999999, 2), "line 3: label 999999, but no training image has label 3; correct it"),
        ((0, 5, 1, 2), "line 2: label 5, but no training image has label 3"),
        ((1, 2, 3), "line 1: label 1, but no training image has label 0; labels count from 0"),
        ((0, 1, 10**20), "line 3: '100000000000000000000' does not fit into 64 bits"),
        ((0, 1, -(10**20)), "line 3: '-100000000000000000000' does not fit into 64 bits"),
        ((0, 1, "9" * 5000), "line 3: '9+...' does not fit into 64 bits"),
        ((0, 1, "1_0"), "line 3: '1_0' is not an integer"),
        ((0, 1, "\u0662"), "line 3: '\u0662' is not an integer"),
    ],
)
def test_mistyped_training_labels_are_named(tmp_path, labels, message):
    lines = [f"{i}.png,{label}\n" for i, label in enumerate(labels)]
    ids = "".join(f"{i}.png\n" for i in range(len(labels)))
    _write(tmp_path / "train", image_ids=ids, class_labels="".join(lines))
    with pytest.raises(DataError, match=f"train/class_labels.txt, {message}"):
        find_classes(tmp_path, {})


def test_a_gap_is_no_mistake_where_the_classes_are_known(tmp_path):
    _write(tmp_path / "train", image_ids="a\nb", class_labels="a,0\nb,2")
    assert find_classes(tmp_path, {}, num_classes=4)[0] == 4
    with pytest.raises(DataError, match="1000000000 classes are more than the 1000000 that"):
        find_classes(tmp_path, {}, num_classes=10**9)
    _write(tmp_path, class_names="0,a\n1,b\n2,c\n")
    assert find_classes(tmp_path, {})[0] == 3


def test_a_label_beyond_all_classes_is_named_without_a_training_split_too(boxes):
    _write(boxes, class_labels="a,1.png,4\nb.png,99999999\n")
    splits = {"val": read_split(boxes, localization=True)}
    with pytest.raises(DataError, match="line 2: label 99999999 is beyond the 100000 classes"):
        find_classes(boxes.parent, splits)


def test_classes_without_images_and_names_that_occur_twice_are_told(tmp_path, recwarn):
    _write(tmp_path / "train", image_ids="a\nb", class_labels="a,0\nb,2")
    train = read_split(tmp_path / "train", localization=False)
    check_use(train, ["cat", "dog", "emu"], [0, 2])
    assert not recwarn
    with pytest.warns(
        UserWarning, match=r"class_labels.txt: there is no image of class 1 \(dog\)\."
    ):
        check_use(train, ["cat", "dog", "emu"], None)
    with pytest.warns(UserWarning, match="of class 1, nor of 1 other classes"):
        check_use(train, ["0", "1", "2", "3"], None)
    with pytest.warns(UserWarning, match="'crane' is the name of the classes 0, 2; they are told"):
        check_use(train, ["crane", "dog", "crane"], [0, 2])


def test_blanks_around_fields_are_harmless(boxes):
    _write(
        boxes,
        class_labels="a,1.png , 4\nb.png ,\t2\n",
        image_sizes="b.png , 10 , 20\na,1.png, 30 ,40 \n",
    )
    split = read_split(boxes, localization=True)
    assert split.labels.tolist() == [2, 4]
    assert split.sizes.tolist() == [[10, 20], [30, 40]]


@pytest.mark.parametrize("name", ["image_ids", "class_labels", "localization", "masks"])
def test_zero_bytes_pipes_and_endless_text_files_are_named(boxes, name, monkeypatch):
    path = boxes / f"{name}.txt"
    path.write_bytes(b"b.png,1,2,3,4\na,1.p\0ng,1,2,3,4\n")
    with pytest.raises(DataError, match=rf"{name}.txt, line 2: holds a zero byte; remove it"):
        read_split(boxes, localization=True)
    monkeypatch.setattr(textfile, "MAX_TEXT_BYTES", 1000)
    path.write_bytes(b" " * 2000)
    with pytest.raises(DataError, match=rf"{name}.txt: holds .* GB, more than"):
        read_split(boxes, localization=True)
    for make, kind in ((os.mkfifo, "a pipe"), (os.mkdir, "a folder")):
        path.rmdir() if path.is_dir() else path.unlink()
        make(path)
        with pytest.raises(DataError, match=rf"{name}.txt: no regular file, but {kind}"):
            read_split(boxes, localization=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0,a\nb", "line 2: 1 field"),
        ("0,a\nx,b", "line 2: 'x' is no label"),
        ("0,a\n0,b", "line 2: label 0 is named twice"),
        ("1,a\n2,b", "line 2: the labels must be 0, 1, 2, ... without a gap"),
        ("0,a\n-1,b", "line 2: the labels must be"),
        ("0,a\n" + "9" * 5000 + ",b", "line 2: '9+' is no label"),
        ("0,a\n1, ", "line 2: the name is empty"),
        ("", "is empty"),
    ],
)
def test_malformed_class_names_are_named(tmp_path, text, message):
    _write(tmp_path, class_names=text)
    with pytest.raises(DataError, match=message):
        read_class_names(tmp_path / "class_names.txt")


def _save(path, width, height):
    path.parent.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    Image.fromarray(generator.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(path)


def test_files_that_are_missing_broken_or_of_another_size_are_named(boxes, tmp_path):
    split, root = read_split(boxes, localization=True), tmp_path / "images"
    _save(root / "a,1.png", 30, 40)
    with pytest.raises(DataError, match=r"image_ids.txt, line 1: the image .*b.png does not exist"):
        check_files(split, root, root)
    _save(root / "b.png", 11, 20)
    with pytest.raises(DataError, match=r"image_sizes.txt, line 1: b.png is 11x20 .*not 10x20"):
        check_files(split, root, root)
    check_files(split, root, root, open_files=False)
    _save(root / "b.png", 10, 20)
    check_files(split, root, root)
    (root / "a,1.png").write_text("no image")
    with pytest.raises(DataError, match=r"image_ids.txt, line 2: .*a,1.png does not decode"):
        check_files(split, root, root)


def test_missing_and_broken_masks_are_named(masks, tmp_path):
    split, root = read_split(masks, localization=True), tmp_path / "images"
    for name in ("a.png", "b.png", "m/a0.png", "m/b.png", "m/ignore.png"):
        _save(root / name, 5, 5)
    with pytest.raises(DataError, match=r"localization.txt, line 3: the mask .*a1.png does not ex"):
        check_files(split, root, root)
    _save(root / "m/a1.png", 5, 5)
    check_files(split, root, root)
    (root / "m/ignore.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"localization.txt, line 2: .*ignore.png does not decode"):
        check_files(split, root, root)


@pytest.mark.parametrize("kind", ["jpg", "png"])
def test_interrupted_downloads_are_found(tmp_path, kind):
    whole, cut = tmp_path / f"whole.{kind}", tmp_path / f"cut.{kind}"
    _save(whole, 60, 40)
    data = whole.read_bytes()
    cut.write_bytes(data[: int(len(data) * 0.7)])
    sizes, broken = read_sizes([whole, cut])
    assert sizes.tolist()[0] == [60, 40]
    assert list(broken) == [1]
    # bytes after the end, which some cameras write, are no error
    whole.write_bytes(data + b"x" * 1000)
    assert read_sizes([whole])[1] == {}


def test_a_sample_has_equal_shares_of_all_classes_and_grows_with_its_size():
    labels = np.array([0] * 50 + [1] * 30 + [2] * 2)
    ids = [f"{i}.png" for i in range(82)]
    boxes = np.arange(82)[:, None] + np.array([[0, 0, 1, 1]])
    split = SplitMetadata(
        Path("test"), ids, labels, np.full((82, 2), 99), boxes, np.arange(82), None, None
    )
    few, more = draw_sample(split, 6, seed=0), draw_sample(split, 12, seed=0)
    assert np.bincount(few.labels).tolist() == [2, 2, 2]
    assert np.bincount(more.labels).tolist() == [5, 5, 2]  # class 2 has no more
    assert set(few.image_ids) < set(more.image_ids)
    assert few.image_ids == sorted(few.image_ids, key=ids.index)
    for place, box in zip(few.box_images, few.boxes, strict=True):
        assert few.image_ids[place] == f"{box[0]}.png"
    assert draw_sample(split, 6, seed=1).image_ids != few.image_ids
    assert draw_sample(split, 82, seed=0) is split
