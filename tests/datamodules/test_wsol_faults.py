"""Faults of a data set that are named, in a sentence each."""

import os

import pytest

from learned_saliency.datamodules import DataError, WSOLDataModule
from tests.support.tiny import add_masks, read_all, tiny_data, train_images


def _replace_name(folder, split, name, other):
    for file in (folder / "metadata" / split).iterdir():
        file.write_text(file.read_text().replace(name, other))


def test_missing_folders_and_splits_are_named(tiny, tmp_path):
    folder = tiny()
    with pytest.raises(DataError, match="absent: the root folder of the images is missing"):
        tiny_data(tmp_path / "absent").setup("fit")
    with pytest.raises(DataError, match="holds none of the folders train, val, test"):
        WSOLDataModule(folder, folder / "nothing").setup()
    data = tiny_data(folder)
    with pytest.raises(DataError, match="the split 'val' is not set up"):
        data.val_dataloader()
    with pytest.raises(ValueError, match="expected one of train, val, test"):
        data.dataloader("training")
    (folder / "metadata/test").rename(folder / "elsewhere")
    data.setup("fit")  # a test split is not needed for training
    with pytest.raises(DataError, match="test: this folder of metadata is missing"):
        data.setup("test")
    (folder / "metadata/val").rename(folder / "elsewhere2")
    with pytest.raises(DataError, match="val: this folder of metadata is missing"):
        tiny_data(folder).setup("fit")


def test_a_broken_test_split_shows_before_the_training(tiny):
    folder = tiny()
    (folder / "test/3.png").unlink()
    with pytest.raises(DataError, match=r"image_ids.txt, line 4: .*3.png does not exist"):
        tiny_data(folder).setup("fit")


def test_images_that_break_after_the_check_are_named(tiny):
    folder = tiny()
    data = tiny_data(folder, cache="memory")
    data.setup("fit")
    (folder / "train/2.png").write_text("no image")
    with pytest.raises(DataError, match=r"2.png: the image does not decode"):
        data.train_dataloader()
    for workers in (0, 1):
        data = tiny_data(folder, verify_images=False, num_workers=workers)
        data.setup("fit")
        with pytest.raises(DataError) as error:
            list(data.train_dataloader())
        assert str(error.value).startswith(f"{folder}/train/2.png: the image does not decode")
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("path", ["../x.png", "train/../../x.png", "link/../../x.png", "{}/x.png"])
def test_images_outside_the_root_are_refused_unless_allowed(tiny, path):
    folder = tiny()
    path = path.format(folder.parent)
    (folder / "train/2.png").replace(folder.parent / "x.png")
    (folder / "link").symlink_to(folder / "train")
    _replace_name(folder, "train", "train/2.png", path)
    with pytest.raises(DataError, match=r"image_ids.txt, line 3: .*x.png' lies outside of .*tiny;"):
        tiny_data(folder).setup("fit")
    data = tiny_data(folder, allow_outside_root=True)
    data.setup("fit")
    assert path in train_images(data)


@pytest.mark.parametrize("ignored", [False, True])
def test_masks_outside_the_root_are_refused_unless_allowed(tiny, ignored):
    folder = tiny()
    add_masks(folder)
    (folder / "val/mask2.png").replace(folder.parent / "mask.png")
    old, new = "val/2.png,val/mask2.png,", "val/2.png,../mask.png,"
    if ignored:
        new = "val/2.png,val/mask1.png,../mask.png"
    _replace_name(folder, "val", old, new)
    with pytest.raises(DataError, match=r"masks.txt, line 3: '../mask.png' lies outside"):
        tiny_data(folder).setup("validate")
    data = tiny_data(folder, allow_outside_root=True)
    data.setup("validate")
    assert next(iter(data.val_dataloader()))["mask"].any()


def test_absolute_paths_inside_and_links_lead_nowhere_else(tiny):
    folder = tiny()
    (folder / "train/2.png").replace(folder.parent / "x.png")
    (folder / "train/2.png").symlink_to(folder.parent / "x.png")
    _replace_name(folder, "train", "train/3.png", f"{folder}/train/3.png")
    data = tiny_data(folder)
    data.setup("fit")
    assert len(train_images(data)) == 11


@pytest.mark.parametrize("name", ["x" * 300, "x" * 5000, "y/" * 3000 + "x", "circle/../x"])
def test_names_that_no_system_has_are_told_in_short(tiny, name):
    folder = tiny()
    (folder / "circle").symlink_to(folder / "circle")
    _replace_name(folder, "train", "train/3.png", name)
    with pytest.raises(
        DataError, match=r"image_ids.txt, line 4: .*(does not exist|lies outside)"
    ) as told:
        tiny_data(folder).setup("fit")
    assert len(str(told.value)) < 2100
    assert str(told.value).endswith(("correct the path.", "data.allow_outside_root=true."))


@pytest.mark.parametrize("verify", [True, False])
def test_a_pipe_is_named_and_never_waited_for(tiny, verify):
    folder = tiny()
    add_masks(folder)
    for name in ("train/2.png", "val/mask2.png"):
        (folder / name).rename(folder / "kept.png")
        os.mkfifo(folder / name)
        with pytest.raises(DataError, match=rf"{name}.*no regular file, but a pipe"):
            read_all(tiny_data(folder, verify_images=verify))
        (folder / name).unlink()
        (folder / "kept.png").rename(folder / name)


@pytest.mark.parametrize(
    "options",
    [
        {"crop_size": 11},
        {"crop_size": 0},
        {"batch_size": 0},
        {"eval_batch_size": 0},
        {"num_workers": -1},
        {"seed": -1},
        {"train_fraction": 0.0},
        {"permute_labels": -1},
        {"std": (1.0, 1.0, 0.0)},
        {"mean": (0.5,)},
        {"max_value": 0},
    ],
)
def test_numbers_out_of_range_are_refused(tmp_path, options):
    with pytest.raises(ValueError, match="expected"):
        tiny_data(tmp_path, **options)
