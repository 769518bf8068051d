"""The writer of shards: what data=webdataset reads of them is what the other reader gave."""

import json
import os

import pytest
import torch

from learned_saliency.datamodules import DataError, read_samples
from learned_saliency.pipeline.cli import UserError, compose_checked
from learned_saliency.pipeline.commands import console
from learned_saliency.pipeline.data import Severity, examine
from learned_saliency.pipeline.data.sharding import write_shards
from learned_saliency.pipeline.runs import build_data, create_data, make_data
from tests.support import downloads
from tests.support.commands import run_command
from tests.support.deep_images import write_planes
from tests.support.small_set import photograph

SMALL = ["data.resize_size=40", "data.crop_size=32", "data.batch_size=4", "data.num_workers=0"]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LEARNED_SALIENCY_CACHE", str(tmp_path / "cache"))


def words_of(name, place):
    root, words = getattr(downloads, name)(place)
    return [f"data={name}", f"data.root={root}", f"data.metadata={place}/made", *SMALL, *words]


def write(words, out, *options):
    config = compose_checked([*words, f"out={out}", *options], "shard")
    data = create_data(config)
    make_data(data, None)
    out.mkdir(exist_ok=True)
    return write_shards(data, out, config)


def read(out, *words):
    words = ["data=webdataset", f"data.root={out}", *SMALL, *words]
    return build_data(compose_checked(words, "doctor"))


def notes(out, split):
    """JSON members of a split's shards, in their order."""
    found = []
    for path in sorted(out.glob(f"{split}-*.tar")):
        content = path.read_bytes()
        for sample in read_samples(path):
            member = sample.members["json"]
            found.append(json.loads(content[member.offset : member.offset + member.size]))
    return found


@pytest.mark.parametrize("name", ["cub", "imagenet", "openimages", "pets", "parquet"])
def test_shards_give_the_same_images_labels_boxes_and_masks(tmp_path, name):
    words, out = words_of(name, tmp_path), tmp_path / "shards"
    written = write(words, out, "shard_images=3")
    before, after = build_data(compose_checked(words, "doctor")), read(out)
    assert before.class_names == after.class_names
    for split in ("val", "test"):
        assert before.supervision(split) == after.supervision(split)
        batches = zip(before.dataloader(split), after.dataloader(split), strict=True)
        for one, other in batches:
            assert one.keys() == other.keys()
            for key in one.keys() & {"image", "label", "mask"}:
                assert torch.equal(one[key], other[key])
            for pair in zip(one.get("boxes", []), other.get("boxes", []), strict=True):
                assert torch.equal(*pair)
        assert [note["id"] for note in notes(out, split)] == before.image_ids(split)
    told = notes(out, "train")
    assert not any("boxes" in note for note in told)  # a training sees none
    labels = dict(zip(before.image_ids("train"), before.labels("train").tolist(), strict=True))
    assert {note["id"]: note["label"] for note in told} == labels
    assert after.labels("train").tolist() == [note["label"] for note in told]
    count = len(before.image_ids("train"))
    assert written["train"] == (count, -(-count // 3), 0)


def test_training_images_are_shuffled_by_the_seed_and_others_are_not(tmp_path):
    words = words_of("imagenet", tmp_path)
    orders = {}
    for out, options in {"a": [], "b": [], "c": ["seed=1"], "d": ["shuffle=false"]}.items():
        write(words, tmp_path / out, *options)
        orders[out] = [note["id"] for note in notes(tmp_path / out, "train")]
    assert orders["a"] == orders["b"] != orders["c"]
    assert sorted(orders["a"]) == sorted(orders["c"]) == sorted(orders["d"])
    assert orders["d"] == build_data(compose_checked(words, "doctor")).image_ids("train")


def test_a_shard_ends_before_it_is_too_large(tmp_path):
    words, out = words_of("imagenet", tmp_path), tmp_path / "shards"
    write(words, out, "shard_mb=0.012")
    sizes = [path.stat().st_size for path in sorted(out.glob("train-*.tar"))]
    assert len(sizes) > 1
    assert max(sizes) < 12_000 + 10_240  # with the end that a tar file has


def test_an_interruption_leaves_whole_shards_and_a_repeated_call_writes_the_others(tmp_path):
    words, whole, out = words_of("imagenet", tmp_path), tmp_path / "whole", tmp_path / "shards"
    write(words, whole, "shard_images=2")
    damaged = sorted((tmp_path / "set" if (tmp_path / "set").exists() else tmp_path).rglob("*"))
    victim = notes(whole, "train")[4]["id"]
    (path,) = [path for path in damaged if path.as_posix().endswith(victim)]
    content = path.read_bytes()
    path.write_bytes(b"no image")
    with pytest.raises(DataError, match="the image cannot be read"):
        write(words, out, "shard_images=2")
    there = sorted(file.name for file in out.iterdir())
    assert there == ["shards.json", "train-000000.tar", "train-000001.tar"]
    path.write_bytes(content)
    times = {file.name: file.stat().st_mtime_ns for file in out.glob("*.tar")}
    (out / "train-000000.tar").unlink()
    written = write(words, out, "shard_images=2")
    assert written["train"].kept == 1
    assert (out / "train-000001.tar").stat().st_mtime_ns == times["train-000001.tar"]
    for file in whole.glob("*.tar"):
        assert (out / file.name).read_bytes() == file.read_bytes()
    assert len(list(out.iterdir())) == len(list(whole.iterdir()))


def test_shards_of_other_settings_are_not_continued(tmp_path):
    words, out = words_of("imagenet", tmp_path), tmp_path / "shards"
    write(words, out, "splits=[val]")
    with pytest.raises(UserError, match=r"written with options .*; repeat these"):
        write(words, out, "seed=1")
    with pytest.raises(UserError, match="written with name imagenet"):
        write([*words, "data.name=other"], out)
    labels = tmp_path / "made" / "val" / "class_labels.txt"
    state = labels.stat()
    labels.write_text(labels.read_text().replace(",0", ",1"))
    os.utime(labels, ns=(state.st_atime_ns, state.st_mtime_ns))
    with pytest.raises(UserError, match="shards of val of other images, labels or boxes"):
        write(words, out)


def test_the_command_writes_checks_and_names_a_broken_member(tmp_path, monkeypatch, capsys):
    words, out = words_of("openimages", tmp_path), tmp_path / "shards"
    called = ["learned-saliency", "data", "shard", "openimages", *words[1:], f"out={out}"]
    monkeypatch.setattr("sys.argv", called)
    console()
    told = capsys.readouterr().out.splitlines()
    assert told[-1] == str(out / "shards.json")
    assert told[0].startswith("train: ")
    config = compose_checked(
        ["data=webdataset", f"data.root={out}", f"output_dir={tmp_path}/report"], "doctor"
    )
    (tmp_path / "report").mkdir()
    (out / "gone").symlink_to(out / "nowhere")
    found = examine(config, tmp_path / "report")
    assert found.findings.count(Severity.ERROR) == 0
    (member,) = [s.members for s in read_samples(out / "val-000000.tar")][:1]
    content = bytearray((out / "val-000000.tar").read_bytes())
    for place in (member["jpg"], next(m for e, m in member.items() if e.startswith("mask"))):
        content[place.offset : place.offset + place.size] = bytes(place.size)
    (out / "val-000000.tar").write_bytes(content)
    found = examine(config, tmp_path / "report")
    told = [str(finding) for finding in found.findings]
    for place in ("image", "mask"):
        assert any(f"{out}/val-000000.tar: member 0000" in line for line in told), place
    assert {"image-damaged", "mask-damaged"} <= {finding.kind for finding in found.findings}


def test_a_folder_of_other_files_is_left_alone(tmp_path):
    words, out = words_of("imagenet", tmp_path), tmp_path / "shards"
    out.mkdir()
    (out / "mine.txt").touch()
    answer = run_command("shard", *words, f"out={out}")
    assert answer.returncode == 2
    assert "the folder holds other files" in answer.stderr
    assert [path.name for path in out.iterdir()] == ["mine.txt"]
    assert "give the folder of the shards" in run_command("shard", *words).stderr
    answer = run_command("shard", *words, "data.task=multilabel", f"out={tmp_path}/other")
    assert "data.task=multilabel: a sample of a shard has one class" in answer.stderr
    answer = run_command("shard", *words, "data.classes=[0]", f"out={tmp_path}/other")
    assert "data.classes: shards hold the whole data set" in answer.stderr
    assert not (tmp_path / "other").exists()


def test_images_outside_of_the_root_are_not_copied(small_set):
    place = [f"data.root={small_set.root}", f"data.metadata={small_set.metadata}"]
    small_set.save("../secret.jpg", photograph(50))
    for name, line in (("image_ids", "../secret.jpg"), ("class_labels", "../secret.jpg,0")):
        small_set.append(f"train/{name}.txt", line)
    with pytest.raises(DataError, match=r"image_ids\.txt, line 7: .*lies outside of"):
        write(["data=wsol", *place, *SMALL], small_set.folder / "shards")
    assert not list((small_set.folder / "shards").iterdir())


def test_images_of_several_channels_keep_them_in_shards(tmp_path):
    pytest.importorskip("tifffile")
    places = {suffix: tmp_path / suffix[1:] for suffix in (".tif", ".npy")}
    own = ["data.channels=4", "data.mean=[.5,.5,.5,.5]", "data.std=[.2,.2,.2,.2]"]
    words = {}
    for suffix, root in places.items():
        write_planes(root, {"train": 10, "val": 2, "test": 2}, suffix=suffix)
        place = [f"data.root={root}", f"data.metadata={root}/metadata"]
        words[suffix] = ["data=wsol", *place, *SMALL, *own]
    write(words[".tif"], tmp_path / "shards")
    before = build_data(compose_checked(words[".tif"], "doctor"))
    for split in ("val", "test"):
        after = read(tmp_path / "shards", *own).dataloader(split)
        for one, other in zip(before.dataloader(split), after, strict=True):
            assert torch.equal(one["image"], other["image"])
    write(words[".tif"], tmp_path / "alone", "splits=[train]")
    drawn = "data.reader.val_fraction=0.2", "data.reader.test_fraction=0.2"
    data = read(tmp_path / "alone", *own, *drawn)
    assert [len(data.image_ids(split)) for split in ("train", "val", "test")] == [6, 2, 2]
    with pytest.raises(DataError, match=r"\.npy: shards do not hold images of this kind"):
        write(words[".npy"], tmp_path / "arrays")
