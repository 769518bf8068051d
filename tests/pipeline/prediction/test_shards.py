"""Maps of tar shards: what stands in them, and calls that are interrupted, repeated and shared."""

import importlib
import io
import json
from pathlib import Path

import numpy as np
import pytest

from learned_saliency.datamodules import DataError, read_samples
from learned_saliency.pipeline.cli import UserError, hydra_words
from learned_saliency.pipeline.cli.compose import compose_checked
from learned_saliency.pipeline.prediction.predict import CONFIG_NAME, predict
from tests.support.photos import photo
from tests.support.tarred import encoded, sample, served, write_tar

module = importlib.import_module("learned_saliency.pipeline.prediction.shards")


@pytest.fixture
def shards(tmp_path):
    """A folder of four shards of three photographs each, one of which is no image."""
    for shard in range(4):
        members = []
        for number in range(3 * shard, 3 * shard + 3):
            members += sample(number, 0, caption="any")
        if shard == 3:
            members += [("bad.jpg", b"no image"), ("none.json", b"{}")]
        write_tar(tmp_path / "in" / f"s-{shard}.tar", members)
    return tmp_path / "in"


@pytest.fixture
def call(tmp_path, fcam_run, monkeypatch):
    """Calls predict.py's work on shards; gives the lines that were said."""
    monkeypatch.setenv("LEARNED_SALIENCY_CACHE", str(tmp_path / "cache"))

    def run(*words, out="out"):
        words = [f"checkpoint={fcam_run}", f"out={tmp_path}/{out}", *words]
        words = hydra_words(["packing=shards", "trainer.accelerator=cpu", *words])
        lines = []
        predict(compose_checked(words, CONFIG_NAME, complete=False), lines.append)
        return lines

    return run


def contents(path):
    """Members of each sample of a shard, by key and ending."""
    whole = path.read_bytes()
    return {
        sample.key: {e: whole[m.offset : m.offset + m.size] for e, m in sample.members.items()}
        for sample in read_samples(path)
    }


def state(folder):
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("*.tar")}


def test_each_shard_gives_one_with_the_same_keys_and_the_maps_of_its_images(
    tmp_path, fcam_run, shards, call
):
    lines = call(f"images={shards}", "arrays=true", "methods=[native,gradcam]")
    assert lines[-1] == "predict: shards: 4 asked for, 4 made, 0 there"
    photographs = tmp_path / "photos"
    photographs.mkdir()
    for number in range(12):
        (photographs / f"{number:06d}.png").write_bytes(encoded(photo(number)))
    words = [f"checkpoint={fcam_run}", f"images={photographs}", f"out={tmp_path}/plain"]
    words += ["trainer=cpu", "arrays=true", "methods=[native,gradcam]", "batch_size=3"]
    predict(compose_checked(hydra_words(words), CONFIG_NAME, complete=False), str)
    index = json.loads((tmp_path / "plain" / "predictions.json").read_text())
    for shard in range(4):
        found = contents(tmp_path / "out" / f"s-{shard}.tar")
        numbers = range(3 * shard, 3 * shard + 3)
        keys = [f"{number:06d}" for number in numbers]
        assert list(found) == keys + (["bad", "none"] if shard == 3 else [])
        for number, key in zip(numbers, keys, strict=True):
            record, plain = json.loads(found[key]["json"]), index["images"][number]
            assert record["predicted"] == plain["predicted"]
            for one, other in zip(record["maps"], plain["maps"], strict=True):
                assert one["box"] == other["box"]
                array = np.load(io.BytesIO(found[key][one["array"]]), allow_pickle=False)
                np.testing.assert_array_equal(array, np.load(tmp_path / "plain" / other["array"]))
            assert set(found[key]) == {
                *("json", "native.npy", "native.map.png", "gradcam.npy", "gradcam.map.png")
            }
        if shard == 3:
            assert json.loads(found["bad"]["json"])["reason"] == "no image of a known kind"
            assert json.loads(found["none"]["json"])["reason"] == "the sample has no image"


def test_an_interruption_leaves_whole_shards_and_a_repeated_call_makes_the_others(
    tmp_path, shards, call, monkeypatch
):
    call(f"images={shards}", out="whole")
    pack, packed = module._pack, []

    def interrupted(folder, target):
        packed.append(target)
        if len(packed) == 3:
            monkeypatch.setattr(module, "sample_key", None)  # fails in the middle of the shard
        pack(folder, target)

    monkeypatch.setattr(module, "_pack", interrupted)
    with pytest.raises(TypeError):
        call(f"images={shards}")
    there = state(tmp_path / "out")
    assert sorted(there) == ["s-0.tar", "s-1.tar"]
    assert len(list((tmp_path / "out").iterdir())) == 3
    monkeypatch.undo()
    lines = call(f"images={shards}")
    assert lines[-1] == "predict: shards: 4 asked for, 2 made, 2 there"
    after = state(tmp_path / "out")
    assert {name: after[name] for name in there} == there
    for name in after:
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_calls_share_the_shards_by_parts_and_by_claims(tmp_path, shards, call):
    assert call(f"images={shards}", "part=2/3")[-1].startswith(
        "predict: shards: 1 asked for, 1 made"
    )
    assert sorted(state(tmp_path / "out")) == ["s-1.tar"]
    claim = tmp_path / "out" / ".s-0.tar.claim"
    claim.touch()  # held by another call
    lines = call(f"images={shards}", "part=claim")
    assert lines[-1] == "predict: shards: 4 asked for, 2 made, 1 there, 1 being made by others"
    assert [path.name for path in (tmp_path / "out").glob(".*")] == [claim.name]


def test_what_was_asked_for_before_is_not_mixed_with_anything_else(tmp_path, shards, call):
    images = f"images={shards}/s-{{0..1}}.tar"
    call(images, "part=1/2")
    call(images, "batch_size=2", "part=1/2")  # which changes no map
    with pytest.raises(UserError, match="holds maps of another choice of methods, options"):
        call(images, "methods=[gradcam]")
    with pytest.raises(UserError, match="holds maps of another choice of style"):
        call(images, "arrays=true")
    with pytest.raises(UserError, match="holds maps of another choice of box_threshold"):
        call(images, "box_threshold=0.123")
    with pytest.raises(UserError, match="holds maps of another choice of sample_image"):
        call(images, "sample_image=png")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").touch()
    with pytest.raises(UserError, match="the folder holds other files"):
        call(images, out="other")


@pytest.mark.parametrize("left", ["asked.json", "asked.json.0.tmp"])
def test_calls_that_begin_at_once_do_not_refuse_each_other(tmp_path, monkeypatch, left):
    """Between the looks of one call at an empty folder, another one begins to note its choice."""
    folder, look = tmp_path / "out", Path.mkdir

    def mkdir(path, **options):
        look(path, **options)
        (folder / left).write_text('{"methods": ["native"]}')

    monkeypatch.setattr(Path, "mkdir", mkdir)
    module._open(folder, {"methods": ["native"]})
    assert json.loads((folder / "asked.json").read_text()) == {"methods": ["native"]}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["images=in/s-0.tar", "labels=coco"], "labels=coco: is for packing=files"),
        (["images=in/s-0.tar", "limit=2"], "limit=2: is for packing=files"),
        (["images=in/notes.txt"], "notes.txt: is no shard"),
        (["images=in/empty"], "there are no shards"),
        (["images=in/s-{0..9}.tar"], r"s-4\.tar: there is no such file"),
        (["images=[in/s-0.tar,in/s-0.tar]"], "s-0.tar is named twice"),
        (["images=in/s-0.tar", "packing=files", "part=1/2"], "give packing=shards"),
        (
            ["images=in/s-0.tar", "trainer=ddp", "trainer.precision=32-true", "trainer.devices=2"],
            "shared among calls",
        ),
    ],
)
def test_what_does_not_go_with_shards_is_refused(tmp_path, shards, call, monkeypatch, words, told):
    monkeypatch.chdir(tmp_path)
    (shards / "notes.txt").touch()
    (shards / "empty").mkdir()
    with pytest.raises(UserError, match=told):
        call(*words)


def test_a_damaged_shard_ends_the_call_and_leaves_nothing_of_it(tmp_path, shards, call):
    (shards / "s-1.tar").write_bytes((shards / "s-1.tar").read_bytes()[:3000])
    with pytest.raises(DataError, match=r"s-1\.tar: .*cut off"):
        call(f"images={shards}")
    assert sorted(state(tmp_path / "out")) == ["s-0.tar"]


def test_shards_without_an_image_that_can_be_read_end_as_a_failure(tmp_path, call):
    write_tar(tmp_path / "in" / "s.tar", [("bad.jpg", b"no image")])
    with pytest.raises(UserError, match="none of 1 images of these shards can be read"):
        call(f"images={tmp_path}/in/s.tar")
    assert "reason" in json.loads(contents(tmp_path / "out" / "s.tar")["bad"]["json"])


@pytest.mark.parametrize("packing", ["files", "shards"])
@pytest.mark.parametrize("name", ["../../escaped.png", "/{tmp}/escaped.png", "a/../../escaped.png"])
def test_a_member_whose_name_leads_out_of_the_output_is_refused(tmp_path, call, packing, name):
    name = name.replace("/{tmp}", str(tmp_path))
    write_tar(tmp_path / "in" / "s.tar", [(name, encoded(photo(0)))])
    with pytest.raises(DataError, match=r"s\.tar: member .*escaped\.png: its name leads out"):
        call(f"images={tmp_path}/in/s.tar", f"packing={packing}", out="some/out")
    assert not list(tmp_path.rglob("*escaped*"))


def test_shards_of_a_web_server_are_explained(tmp_path, shards, call):
    with served(shards) as (address, asked, _):
        call(f"images={address}/s-{{0..1}}.tar")
        assert asked == ["/s-0.tar", "/s-1.tar"]
    call(f"images={shards}/s-0.tar", out="local")
    one, other = (tmp_path / folder / "s-0.tar" for folder in ("out", "local"))
    assert one.read_bytes() == other.read_bytes()


def test_images_of_shards_are_explained_into_a_folder_too(tmp_path, shards, fcam_run):
    words = [f"checkpoint={fcam_run}", f"images={shards}", f"out={tmp_path}/maps", "trainer=cpu"]
    predict(compose_checked(hydra_words(words), CONFIG_NAME, complete=False), str)
    index = json.loads((tmp_path / "maps" / "predictions.json").read_text())
    assert [record["image"] for record in index["images"][:2]] == [
        "s-0.tar/000000.png",
        "s-0.tar/000001.png",
    ]
    assert [record["image"] for record in index["skipped"]] == [
        "s-3.tar/bad.jpg",
        "s-3.tar/none.json",
    ]
    assert (tmp_path / "maps" / "s-0.tar" / "000000.png.native.png").is_file()
