"""Images kept on disk: found again by their content, made once, never half."""

import errno
import multiprocessing
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from learned_saliency.datamodules import DataError, WSOLDataModule, kept_images
from learned_saliency.datamodules.kept_images import keep_images
from learned_saliency.datamodules.opening import ImageError, PackedImage
from learned_saliency.datamodules.transforms import read_resized

SIDE = 6


class Reader:
    """Counts what it reads."""

    def __init__(self):
        self.names = []

    def __call__(self, source):
        self.names.append(Path(str(source)).name)
        return read_resized(source, SIDE)


@pytest.fixture
def photos(tmp_path):
    """Write nine images; the last two are the same."""
    paths = [tmp_path / "photos" / f"{number}.png" for number in range(9)]
    paths[0].parent.mkdir()
    for number, path in enumerate(paths):
        pixels = np.random.default_rng(min(number, 7)).integers(0, 256, (8, 7, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
    return paths


@pytest.fixture
def keep(tmp_path):
    """Keep images in a folder and compare them with the files; return what had to be read."""

    def run(sources, folder=tmp_path / "kept"):
        read = Reader()
        kept = keep_images(folder, sources, SIDE, read)
        for number, source in enumerate(sources):
            torch.testing.assert_close(kept[number], read_resized(source, SIDE), rtol=0, atol=0)
        return sorted(read.names)

    return run


def names(paths):
    return [path.name for path in paths]


def test_images_are_made_once(photos, keep):
    assert set(keep(photos[:5])) == set(names(photos[:5]))
    assert keep(photos[:5]) == []
    assert keep(photos[3::-1]) == []
    assert keep(photos[:7]) == names(photos[5:7])


def test_images_of_the_same_content_share_their_pixels(photos, keep, tmp_path, monkeypatch):
    monkeypatch.setattr(kept_images, "_CHUNK", 4)
    keep(photos)
    pixels = sum(path.stat().st_size for path in (tmp_path / "kept").glob("*.pixels"))
    assert pixels == 8 * 3 * SIDE * SIDE


def test_a_moved_or_touched_image_is_known_and_a_changed_one_is_not(photos, keep, tmp_path):
    keep(photos[:5])
    (tmp_path / "photos").rename(tmp_path / "moved")
    moved = [tmp_path / "moved" / path.name for path in photos[:5]]
    assert keep(moved) == []
    moved[1].touch()
    assert keep(moved) == []
    content = moved[2].read_bytes()
    Image.new("RGB", (9, 9), "red").save(moved[2])
    assert keep(moved) == [moved[2].name]
    moved[2].write_bytes(content)
    assert keep(moved) == []


def test_bytes_of_unchanged_files_are_not_read_again(photos, keep, monkeypatch, tmp_path):
    keep(photos)
    monkeypatch.setattr(kept_images, "_encoded", None)
    kept = keep_images(tmp_path / "kept", photos, SIDE, Reader())
    torch.testing.assert_close(kept[4], read_resized(photos[4], SIDE))


def test_images_that_are_no_files_are_known_by_their_bytes(photos, keep, tmp_path):
    contents = {path.name: path.read_bytes() for path in photos}
    packed = [PackedImage(tmp_path / "all" / name, name, contents.__getitem__) for name in contents]
    assert set(keep(packed)) <= set(contents)
    notes = [path.read_bytes() for path in (tmp_path / "kept").glob("*.notes")]
    assert keep(packed) == keep(photos) == []
    assert sum(map(len, notes)) > 0
    contents["3.png"] = contents["4.png"]
    assert keep(packed) == []


def test_an_interrupted_filling_goes_on(photos, keep, tmp_path, monkeypatch):
    monkeypatch.setattr(kept_images, "_CHUNK", 2)
    content = photos[5].read_bytes()
    photos[5].write_text("no image")
    with pytest.raises(DataError, match=r"5.png: the image does not decode \(no image of a known"):
        keep(photos[:7])
    photos[5].write_bytes(content)
    assert keep(photos[:7]) == names(photos[4:7])


@pytest.mark.parametrize("ending", [".pixels", ".notes"])
def test_what_is_cut_or_damaged_is_made_again(photos, keep, tmp_path, ending):
    keep(photos[:5])
    (path,) = (tmp_path / "kept").glob(f"*{ending}")
    path.write_bytes(path.read_bytes()[:-20])
    assert keep(photos[:5]) == ["4.png"]
    if ending == ".notes":
        path.write_bytes(b"\xff{" + path.read_bytes()[2:])
        assert keep(photos[:5]) == ["0.png"]
    else:
        path.unlink()
        assert len(keep(photos[:5])) == 4
    assert keep(photos[:5]) == []


def test_missing_images_and_unusable_folders_are_named(photos, keep, tmp_path):
    def lost(image_id):
        raise ImageError("lost")

    with pytest.raises(DataError, match=r"gone.png: the image is missing; restore it"):
        keep([*photos, tmp_path / "gone.png"])
    with pytest.raises(DataError, match=r"a/b: the image does not decode \(lost\)"):
        keep([PackedImage(Path("a/b"), "b", lost)])
    with pytest.raises(DataError, match=r"0.png/kept: is no folder.*set data.cache_folder"):
        keep(photos, photos[0] / "kept")


def test_a_full_disk_is_told_before_the_work(photos, keep, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=500)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(OSError, match=r"data\.cache=disk needs 0\.0 GB more") as error:
        keep(photos)
    assert error.value.errno == errno.ENOSPC
    assert error.value.filename == str(tmp_path / "kept")
    assert not list((tmp_path / "kept").glob("*.pixels"))


def _fill(folder, paths, made):
    read = Reader()
    kept = keep_images(folder, paths, SIDE, read)
    made.put((len(read.names), int(kept[0].sum())))


def test_of_several_processes_one_makes_the_images(photos, tmp_path):
    context = multiprocessing.get_context("fork")
    made = context.SimpleQueue()
    paths = photos[:7]
    processes = [
        context.Process(target=_fill, args=(tmp_path / "kept", paths, made)) for _ in range(3)
    ]
    for process in processes:
        process.start()
    found = [made.get() for _ in processes]
    for process in processes:
        process.join()
    total = int(read_resized(paths[0], SIDE).sum())
    assert sorted(found) == [(0, total), (0, total), (7, total)]


def test_a_copy_for_another_process_holds_no_pixels(photos, tmp_path):
    kept = keep_images(tmp_path / "kept", photos, SIDE, Reader())
    first = kept[0]
    copied = pickle.dumps(kept)
    assert len(copied) < 1500
    torch.testing.assert_close(pickle.loads(copied)[0], first)


def test_each_kind_of_pixels_has_a_folder_of_its_own(tiny, tmp_path):
    folder = tiny()
    for options in (
        *({}, {"center_crop": True}, {"fast_decode": True}, {"exif_orientation": True}),
        *({"evaluation_resize": 7}, {"evaluation_resize": 9}),
        *({"max_value": 4095}, {"resize_size": 9}, {"augment": False}),
        {"augment": False, "fast_decode": True},
    ):
        data = WSOLDataModule(
            folder,
            folder / "metadata",
            **{"resize_size": 8, "crop_size": 6, "cache": "disk"} | options,
            cache_folder=tmp_path / "kept",
        )
        data.setup("fit")
        for loader in (data.train_dataloader(), data.val_dataloader()):
            assert len(next(iter(loader))["label"])
    found = sorted(path.name for path in (tmp_path / "kept").iterdir())
    # unaugmented training images are those of the evaluation, unless they are decoded faster
    assert len(found) == 2 + 1 + 1 + 2 + (1 + 1) + 2 + 1 + 0 + 1
