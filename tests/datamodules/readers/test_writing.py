import numpy as np
import pytest

from learned_saliency.datamodules import DataError
from learned_saliency.datamodules.metadata import read_split
from learned_saliency.datamodules.readers.writing import Metadata, SplitRows, write_metadata

ROWS = SplitRows(
    ["a,b.png", "c.png"],
    [1, 0],
    np.array([[20, 10], [8, 9]]),
    np.array([[0, 0, 3, 4], [1, 2, 5, 6], [0, 0, 1, 1]]),
    ["c.png", "a,b.png", "c.png"],
    [("c.png", "m/c.png", ""), ("a,b.png", "m/a.png", "m/ignore.png")],
)
CONTENT = Metadata(["dog, brown", "cat"], {"val": ROWS}, {"notes/made.txt": "by hand\n"})


def test_what_is_written_is_read_back(tmp_path):
    assert write_metadata(tmp_path / "new" / "metadata", "table", {}, lambda: CONTENT)
    folder = tmp_path / "new" / "metadata"
    split = read_split(folder / "val", localization=True)
    assert (split.image_ids, split.labels.tolist()) == (ROWS.ids, [1, 0])
    np.testing.assert_array_equal(split.sizes, ROWS.sizes)
    np.testing.assert_array_equal(split.boxes, ROWS.boxes)
    assert split.box_images.tolist() == [1, 0, 1]
    assert split.mask_paths == [["m/a.png"], ["m/c.png"]]
    assert split.ignore_paths == [["m/ignore.png"], []]
    assert (folder / "class_names.txt").read_text() == "0,dog, brown\n1,cat\n"
    assert (folder / "notes" / "made.txt").read_text() == "by hand\n"


def test_masks_alone_are_the_localization(tmp_path):
    rows = SplitRows(ROWS.ids, ROWS.labels, masks=ROWS.masks)
    write_metadata(tmp_path / "metadata", "table", {}, lambda: Metadata(["x", "y"], {"val": rows}))
    split = read_split(tmp_path / "metadata" / "val", localization=True)
    assert split.boxes is None
    assert split.mask_paths == [["m/a.png"], ["m/c.png"]]


def test_metadata_is_made_once_for_each_choice_of_settings(tmp_path):
    def unwanted():
        raise AssertionError("read again")

    folder = tmp_path / "metadata"
    settings = {"root": tmp_path, "seed": 0}
    assert write_metadata(folder, "table", settings, lambda: CONTENT)
    assert not write_metadata(folder, "table", settings, unwanted)
    (folder / "stale.txt").write_text("old")
    assert write_metadata(folder, "table", settings | {"seed": 1}, lambda: CONTENT)
    assert not (folder / "stale.txt").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["metadata"]


def test_a_failure_leaves_what_was_there(tmp_path):
    def fails():
        raise DataError("no download.")

    folder = tmp_path / "metadata"
    write_metadata(folder, "table", {"seed": 0}, lambda: CONTENT)
    with pytest.raises(DataError, match="no download"):
        write_metadata(folder, "table", {"seed": 1}, fails)
    assert not write_metadata(folder, "table", {"seed": 0}, fails)
    assert [path.name for path in tmp_path.iterdir()] == ["metadata"]


def test_folders_of_another_reader_are_left_alone(tmp_path):
    write_metadata(tmp_path / "metadata", "table", {}, lambda: CONTENT)
    with pytest.raises(DataError, match="files that the folder reader has not written"):
        write_metadata(tmp_path / "metadata", "folder", {}, lambda: CONTENT)


def test_the_faster_of_two_processes_wins(tmp_path):
    folder = tmp_path / "metadata"

    def slow():
        write_metadata(folder, "table", {}, lambda: CONTENT)
        (folder / "kept.txt").write_text("in use")
        return CONTENT

    assert not write_metadata(folder, "table", {}, slow)
    assert (folder / "kept.txt").read_text() == "in use"
