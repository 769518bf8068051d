import numpy as np
import pytest
import torch
from PIL import Image

from learned_saliency.datamodules import (
    DataError,
    WSOLDataModule,
    evaluation_dataset,
    read_multilabel_split,
)


@pytest.fixture
def pictures(tmp_path):
    """Six images of three classes: two with two classes, one with none."""
    generator = np.random.default_rng(0)
    labels = {"a.png": [0, 2], "b.png": [], "c.png": [1], "d.png": [1, 2], "e.png": [0]}
    for split in ("train", "val"):
        folder = tmp_path / "metadata" / split
        folder.mkdir(parents=True)
        (tmp_path / split).mkdir()
        ids = {f"{split}/{name}": found for name, found in labels.items()}
        for name in ids:
            Image.fromarray(generator.integers(0, 256, (10, 12, 3), np.uint8)).save(tmp_path / name)
        _write(folder / "image_ids.txt", ids)
        _write(folder / "class_labels.txt", (f"{i},{c}" for i, found in ids.items() for c in found))
    folder = tmp_path / "metadata" / "val"
    _write(folder / "image_sizes.txt", (f"val/{name},12,10" for name in labels))
    boxes = ["a.png,0,0,5,5,2", "a.png,6,6,11,9,0", "a.png,0,5,5,9,0", "c.png,1,1,4,4,1"]
    _write(folder / "localization.txt", (f"val/{line}" for line in boxes))
    return tmp_path


def _write(path, lines):
    path.write_text("\n".join(lines) + "\n")


def _data(folder, **options):
    options = {"task": "multilabel", "resize_size": 10, "crop_size": 8, "batch_size": 5} | options
    data = WSOLDataModule(folder, folder / "metadata", **options)
    data.setup("fit")
    return data


def test_a_sample_is_an_image_with_one_of_its_classes(pictures):
    split = read_multilabel_split(pictures / "metadata" / "val", localization=True)
    assert split.image_ids == [
        "val/a#0.png",
        "val/a#2.png",
        "val/b.png",
        "val/c#1.png",
        "val/d#1.png",
        "val/d#2.png",
        "val/e#0.png",
    ]
    assert split.labels.tolist() == [0, 2, -1, 1, 1, 2, 0]
    assert split.files == [f"val/{c}.png" for c in "aabcdde"]
    boxes = [split.boxes[split.box_images == k].tolist() for k in range(7)]
    assert boxes[:2] == [[[6, 6, 11, 9], [0, 5, 5, 9]], [[0, 0, 5, 5]]]
    assert boxes[2:] == [[], [[1, 1, 4, 4]], [], [], []]
    assert split.presence.astype(int).tolist()[:3] == [[1, 0, 1], [1, 0, 1], [0, 0, 0]]


def test_batches_count_each_image_once_and_have_boxes_of_their_class(pictures):
    (batch, rest) = _data(pictures).val_dataloader()
    assert batch["labels"].int().tolist()[3] == [0, 1, 0]
    first = torch.cat([batch["first"], rest["first"]])
    assert first.tolist() == [True, False, True, True, True, False, True]
    assert [len(boxes) for boxes in batch["boxes"]] == [2, 1, 0, 1, 0]
    torch.testing.assert_close(batch["image"][0], batch["image"][1], rtol=0, atol=0)


def test_training_draws_one_of_the_classes_anew_in_each_epoch(pictures):
    for augment in (True, False):
        loader = _data(pictures, augment=augment).train_dataloader()
        drawn = {f"train/{c}.png": set() for c in "abcde"}
        for epoch in range(12):
            loader.sampler.set_epoch(epoch)
            for batch in loader:
                for name, label, present in zip(
                    batch["image_id"], batch["label"].tolist(), batch["labels"], strict=True
                ):
                    drawn[name].add(label)
                    assert label == -1 or present[label]
        assert list(drawn.values()) == [{0, 2}, {-1}, {1}, {1, 2}, {0}]


def test_masks_of_a_class_that_nobody_outlined_are_ignored(pictures):
    folder = pictures / "metadata" / "val"
    mask = np.zeros((10, 12), np.uint8)
    mask[2:6, 3:9] = 1
    Image.fromarray(mask).save(pictures / "mask.png")
    _write(folder / "masks.txt", ["val/a.png,mask.png,,2", "val/d.png,,mask.png,1"])
    (batch, _) = _data(pictures, batch_size=5).val_dataloader()
    assert set(batch["mask"][1].unique().tolist()) == {0, 1}
    for other in (0, 2, 3, 4):
        assert batch["mask"][other].unique().tolist() == [255]


@pytest.mark.parametrize(
    ("file", "line", "message"),
    [
        ("class_labels.txt", "val/a.png,0", "line 7: val/a.png has label 0 twice"),
        ("class_labels.txt", "val/a.png,-1", "line 7: label -1 is out of range"),
        ("localization.txt", "val/c.png,0,0,1,1,2", "line 5: val/c.png has no label 2"),
        ("localization.txt", "val/b.png,0,0,1,1,-1", "line 5: val/b.png has no label -1"),
        ("localization.txt", "val/c.png,0,0,13,1,1", "line 5: the box 0,0,13,1 lies outside"),
        ("localization.txt", "val/x.png,0,0,1,1,1", "line 5: 'val/x.png' is not in image_ids.txt"),
    ],
)
def test_faults_are_named_by_file_and_line(pictures, file, line, message):
    path = pictures / "metadata" / "val" / file
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(DataError, match=f"{file}, {message}"):
        _data(pictures)


def test_images_that_are_named_like_samples_are_refused(pictures):
    folder = pictures / "metadata" / "val"
    Image.new("RGB", (12, 10)).save(pictures / "val" / "c#1.png")
    for file, line in (("image_ids.txt", "val/c#1.png"), ("image_sizes.txt", "val/c#1.png,12,10")):
        (folder / file).write_text((folder / file).read_text() + line + "\n")
    with pytest.raises(DataError, match=r"val/c#1\.png and val/c\.png are told apart|rename one"):
        _data(pictures)


def test_classes_of_another_classifier_have_its_columns(pictures):
    names = ["dog", "cat", "owl"]
    _write(pictures / "metadata" / "class_names.txt", (f"{i},{n}" for i, n in enumerate(names)))
    data = _data(pictures, known_classes=["owl", "ant", "dog", "bee"])
    (batch, _) = data.val_dataloader()
    assert batch["label"].tolist() == [2, 0, -1, -1, -1]
    assert batch["labels"].int().tolist()[0] == [1, 0, 1, 0]
    assert batch["labels"].int().tolist()[4] == [1, 0, 0, 0]


@pytest.mark.parametrize("cache", ["none", "memory", "disk"])
def test_an_image_is_decoded_once_for_all_its_classes(pictures, monkeypatch, cache):
    read, paths = evaluation_dataset.read_resized, []

    def count(source, *options):
        paths.append(str(source))
        return read(source, *options)

    monkeypatch.setattr(evaluation_dataset, "read_resized", count)
    options = {"cache": cache, "cache_folder": pictures / "kept", "eval_batch_size": 7}
    data = _data(pictures, **options)
    (batch,) = data.val_dataloader()
    assert sorted(paths) == [str(pictures / "val" / f"{c}.png") for c in "abcde"]
    kept = data._datasets["val"]._images
    if cache == "memory":
        assert len(kept) == 5
    if cache == "disk":
        assert sum(path.stat().st_size for path in pictures.rglob("*.pixels")) == 5 * 3 * 8 * 8
    (plain,) = _data(pictures, eval_batch_size=7).val_dataloader()
    torch.testing.assert_close(batch["image"], plain["image"], rtol=0, atol=0)
    assert batch["image_id"] == plain["image_id"]


def test_a_kept_training_image_is_its_own(pictures):
    read, kept = (
        next(iter(_data(pictures, cache=cache).train_dataloader())) for cache in ("none", "memory")
    )
    assert read["image_id"] == kept["image_id"]
    torch.testing.assert_close(read["image"], kept["image"], rtol=0, atol=0)


def test_classes_that_are_not_trained_on_are_taken_away(pictures):
    data = _data(pictures, classes=[0])
    (batch,) = data.train_dataloader()
    found = dict(zip(batch["image_id"], batch["labels"].int().tolist(), strict=True))
    names = {"train/a.png": [1, 0, 0], "train/b.png": [0, 0, 0], "train/e.png": [1, 0, 0]}
    assert found == names
    (batch,) = data.val_dataloader()
    assert batch["image_id"] == ["val/a#0.png", "val/b.png", "val/e#0.png"]
    assert [len(boxes) for boxes in batch["boxes"]] == [2, 0, 0]
    _write(pictures / "metadata" / "class_names.txt", ["0,a", "1,b", "2,c", "3,d"])
    with pytest.raises(DataError, match="no image is of the classes"):
        _data(pictures, classes=[3])


def test_permuted_labels_move_with_all_classes_of_an_image(pictures):
    def rows(**options):
        loader = _data(pictures, **options).train_dataloader()
        (batch,) = loader
        return dict(zip(batch["image_id"], batch["labels"].int().tolist(), strict=True))

    plain, first, second = rows(), rows(permute_labels=1), rows(permute_labels=2)
    assert sorted(plain.values()) == sorted(first.values()) == sorted(second.values())
    assert first == rows(permute_labels=1)
    assert len({str(found) for found in (plain, first, second)}) > 1


def test_a_limit_draws_samples_of_all_classes(pictures):
    data = _data(pictures, limit=4)
    (batch,) = data.val_dataloader()
    assert sorted(batch["label"].tolist()) == [-1, 0, 1, 2]
    files = [name.partition("#")[0] for name in batch["image_id"]]
    firsts = [k == files.index(name) for k, name in enumerate(files)]
    assert batch["first"].tolist() == firsts
    counted = data.supervision("val")
    assert counted["images"] == len(set(files)) == len(set(batch["source"]))
    assert (counted["samples"], data.count("val")) == (4, 4)
    assert "labels" not in counted  # an image without a class is one that is known


def test_learning_from_boxes_of_several_classes_is_refused(pictures):
    with pytest.raises(DataError, match="any number of classes each, for which learning from"):
        _data(pictures).with_shares(0.5, 0)
