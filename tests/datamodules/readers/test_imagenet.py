"""ILSVRC2012 from miniatures of its archives: layouts, several boxes, ImageNetV2, and faults."""

import os

import pytest

from learned_saliency.attribution import superset_members
from learned_saliency.datamodules import DataError, ImageNetReader, WSOLDataModule
from learned_saliency.datamodules.metadata import read_split
from tests.support import layouts
from tests.support.layouts import SYNSETS

FORMS = ("kaggle", "flat", "sorted")
VAL = "ILSVRC2012_val_{:08}"


def prepared(root, tmp_path, reader=None):
    reader = ImageNetReader(val_per_class=1) if reader is None else reader
    sizes = {"resize_size": 48, "crop_size": 48, "batch_size": 6}
    data = WSOLDataModule(root, tmp_path / "metadata", reader=reader, **sizes)
    data.prepare_data()
    return data


@pytest.mark.parametrize("form", FORMS)
def test_validation_images_become_test_with_all_their_boxes(tmp_path, form):
    """By hand, 48 x 36 pixels: image n has 4,5,n+20,30, image 2 also 10,12,48,36, cut by one."""
    data = prepared(layouts.imagenet(tmp_path, form), tmp_path)
    data.setup()
    assert data.class_names == ["n01440764 tench", "n01443537 goldfish", "n02085620 Chihuahua"]
    test = read_split(tmp_path / "metadata" / "test", localization=True)
    names = [os.path.basename(image_id).partition(".")[0] for image_id in test.image_ids]
    assert names == [VAL.format(n) for n in range(1, 7)]
    assert test.labels.tolist() == [0, 1, 2, 0, 1, 2]
    assert test.sizes.tolist() == [[48, 36]] * 6
    boxes = [[4, 5, n + 20, 30] for n in range(1, 7)]
    assert test.boxes.tolist() == [*boxes[:2], [10, 12, 47, 35], *boxes[2:]]
    assert test.box_images.tolist() == [0, 1, 1, 2, 3, 4, 5]
    (batch,) = data.test_dataloader()
    assert batch["boxes"][1].tolist() == [
        [4, 5 * 48 // 36, 22, 30 * 48 // 36],
        [10, 12 * 48 // 36, 47, 35 * 48 // 36],
    ]


@pytest.mark.parametrize("form", FORMS)
def test_val_is_drawn_among_annotated_training_images(tmp_path, form):
    root = layouts.imagenet(tmp_path, form)
    data = prepared(root, tmp_path)
    data.setup()
    val = read_split(tmp_path / "metadata" / "val", localization=True)
    assert [name[-8:-5] for name in val.image_ids] == ["4_3", "_13", "_23"]
    assert val.boxes.tolist() == [[1, 2, 30, 33]] * 3
    train = read_split(tmp_path / "metadata" / "train", localization=False)
    assert train.labels.tolist() == [0] * 3 + [1] * 3 + [2] * 3
    assert not {*train.image_ids} & {*val.image_ids}


def test_without_annotations_there_are_no_boxes_and_val_is_drawn_by_seed(tmp_path):
    root = layouts.imagenet(tmp_path, "sorted", boxes=False)
    drawn = set()
    for seed in range(4):
        folder = tmp_path / str(seed)
        ImageNetReader(val_per_class=2, seed=seed).prepare(root, folder)
        splits = {s: read_split(folder / s, localization=True) for s in ("train", "val", "test")}
        assert all(split.boxes is None for split in splits.values())
        assert splits["val"].labels.tolist() == splits["train"].labels.tolist()
        assert splits["test"].labels.tolist() == [0, 1, 2, 0, 1, 2]
        drawn.add(tuple(splits["val"].image_ids))
    assert len(drawn) > 1


def test_the_table_of_kaggle_stands_in_for_annotations(tmp_path):
    root = layouts.imagenet(tmp_path, "kaggle", boxes=False)
    prepared(root, tmp_path)
    test = read_split(tmp_path / "metadata" / "test", localization=True)
    assert test.labels.tolist() == [0, 1, 2, 0, 1, 2]
    assert test.boxes.tolist()[:3] == [[4, 5, 21, 30], [4, 5, 22, 30], [10, 12, 47, 35]]


def test_the_root_may_be_the_inner_folder_of_kaggles_archive(tmp_path):
    root = layouts.imagenet(tmp_path) / "ILSVRC"
    data = prepared(root, tmp_path)
    data.setup()
    assert [data.supervision(split)["boxes"] for split in ("val", "test")] == [3, 7]
    assert data.has_split("train")


@pytest.mark.parametrize("release", ["present", "first"])
@pytest.mark.parametrize("place", ["val2", "elsewhere"])
def test_imagenetv2_becomes_val_under_the_names_of_either_release(tmp_path, place, release):
    root = layouts.imagenet(tmp_path, "flat")
    images = root / "val2" if place == "val2" else tmp_path / "imagenetv2-threshold0.7"
    metadata = layouts.imagenetv2(tmp_path / "benchmark", images)
    if release == "first":
        for path in images.glob("*/*.jpeg"):
            path.rename(path.with_name("0.jpeg"))
    reader = ImageNetReader(metadata, None if place == "val2" else images)
    data = prepared(root, tmp_path, reader)
    data.setup()
    assert [data.supervision(s)["images"] for s in ("train", "val", "test")] == [12, 3, 6]
    (batch,) = data.val_dataloader()
    assert batch["label"].tolist() == [0, 1, 2]
    # 3,4,39,29 and 0,0,5,6 of 40 x 30 pixels, scaled to 48
    first = [3 * 48 // 40, 4 * 48 // 30, 39 * 48 // 40, 29 * 48 // 30]
    assert batch["boxes"][1].tolist() == [first, [0, 0, 5 * 48 // 40, 6 * 48 // 30]]


def test_imagenetv2_without_the_benchmarks_boxes_has_labels_alone(tmp_path):
    root = layouts.imagenet(tmp_path, "flat")
    layouts.imagenetv2(tmp_path / "benchmark", tmp_path / "v2")
    data = prepared(root, tmp_path, ImageNetReader(imagenetv2_root=tmp_path / "v2"))
    data.setup()
    assert not data.has_boxes("val")
    assert data.supervision("val")["images"] == 3


def test_class_names_tell_the_supersets_of_wordnet(tmp_path):
    data = prepared(layouts.imagenet(tmp_path), tmp_path)
    data.setup()
    members = superset_members("wordnet", 3, data.class_names)
    assert members.tolist() == [[True, True, False], [True, True, False], [False, False, True]]


def test_counts_and_parts_of_the_download(tmp_path):
    for form in FORMS:
        root = layouts.imagenet(tmp_path / form, form)
        needed = [source for source in ImageNetReader().sources if source.required]
        assert all(source.find(root) is not None for source in needed)
    drawn, v2 = ImageNetReader().published, ImageNetReader(tmp_path).published
    assert [drawn[s].images for s in ("train", "val", "test")] == [1_271_167, 10_000, 50_000]
    assert [v2[s].images for s in ("train", "val", "test")] == [1_281_167, 10_000, 50_000]


def test_a_second_use_reads_nothing(tmp_path):
    root = layouts.imagenet(tmp_path)
    prepared(root, tmp_path)
    (root / "ILSVRC/Data/CLS-LOC/val" / f"{VAL.format(1)}.JPEG").unlink()
    prepared(root, tmp_path)


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        (
            "val/{}.JPEG",
            None,
            None,
            r"val_00000002.JPEG: this image is missing, though .*2.xml lists",
        ),
        ("val/{}.xml", None, None, r"val_00000002.xml: this annotation is missing"),
        (
            "val/{}.xml",
            "n01443537",
            "n02123045",
            r"2.xml: the class n02123045 of .* has no training",
        ),
        (
            "val/{}.xml",
            "<xmin>10<",
            "<xmin>50<",
            r"00000002.xml: .* the box 50,12,48,36 is inverted",
        ),
        (
            "val/{}.xml",
            "<ymin>12<",
            "<ymin>36<",
            r"2.xml: the box 10,36,48,36 lies outside of .*48x36",
        ),
        ("val/{}.xml", "<object>", "<item>", r"00000002.xml: the annotation is no XML"),
        ("val/{}.JPEG", "\xff", "", r"val_00000002.JPEG: the image cannot be read"),
        (
            "train/n01440764/n01440764_3.xml",
            "n01440764",
            "n01443537",
            r"has no object of the class n014",
        ),
        ("train/n01440764/n01440764_3.xml", None, None, r"class 0 has 0 annotated training images"),
    ],
)
def test_faults_are_named_by_file(tmp_path, file, old, new, message):
    root = layouts.imagenet(tmp_path, "flat")
    path = root / file.format(VAL.format(2))
    text = path.read_text("latin-1")
    path.unlink()
    if old is not None:
        path.write_text(text.replace(old, new), "latin-1")
    with pytest.raises(DataError, match=message) as caught:
        prepared(root, tmp_path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "metadata").exists()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("val_00000003,n02085620", "val_00000003,n01440764", r"3 is of class n01440764 here, but"),
        ("val_00000003", "val_00000002", r"line 4: ILSVRC2012_val_00000002 is listed twice"),
        ("4 5 23 30", "4 5 23", r"line 4: 'n02085620 4 5 23' is not `class x0 y0 x1 y1`"),
        ("4 5 23 30", "4 5 3 30", r"line 4: 'n02085620 4 5 3 30' is not `class x0 y0 x1 y1`"),
    ],
)
def test_faults_of_kaggles_table_are_named(tmp_path, old, new, message):
    root = layouts.imagenet(tmp_path)
    path = root / "LOC_val_solution.csv"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(DataError, match=message):
        prepared(root, tmp_path)


def test_layouts_that_are_not_unpacked_are_named(tmp_path):
    with pytest.raises(DataError, match=r"not the unpacked ILSVRC2012 \(no folders train and val"):
        ImageNetReader().prepare(tmp_path, tmp_path / "metadata")
    root = layouts.imagenet(tmp_path, "flat", boxes=False)
    with pytest.raises(DataError, match=r"1.JPEG: nothing tells the class of this image; unpack"):
        ImageNetReader().prepare(root, tmp_path / "metadata")
    for path in (root / "train" / "n01440764").iterdir():
        path.unlink()
    with pytest.raises(DataError, match=r"n01440764: holds no images; unpack n01440764.tar there"):
        ImageNetReader().prepare(root, tmp_path / "metadata")
    (root / "train").rename(root / "images")
    (root / "train").mkdir()
    with pytest.raises(DataError, match=r"train: holds no folders like n01440764"):
        ImageNetReader().prepare(root, tmp_path / "metadata")


def test_an_image_in_two_places_is_named(tmp_path):
    root = layouts.imagenet(tmp_path, "sorted")
    first, second, _ = (root / "val" / synset / f"{VAL.format(1)}.JPEG" for synset in SYNSETS)
    second.write_bytes(first.read_bytes())
    with pytest.raises(DataError, match=r"00000001.JPEG: .*00000001.JPEG is the same image"):
        ImageNetReader().prepare(root, tmp_path / "metadata")


def test_imagenetv2_that_is_not_there_is_named(tmp_path):
    root = layouts.imagenet(tmp_path, "flat")
    metadata = layouts.imagenetv2(tmp_path / "benchmark", tmp_path / "v2")
    with pytest.raises(DataError, match=r"val2: the folder of ImageNetV2's images is missing"):
        ImageNetReader(metadata).prepare(root, tmp_path / "metadata")
    with pytest.raises(DataError, match=r"n0: not the benchmark's folder metadata/ILSVRC/val"):
        ImageNetReader(tmp_path / "n0", tmp_path / "v2").prepare(root, tmp_path / "metadata")
    for path in (tmp_path / "v2").rglob("*.jpeg"):
        path.unlink()
    with pytest.raises(DataError, match=r"v2/0/.*jpeg: this image of ImageNetV2 is missing"):
        ImageNetReader(metadata, tmp_path / "v2").prepare(root, tmp_path / "metadata")
    with pytest.raises(DataError, match=r"v2: holds no images in folders 0, 1"):
        ImageNetReader(imagenetv2_root=tmp_path / "v2").prepare(root, tmp_path / "metadata")
