import json
import logging
import shutil

import numpy as np
import pytest
from PIL import Image

from learned_saliency.datamodules import DataError, FolderReader, WSOLDataModule
from learned_saliency.datamodules.metadata import read_split
from tests.support.photos import fill, photo, save

NO_TEST = {"test_fraction": 0.0}


@pytest.fixture
def photos(tmp_path):
    """A folder of two classes with ten photographs of 48x36 pixels each."""
    return fill(tmp_path / "photos", cat=10, dog=10)


def prepared(root, **options):
    """Splits by name, as the data module reads them; metadata lies beside the root."""
    folder = root.parent / "metadata"
    FolderReader(**options).prepare(root, folder)
    return read(folder)


def read(folder):
    there = [split for split in ("train", "val", "test") if (folder / split).is_dir()]
    return {split: read_split(folder / split, localization=split != "train") for split in there}


def report(root):
    return json.loads((root.parent / "metadata" / "splits.json").read_text())


def split_of(splits):
    return {name: split for split, found in splits.items() for name in found.image_ids}


def test_a_plain_folder_becomes_a_data_set(photos, caplog):
    caplog.set_level(logging.INFO)
    reader = FolderReader(val_fraction=0.2, test_fraction=0.3)
    data = WSOLDataModule(
        photos, photos.parent / "metadata", reader=reader, resize_size=16, crop_size=16
    )
    data.prepare_data()
    data.setup()
    assert data.class_names == ["cat", "dog"]
    counts = {split: data.supervision(split)["images"] for split in ("train", "val", "test")}
    assert counts == {"train": 10, "val": 4, "test": 6}
    assert not data.has_boxes("val")
    assert not data.has_masks("test")
    (batch,) = data.val_dataloader()
    assert sorted(batch["label"].tolist()) == [0, 0, 1, 1]
    assert (
        "10 images of train, 4 images of val, 6 images of test; val and test drawn" in caplog.text
    )
    assert report(photos)["images"] == counts


def test_the_draw_depends_on_the_seed_but_not_on_the_place(photos, tmp_path):
    drawn = [split_of(prepared(photos, seed=seed)) for seed in (0, 1, 0)]
    assert drawn[0] == drawn[2] != drawn[1]
    shutil.copytree(photos, tmp_path / "other" / "photographs")
    assert split_of(prepared(tmp_path / "other" / "photographs")) == drawn[0]


def test_copies_and_similar_images_stay_together(photos):
    for i in range(10):
        shutil.copy(photos / f"cat/cat_{i}.jpg", photos / f"cat/copy_{i}.JPG")
        image = Image.open(photos / f"dog/dog_{i}.jpg").resize((97, 70))
        image.save(photos / f"dog/smaller_{i}.png")
    for seed in range(5):
        splits = split_of(prepared(photos, seed=seed))
        for i in range(10):
            assert splits[f"cat/cat_{i}.jpg"] == splits[f"cat/copy_{i}.JPG"]
            assert splits[f"dog/dog_{i}.jpg"] == splits[f"dog/smaller_{i}.png"]
        assert set(splits.values()) == {"train", "val", "test"}
    assert len(report(photos)["kept_together"]) == 20
    splits = split_of(prepared(photos, keep_similar=False))
    together = report(photos)["kept_together"]
    assert sorted(map(len, together)) == [2] * 10
    assert all(name.startswith("cat") for names in together for name in names)


def test_images_of_one_name_stay_together(tmp_path):
    for person in range(12):
        for shot in range(3):
            name = f"{'ab'[person % 2]}/person{person}_{shot}.png"
            save(tmp_path / "photos" / name, 10 * person + shot)
    splits = split_of(prepared(tmp_path / "photos", group=r"(person\d+)_"))
    for person in range(12):
        name = f"{'ab'[person % 2]}/person{person}"
        assert len({splits[f"{name}_{shot}.png"] for shot in range(3)}) == 1
    assert set(splits.values()) == {"train", "val", "test"}
    with pytest.raises(DataError, match=r"data\.reader\.group=\(x: is no regular expression"):
        FolderReader(group="(x")


def test_missing_splits_are_drawn_from_the_training_images_alone(tmp_path):
    root = tmp_path / "photos"
    fill(root / "train", cat=10, dog=10)
    save(root / "test/cat/1.jpg", 5001)
    save(root / "test/dog/2.jpg", 5002)
    splits = prepared(root, val_fraction=0.3, test_fraction=0.3)
    assert splits["test"].image_ids == ["test/cat/1.jpg", "test/dog/2.jpg"]
    assert len(splits["val"]) == 6
    assert len(splits["train"]) == 14
    assert all(name.startswith("train/") for name in splits["val"].image_ids)
    assert report(root)["given"] == ["test"]


def test_given_splits_that_overlap_are_told_and_left_alone(tmp_path):
    root = tmp_path / "photos"
    fill(root / "train", cat=4, dog=4)
    save(root / "val/dog/1.jpg", 5001)
    shutil.copytree(root / "train/cat", root / "val/cat")
    photo(1000).resize((96, 72)).save(root / "val/dog/large.png")
    splits = prepared(root, **NO_TEST)
    assert [len(found) for found in splits.values()] == [8, 6]
    (remark,) = report(root)["remarks"]
    assert remark.startswith("images of val that are also in train: 4 copies and 1 that look alike")


def test_copies_in_two_classes_are_told(photos):
    shutil.copy(photos / "cat/cat_0.jpg", photos / "dog/cat.jpg")
    prepared(photos)
    assert "copies of images in another class: 1, such as cat/cat_0.jpg and dog/cat.jpg" in str(
        report(photos)["remarks"]
    )


def test_small_classes_are_for_training_and_told(tmp_path):
    root = fill(tmp_path / "photos", cat=10, dog=10, emu=2, fox=1)
    splits = split_of(prepared(root))
    assert {splits["emu/emu_0.jpg"], splits["emu/emu_1.jpg"], splits["fox/fox_0.jpg"]} == {"train"}
    (remark,) = report(root)["remarks"]
    assert remark.endswith("to be in each split: emu, fox.")
    with pytest.raises(DataError, match=r"its classes have too few images, .* to make val of them"):
        prepared(fill(tmp_path / "few" / "photos", cat=2, dog=1))


def test_metadata_is_written_once_for_each_state_of_the_folder(photos):
    stamp = photos.parent / "metadata" / "folder_reader.json"
    before = split_of(prepared(photos))
    written = stamp.stat().st_mtime_ns
    assert split_of(prepared(photos)) == before
    assert stamp.stat().st_mtime_ns == written
    for i in range(10, 30):
        save(photos / f"cat/cat_{i}.jpg", i)
    (photos / "dog/dog_3.jpg").unlink()
    after = split_of(prepared(photos))
    assert stamp.stat().st_mtime_ns != written
    assert len(after) == 39
    kept = before.keys() & after.keys()
    assert len(kept) == 19
    assert all(after[name] == before[name] for name in kept)
    assert {after[f"cat/cat_{i}.jpg"] for i in range(10, 30)} == {"train", "val", "test"}


def test_broken_images_are_named_or_left_out(photos):
    (photos / "cat/broken.jpg").write_bytes((photos / "cat/cat_0.jpg").read_bytes()[:500])
    (photos / "dog/empty.png").touch()
    with pytest.raises(
        DataError, match=r"cat/broken.jpg: cannot be read .*, nor can 1 others; .*sk"
    ):
        prepared(photos)
    assert not (photos.parent / "metadata").exists()
    assert len(split_of(prepared(photos, skip_broken=True))) == 20
    assert "images that cannot be read, left out: 2, such as" in report(photos)["remarks"][0]
    for i in range(10):
        (photos / f"dog/dog_{i}.jpg").write_text("no image")
    with pytest.raises(DataError, match="no image of dog can be read"):
        prepared(photos, skip_broken=True)


def test_turned_photographs_have_the_sizes_that_a_person_sees(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    root = fill(tmp_path / "photos", cat=3, dog=3)
    rows = ["image,xmin,ymin,xmax,ymax"]
    for name in ("cat", "dog"):
        for i in range(3):
            save(root / name / f"{name}_{i}.jpg", i + 7 * len(name + str(name)), exif=exif)
            rows.append(f"{name}_{i}.jpg,1,40,30,47")
    (root / "boxes.csv").write_text("\n".join(rows))
    splits = prepared(root)
    assert splits["val"].sizes.tolist() == [[36, 48]] * 2
    assert splits["val"].boxes.tolist() == [[1, 40, 30, 47]] * 2
    with pytest.raises(DataError, match=r"boxes.csv, line \d: the box 1,40,30,47 reaches out of"):
        prepared(root, exif_orientation=False)


def test_masks_of_the_same_names_are_found_beside_the_images(photos):
    for name in ("cat", "dog"):
        for i in range(10):
            mask = np.zeros((36, 48), np.uint16)
            mask[5:20, 10:30] = 300 + i  # instances have numbers
            path = photos / f"masks/{name}/{name}_{i}_mask.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(mask).save(path)
    data = WSOLDataModule(
        photos, photos.parent / "metadata", reader=FolderReader(), resize_size=48, crop_size=48
    )
    data.prepare_data()
    data.setup()
    assert data.has_masks("val")
    assert not data.has_boxes("val")
    (batch,) = data.val_dataloader()
    rows, columns = np.nonzero(batch["mask"][0].numpy())
    assert (columns.min(), columns.max()) == (10, 29)
    assert (rows.min(), rows.max()) == (7, 26)  # floor(y 36 / 48) in 5..19
    assert not prepared(photos, masks="none", boxes="none")["val"].mask_paths


def test_masks_may_lie_elsewhere(photos, tmp_path):
    for name in ("cat", "dog"):
        for i in range(10):
            path = tmp_path / f"truth/{name}_{i}.png"
            path.parent.mkdir(exist_ok=True)
            Image.new("L", (48, 36), 255).save(path)
    reader = FolderReader(masks=tmp_path / "truth")
    data = WSOLDataModule(photos, tmp_path / "metadata", reader=reader, exif_orientation=True)
    data.prepare_data()
    data.setup()
    assert data.supervision("test")["masks"] == 4
    shutil.move(tmp_path / "truth", photos / "truth")
    assert prepared(photos, masks="truth")["val"].mask_paths[0][0].startswith("truth/cat_")


def test_masks_of_another_size_are_named(photos):
    for name in ("cat", "dog"):
        for i in range(10):
            path = photos / f"masks/{name}_{i}.png"
            path.parent.mkdir(exist_ok=True)
            Image.new("L", (48, 36 + (name == "dog")), 255).save(path)
    with pytest.raises(
        DataError, match=r"masks/dog_\d.png: the mask has 48x37 pixels, and dog/dog_"
    ):
        prepared(photos)


def test_options_out_of_range_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"together below 1, got 0\.5 and 0\.5"):
        FolderReader(val_fraction=0.5, test_fraction=0.5)
    with pytest.raises(ValueError, match="seed of 0 or more"):
        FolderReader(seed=-1)
    with pytest.raises(DataError, match="nowhere: the folder of photographs is missing"):
        FolderReader().prepare(tmp_path / "nowhere", tmp_path / "metadata")
    fill(tmp_path / "photos", cat=3, dog=3)
    with pytest.raises(DataError, match=r"photos/no.csv: is no file or folder"):
        prepared(tmp_path / "photos", boxes="no.csv")


def test_a_page_of_a_data_set_states_counts_and_sources():
    sources = {"cat": ["images of cats", "a page"]}
    reader = FolderReader(published={"train": {"images": 7}}, sources=sources)
    assert reader.published["train"].images == 7
    assert reader.published["train"].boxes is None
    assert reader.sources[0].required
