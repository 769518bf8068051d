import io
import json
import pickle

import pytest
import torch

from learned_saliency.datamodules import DataError, ImageError, ParquetReader, WSOLDataModule
from learned_saliency.datamodules.metadata import read_split
from tests.support.photos import photo

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")


def encoded(number):
    file = io.BytesIO()
    photo(number).save(file, "PNG")
    return file.getvalue()


def table(numbers, labels, names=("cat", "dog"), objects=None, **columns):
    """Rows as Hugging Face's library writes them, with its notes in the schema."""
    cells = [{"bytes": encoded(number), "path": f"{number}.png"} for number in numbers]
    columns = {"image": cells, "label": labels, **columns}
    features = {"image": {"_type": "Image"}}
    features["label"] = {"names": list(names), "_type": "ClassLabel"} if names else {"dtype": "int"}
    if objects is not None:
        columns["objects"] = objects
        category = {"names": ["dog", "cat"], "_type": "ClassLabel"}
        features["objects"] = {"feature": {"bbox": {}, "category": category}, "_type": "Sequence"}
    noted = json.dumps({"info": {"features": features}})
    return pa.table(columns).replace_schema_metadata({"huggingface": noted})


def write(root, name, content, rows=3):
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(content, root / name, row_group_size=rows)


@pytest.fixture
def root(tmp_path):
    """Two files of training images and one of test images, three rows in a group."""
    root = tmp_path / "set"
    write(root, "data/train-00000-of-00002.parquet", table(range(10), [0, 1] * 5))
    write(root, "data/train-00001-of-00002.parquet", table(range(10, 20), [1, 0] * 5))
    write(root, "data/test-00000-of-00001.parquet", table(range(20, 24), [0, 0, 1, 1]))
    return root


def prepared(root, **options):
    folder = root.parent / "metadata"
    ParquetReader(**options).prepare(root, folder)
    there = [split for split in ("train", "val", "test") if (folder / split).is_dir()]
    return {split: read_split(folder / split, localization=split != "train") for split in there}


def number_of(image_id):
    """Number of the picture in a row of ``root``."""
    file, row = image_id.rsplit("/", 1)
    return int(row) + (20 if "test" in file else 10 * int(file.split("-")[1]))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_data_set_in_parquet_form_is_read(root, workers):
    data = WSOLDataModule(
        root,
        root.parent / "metadata",
        reader=ParquetReader(val_fraction=0.2),
        resize_size=48,
        crop_size=36,
        batch_size=4,
        num_workers=workers,
    )
    data.prepare_data()
    data.setup()
    assert data.class_names == ["cat", "dog"]
    counts = {split: data.supervision(split)["images"] for split in ("train", "val", "test")}
    assert counts == {"train": 16, "val": 4, "test": 4}
    (batch,) = data.test_dataloader()
    assert batch["label"].tolist() == [0, 0, 1, 1]
    assert batch["image_id"][1] == "data/test-00000-of-00001.parquet/1"
    assert len(list(data.train_dataloader())) == 4


def test_every_row_is_read_in_any_order_by_threads_and_after_a_pickle(root):
    reader = ParquetReader().at(root)
    names = [f"data/train-0000{f}-of-00002.parquet/{i}" for f in (0, 1) for i in range(10)]
    order = torch.randperm(20, generator=torch.Generator().manual_seed(0)).tolist()
    for opened in (reader, pickle.loads(pickle.dumps(reader))):
        for place in order:
            assert opened.open(names[place]) == encoded(number_of(names[place]))
    for missing in ("10", "-1", "x"):
        with pytest.raises(ImageError):
            reader.open(f"data/train-00000-of-00002.parquet/{missing}")


def test_memory_is_bounded_by_row_groups(root):
    reader = ParquetReader().at(root)
    for row in range(10):
        reader.open(f"data/train-00000-of-00002.parquet/{row}")
    (file,) = reader._files.values()
    assert len(file._groups) == 2


@pytest.mark.parametrize("grouped", [True, False])
def test_boxes_of_the_own_class_are_read(root, grouped):
    rows = [[([1.9, 2.2, 18.8, 27.9], 1), ([0.0, 0.0, 5.0, 5.0], 0)]] * 2
    rows += [[([1.9, 2.2, 18.8, 27.9], 0)]] * 2
    if grouped:
        objects = [{"bbox": [b for b, _ in r], "category": [c for _, c in r]} for r in rows]
    else:
        objects = [[{"bbox": b, "category": c} for b, c in r] for r in rows]
    write(root, "validation/0000.parquet", table(range(30, 34), [0, 0, 1, 1], objects=objects))
    splits = prepared(root)
    assert splits["val"].boxes.tolist() == [[1, 2, 20, 30]] * 4
    assert splits["test"].boxes is None


def test_splits_without_labels_are_left_out(root):
    write(root, "data/test-00000-of-00001.parquet", table(range(20, 24), [-1] * 4))
    splits = prepared(root, val_fraction=0.2, test_fraction=0.2)
    assert [len(found) for found in splits.values()] == [12, 4, 4]
    assert all("train" in name for name in splits["test"].image_ids)


def test_labels_may_be_names(tmp_path):
    names = ["sparrow", "crow"] * 5
    write(tmp_path / "set", "train.parquet", table(range(10), names, None))
    splits = prepared(tmp_path / "set")
    assert (tmp_path / "metadata/class_names.txt").read_text() == "0,crow\n1,sparrow\n"
    name = splits["train"].image_ids[0]
    assert splits["train"].labels[0] == 1 - int(name.rsplit("/", 1)[1]) % 2


def test_a_label_far_beyond_all_others_is_refused(tmp_path):
    write(tmp_path / "set", "train-1.parquet", table([1, 2], [0, 10**15], names=None))
    with pytest.raises(DataError, match=r"row 1: the label 10+ is none of the 100000 classes"):
        prepared(tmp_path / "set")


def test_metadata_is_written_once_for_each_state_of_the_files(root):
    prepared(root)
    stamp = root.parent / "metadata/parquet_reader.json"
    written = stamp.stat().st_mtime_ns
    prepared(root)
    assert stamp.stat().st_mtime_ns == written
    write(root, "data/train-00001-of-00002.parquet", table(range(10, 18), [1, 0] * 4))
    assert sum(map(len, prepared(root).values())) == 22


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "train-1.parquet",
            lambda: table([1], [2]),
            r"train-1.parquet, row 0: the label 2 is none",
        ),
        ("train-1.parquet", lambda: table([1], [None]), r"train-1.parquet, row 0: the label None"),
        ("train-1.parquet", lambda: table([1], [0], ("a", "b")), r"state different names of cl"),
        ("odd.parquet", lambda: table([1], [0]), r"odd.parquet: neither its name nor its folder"),
        (
            "train-1.parquet",
            lambda: table([1], [0]).drop_columns(["label"]),
            r"train-1.parquet: has no column label, but image; choose by data.reader.label=COLUMN",
        ),
        (
            "train-1.parquet",
            lambda: pa.table({"image": [{"path": "a.png"}], "label": [0]}),
            r"train-1.parquet, row 0: holds no bytes of an image",
        ),
        (
            "train-1.parquet",
            lambda: pa.table({"image": [b"no image"], "label": [0]}),
            r"train-1.parquet/0: the image cannot be read",
        ),
        (
            "val-1.parquet",
            lambda: table([1], [0], objects=[{"bbox": [[1.0, 2.0, 3.0]], "category": [0]}]),
            r"val-1.parquet, row 0: the box \[1.0, 2.0, 3.0\] is not four numbers",
        ),
        (
            "val-1.parquet",
            lambda: table([1], [0], objects=[{"bbox": [[1.0, 2.0, -3.0, 4.0]], "category": [1]}]),
            r"val-1.parquet, row 0: the box 1,2,-3,4 has a negative side",
        ),
    ],
)
def test_faults_are_named_by_file_and_row(root, name, content, message):
    write(root, name, content())
    with pytest.raises(DataError, match=message):
        prepared(root)
    assert not (root.parent / "metadata").exists()


def test_damaged_files_are_named(root):
    path = root / "data/train-00001-of-00002.parquet"
    whole = path.read_bytes()
    for content in (whole[:-100], b"PAR1", b""):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"00001-of-00002.parquet: is no readable parquet file"):
            prepared(root)
    path.write_bytes(whole[:200] + bytes(300) + whole[500:])
    with pytest.raises(DataError, match=r"00001-of-00002.parquet"):
        prepared(root)
    for empty in (root.parent / "none", root.parent / "nothing"):
        (root.parent / "nothing").mkdir(exist_ok=True)
        with pytest.raises(DataError, match=r"none: the folder|nothing: holds no parquet files"):
            ParquetReader().prepare(empty, root.parent / "metadata")
