"""Folders that a checkpoint names: used where they hold its data set, never written into."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from learned_saliency.pipeline.cli.compose import compose_checked
from learned_saliency.pipeline.cli.errors import UserError
from learned_saliency.pipeline.runs.checkpoints import Checkpoint
from learned_saliency.pipeline.runs.places import located_data
from learned_saliency.pipeline.training.plan import _located
from tests.support.words import SMALL_DATA, SMALL_RUN

NOTHING = OmegaConf.create({})


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """The machine's own place of data sets that are made; empty."""
    monkeypatch.setenv("LEARNED_SALIENCY_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def recorded(*words, **places):
    """``data`` of a record; its places are plain texts there."""
    data = compose_checked([*words, *(f"data.{k}={v}" for k, v in places.items())]).data
    return OmegaConf.create(OmegaConf.to_container(data, resolve=True))


def filled(folder, metadata="metadata"):
    """A folder of images with the lists of a split."""
    (folder / metadata / "test").mkdir(parents=True)
    (folder / metadata / "test/image_ids.txt").write_text("a.png\n")
    return folder


def places(data):
    return str(data.root), str(data.metadata)


def test_creatures_are_made_where_this_machine_says(tmp_path, cache):
    theirs = tmp_path / "theirs"
    own = recorded(*SMALL_DATA, root=theirs, metadata=theirs / "metadata")
    data = located_data(own, NOTHING, "x.ckpt")
    assert data.root.startswith(f"{cache}/creatures-48px-16c-")
    assert data.metadata == f"{data.root}/metadata-32-16-17"
    assert not data.read_only


def test_options_of_the_command_line_name_the_folder(tmp_path, cache):
    own = recorded(*SMALL_DATA, root=tmp_path / "theirs")
    given = OmegaConf.create({"reader": {"image_size": 24}})
    assert located_data(own, given, "x.ckpt").root.startswith(f"{cache}/creatures-24px-")


def test_options_that_are_not_set_or_unknown_to_a_record_do_not_name_the_folder(tmp_path):
    own = recorded(*SMALL_DATA, root=tmp_path / "theirs")
    older = recorded(*SMALL_DATA, root=tmp_path / "theirs")
    for key in ("cue_class", "cue_strength"):
        del older.reader[key]
    plain = located_data(own, NOTHING, "x.ckpt").root
    assert located_data(older, NOTHING, "x.ckpt").root == plain
    given = OmegaConf.create({"reader": {"cue_class": 5, "cue_strength": 1.0}})
    planted = located_data(own, given, "x.ckpt").root
    assert planted == plain.replace("-v3", "-cue_class5-cue_strength1.0-v3") != plain


def test_a_folder_that_holds_the_data_set_is_read_but_not_made(tmp_path):
    theirs = filled(tmp_path / "theirs")
    own = recorded(*SMALL_DATA, root=theirs, metadata=theirs / "metadata")
    data = located_data(own, NOTHING, "x.ckpt")
    assert places(data) == (str(theirs), f"{theirs}/metadata")
    assert data.read_only


def test_this_machine_comes_first(tmp_path):
    theirs = filled(tmp_path / "theirs")
    own = recorded(*SMALL_DATA, root=theirs, metadata=theirs / "metadata")
    here = located_data(recorded(*SMALL_DATA, root=tmp_path / "none"), NOTHING, "x.ckpt")
    filled(Path(here.root), Path(here.metadata).name)
    assert places(located_data(own, NOTHING, "x.ckpt")) == places(here)


def test_what_is_given_is_written_to(tmp_path):
    own = recorded(*SMALL_DATA, root=tmp_path / "theirs", metadata=tmp_path / "theirs/metadata")
    mine = tmp_path / "mine"
    data = located_data(own, OmegaConf.create({"root": str(mine)}), "x.ckpt")
    assert places(data) == (str(mine), f"{mine}/metadata-32-16-17")
    assert not data.read_only
    filled(mine)  # which moved along
    assert places(located_data(own, OmegaConf.create({"root": str(mine)}), "x.ckpt")) == (
        str(mine),
        f"{mine}/metadata",
    )


def test_metadata_elsewhere_are_not_written_because_the_root_is_given(tmp_path, cache):
    own = recorded(*SMALL_DATA, root=tmp_path / "theirs", metadata=tmp_path / "elsewhere")
    data = located_data(own, OmegaConf.create({"root": str(tmp_path / "mine")}), "x.ckpt")
    assert data.metadata == f"{tmp_path}/mine/metadata-32-16-17"


def test_a_download_is_read_where_it_lies_and_its_metadata_are_the_machines(tmp_path, cache):
    theirs = tmp_path / "CUB_200_2011"
    own = recorded("data=cub", root=theirs, metadata=tmp_path / "anywhere")
    with pytest.raises(UserError, match=r"x\.ckpt: its data\.root=.* give data\.root=FOLDER"):
        located_data(own, NOTHING, "x.ckpt")
    theirs.mkdir()
    data = located_data(own, NOTHING, "x.ckpt")
    assert places(data) == (str(theirs), f"{cache}/cub")


@pytest.mark.parametrize("missing", ["root", "metadata"])
def test_images_of_ones_own_have_to_be_there(tmp_path, missing):
    theirs = filled(tmp_path / "theirs")
    parts = {"root": theirs, "metadata": theirs / "metadata"}
    assert places(located_data(recorded("data=wsol", **parts), NOTHING, "x.ckpt")) == (
        str(theirs),
        f"{theirs}/metadata",
    )
    own = recorded("data=wsol", **(parts | {missing: tmp_path / "gone"}))
    with pytest.raises(UserError, match=r"^x\.ckpt: .*data\.root=FOLDER data\.metadata=FOLDER"):
        located_data(own, NOTHING, "x.ckpt")
    mine = OmegaConf.create({"root": str(theirs), "metadata": f"{theirs}/metadata"})
    assert places(located_data(own, mine, "x.ckpt")) == (str(theirs), f"{theirs}/metadata")


def test_masks_elsewhere_have_to_be_there(tmp_path):
    theirs = filled(tmp_path / "theirs")
    own = recorded("data=wsol", root=theirs, metadata=theirs / "metadata", mask_root="gone")
    with pytest.raises(UserError, match=r"^x\.ckpt: its data\.mask_root=gone is no folder"):
        located_data(own, NOTHING, "x.ckpt")
    given = OmegaConf.create({"mask_root": "masks"})
    assert located_data(own, given, "x.ckpt").mask_root == "masks"


@pytest.mark.parametrize("place", ["/dev/null", "a\0b", "~nobody-of-this-name/x", "x" * 5000, 3])
def test_places_that_no_system_has_are_not_there(tmp_path, place):
    theirs = filled(tmp_path / "theirs")
    own = recorded("data=wsol", root=theirs, metadata=theirs / "metadata")
    for key in ("root", "metadata", "mask_root"):
        changed = OmegaConf.merge(own, {key: place})
        with pytest.raises(UserError, match=r"^x\.ckpt: its data"):
            located_data(changed, NOTHING, "x.ckpt")


def test_other_images_are_not_made_where_the_checkpoint_says(tmp_path, cache):
    theirs = filled(tmp_path / "theirs")
    own = recorded(*SMALL_DATA, root=theirs, metadata=theirs / "metadata")
    given = OmegaConf.create({"reader": {"test_images": 32}})
    assert located_data(own, given, "x.ckpt").metadata.startswith(f"{cache}/creatures-48px-")


def test_an_unknown_reader_makes_nothing_at_a_recorded_place(tmp_path):
    own = recorded(*SMALL_DATA, root=tmp_path / "theirs", metadata=tmp_path / "theirs/metadata")
    own.reader._target_ = "learned_saliency.datamodules.SomeReader"
    with pytest.raises(UserError, match=r"^x\.ckpt: its data set is not on this machine"):
        located_data(own, NOTHING, "x.ckpt")


def test_a_resumed_run_finds_its_data_likewise(tmp_path, cache):
    """Its record keeps the reader, so that it may be continued elsewhere."""
    theirs = tmp_path / "theirs"
    words = [*SMALL_RUN, f"resume={tmp_path}", f"data.root={theirs}"]
    config = compose_checked(words)
    saved = OmegaConf.create(OmegaConf.to_container(config, resolve=True))
    resumed = Checkpoint(tmp_path / "last.ckpt", {}, saved, "", saved.model, 16, [])
    assert _located(config, resumed).data.root.startswith(f"{cache}/creatures-48px-")
    filled(theirs, "metadata-32-16-17")
    data = _located(config, resumed).data
    assert places(data) == (str(theirs), f"{theirs}/metadata-32-16-17")
    assert data.read_only
    assert not config.data.read_only
    moved = compose_checked([*words[:-1], f"data.root={tmp_path}/mine"])
    data = _located(moved, resumed).data
    assert places(data) == (f"{tmp_path}/mine", f"{tmp_path}/mine/metadata-32-16-17")
    assert not data.read_only


def test_other_options_of_the_reader_are_of_this_machine(tmp_path, cache):
    theirs = filled(tmp_path / "theirs")
    own = recorded(*SMALL_DATA, root=theirs, metadata=theirs / "metadata")
    given = OmegaConf.create({"reader": {"test_images": 16}})
    data = located_data(own, given, "x.ckpt")
    assert data.root.startswith(f"{cache}/creatures-48px-16c-")
    assert data.metadata == f"{data.root}/metadata-32-16-16"
    assert data.reader.test_images == 16


def test_an_address_counts_only_where_a_person_types_it(cache):
    address = "https://host.example/set"
    own = recorded("data=webdataset", "data.reader.train='a-{0..1}.tar'", root=address)
    with pytest.raises(UserError, match=r"its data\.root=https://host\.example/set is no folder"):
        located_data(own, NOTHING, "x.ckpt")
    data = located_data(own, OmegaConf.create({"root": address}), "x.ckpt")
    assert data.root == address
    assert data.metadata.startswith(f"{cache}/webdataset/set-")
    assert not data.read_only
    saved = OmegaConf.create({"data": own})
    run = Checkpoint(Path("x.ckpt"), {}, saved, "", saved, 2, [])
    config = OmegaConf.create({"data": own, "resume": "x.ckpt"})
    with pytest.raises(UserError, match="is no folder"):
        _located(config, run)
    assert _located(config, run, {"data.root"}).data.root == address
