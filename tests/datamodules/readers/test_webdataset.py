import json
import os
import pickle

import numpy as np
import pytest
import torch

from learned_saliency.datamodules import DataError, ImageError, WebDatasetReader, WSOLDataModule
from learned_saliency.datamodules.metadata import read_split
from tests.support.photos import photo
from tests.support.tarred import encoded, mask, sample, served, shard_set, write_tar


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LEARNED_SALIENCY_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def root(tmp_path):
    return shard_set(tmp_path / "set")


def module(root, metadata, reader, **options):
    data = WSOLDataModule(
        *(root, metadata), reader=reader, resize_size=48, crop_size=36, batch_size=4, **options
    )
    data.prepare_data()
    data.setup()
    return data


def prepared(root, **options):
    folder = root.parent / "metadata"
    WebDatasetReader(**options).prepare(root, folder)
    there = [split for split in ("train", "val", "test") if (folder / split).is_dir()]
    return {split: read_split(folder / split, localization=split != "train") for split in there}


@pytest.mark.parametrize("workers", [0, 2])
def test_shards_are_a_data_set_with_boxes_and_masks(root, workers):
    data = module(root, root.parent / "metadata", WebDatasetReader(), num_workers=workers)
    assert data.class_names == ["a", "b"]
    assert data.supervision("train") == {"split": "train", "images": 24, "boxes": 0, "masks": 0}
    assert data.supervision("test") == {"split": "test", "images": 6, "boxes": 6, "masks": 6}
    batches = list(data.test_dataloader())
    assert [name for batch in batches for name in batch["image_id"]] == [
        f"test-{(n - 30) // 3:06d}.tar/{n:06d}.png" for n in range(30, 36)
    ]
    first = batches[0]
    assert first["label"].tolist() == [0, 1, 0, 1]
    # sample 31: its image is 48 pixels wide and shown 36 pixels wide
    assert first["boxes"][1].tolist() == [[int(1 * 36 / 48), 3, int(31 * 36 / 48), 30]]
    expected = np.asarray(photo(31).resize((36, 36), 2))
    pixels = first["image"][1] * data_std() + data_mean()
    assert (pixels.permute(1, 2, 0) * 255 - torch.tensor(expected)).abs().max() < 1
    seen = [name for batch in data.train_dataloader() for name in batch["image_id"]]
    assert sorted(seen) == sorted(data.image_ids("train"))


def data_mean():
    return torch.tensor([0.485, 0.456, 0.406])[:, None, None]


def data_std():
    return torch.tensor([0.229, 0.224, 0.225])[:, None, None]


class Bomb:
    """Object whose unpickling writes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_members_of_other_kinds_are_never_decoded(tmp_path):
    trap = tmp_path / "trap"
    members = []
    for number in range(6):
        members += sample(number, number % 2)
        key = f"{number:06d}"
        for ending in ("pyd", "pickle", "pth", "cls.pyd", "index.pkl"):
            members.append((f"{key}.{ending}", pickle.dumps(Bomb(trap))))
        members.append((f"{key}.npy", b"\x93NUMPY" + pickle.dumps(Bomb(trap))))
    for split in ("train", "val", "test"):
        write_tar(tmp_path / "set" / f"{split}.tar", members)
    data = module(tmp_path / "set", tmp_path / "metadata", WebDatasetReader())
    assert len(list(data.train_dataloader())) == 2
    assert not trap.exists()


@pytest.mark.parametrize("word", ["pipe:touch trap", "s3://bucket/set", "file:///set"])
def test_a_root_that_would_start_a_program_or_is_not_read_is_refused(tmp_path, word, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="shards are read from disk and from https"):
        WSOLDataModule(word, tmp_path / "metadata", reader=WebDatasetReader(train="a.tar"))
    assert not (tmp_path / "trap").exists()


def test_metadata_are_made_anew_only_when_shards_change(root):
    folder = root.parent / "metadata"
    prepared(root)
    before = (folder / "train" / "image_ids.txt").stat().st_mtime_ns
    prepared(root)
    assert (folder / "train" / "image_ids.txt").stat().st_mtime_ns == before
    write_tar(root / "train-000003.tar", sample(90, 1))
    assert prepared(root)["train"].image_ids[-1] == "train-000003.tar/000090.png"


def test_a_shard_that_has_changed_changes_the_digest_of_its_split(root):
    data = module(root, root.parent / "metadata", WebDatasetReader())
    before = {split: data.digest(split) for split in ("val", "test")}
    os.utime(root / "test-000001.tar", (1, 1))
    assert data.digest("val") == before["val"]
    assert data.digest("test") != before["test"]


def test_labels_are_numbers_or_names_of_cls_or_of_a_key(tmp_path):
    kinds = {
        "numbers": [(0, {}), (2, {}), (1, {})],
        "told": [(0, {"class": "x"}), (2, {"class": "y"}), (1, {"class": "z"})],
        "names": [("dog", {}), ("cat", {}), ("emu", {})],
        "notes": [(None, {"label": 0}), (None, {"label": "2"}), (None, {"label": 1})],
        "key": [(9, {"kind": "b"}), (9, {"kind": "a"}), (9, {"kind": "c"})],
    }
    found = {}
    for kind, labels in kinds.items():
        root = tmp_path / kind / "set"
        write_tar(
            root / "train.tar",
            [m for n, (label, note) in enumerate(labels) for m in sample(n, label, **note)],
        )
        options = {"label": "kind"} if kind == "key" else {}
        split = prepared(root, **options)["train"]
        names = (root.parent / "metadata" / "class_names.txt").read_text().split()
        found[kind] = split.labels.tolist(), [line.partition(",")[2] for line in names]
    assert found == {
        "numbers": ([0, 2, 1], ["0", "1", "2"]),
        "told": ([0, 2, 1], ["x", "z", "y"]),
        "names": ([1, 0, 2], ["cat", "dog", "emu"]),
        "notes": ([0, 2, 1], ["0", "1", "2"]),
        "key": ([1, 0, 2], ["a", "b", "c"]),
    }


def test_class_names_beside_the_shards_count(root):
    prepared(root)  # without them; they count whenever they come
    (root / "class_names.txt").write_text("0,first\n1,second\n2,third\n")
    prepared(root)
    text = (root.parent / "metadata" / "class_names.txt").read_text()
    assert text == "0,first\n1,second\n2,third\n"


FAULTS = {
    "no class": (sample(50), r"member 000050\.png: the sample has no class"),
    "empty class": ([*sample(50), ("000050.cls", b" \n")], r"member 000050\.cls: .* no class"),
    "no text": ([*sample(50), ("000050.cls", b"\xff\xfe")], r"member 000050\.cls: .* no class"),
    "no image": ([("000050.cls", b"1")], r"member 000050\.cls: the sample has no image"),
    "far class": (sample(50, 7, **{"class": "a"}), r"000050.*its class 7 is none of the 3 classes"),
    "endless": (sample(50, 10**17), r"000050.*its class 1000.* is none of the 100000 classes"),
    "mixed": (sample(50, "dog"), r"member 000050\.png: its class is a name, 'dog'"),
    "no JSON": ([*sample(50, 1), ("000050.json", b"{")], r"member 000050\.json: is no JSON"),
    "a list": ([*sample(50, 1), ("000050.json", b"[1]")], r"member 000050\.json: is no JSON obj"),
    "inverted": (sample(50, 1, boxes=[[9, 3, 5, 6]]), r"000050\.json: the box 9,3,5,6 is inverted"),
    "outside": (
        sample(50, 1, boxes=[[1, 2, 60, 6]], width=48, height=36),
        r"000050\.json: the box 1,2,60,6 reaches out of the image",
    ),
    "no box": (sample(50, 1, boxes=[[1, 2, 3]]), r"000050\.json: the box \[1, 2, 3\] is not four"),
    "size": (sample(50, 1, width=0, height=9), r"000050\.json: width and height are no whole"),
    "ignore": (
        [*sample(50, 1), *mask(50, (0, 0, 5, 5), kind="ignore")],
        r"member 000050\.ignore\.png: the sample has more ignore masks",
    ),
    "twice": ([*sample(50, 1), *sample(51, 1), *sample(50, 1)], r"000050\.png: the key 000050 has"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_named_with_shard_and_member(root, fault):
    members, told = FAULTS[fault]
    if fault == "far class":
        (root / "class_names.txt").write_text("0,a\n1,b\n2,c\n")
    write_tar(root / "val-000009.tar", members)
    with pytest.raises(DataError, match=rf"/val-000009\.tar: .*{told}"):
        prepared(root)


def test_all_faults_are_told_at_once(root):
    write_tar(root / "train-000009.tar", [*sample(50), *sample(51, 1), *sample(52)])
    with pytest.raises(DataError, match=r"000050.*Further faults: .*000052\.png"):
        prepared(root)


def test_a_broken_image_is_named_by_the_check_before_training(root):
    write_tar(root / "train-000009.tar", [("000050.png", b"no image"), ("000050.cls", b"1")])
    with pytest.raises(DataError, match=r"train-000009\.tar: member 000050\.png does not decode"):
        module(root, root.parent / "metadata", WebDatasetReader())


def test_splits_are_named_by_patterns_or_drawn(tmp_path):
    root = tmp_path / "set"
    for shard in range(3):
        numbers = range(10 * shard, 10 * shard + 10)
        write_tar(root / f"s{shard}.tar", [m for n in numbers for m in sample(n, n % 2)])
    with pytest.raises(DataError, match=r"s0\.tar: neither its name nor its folder tells"):
        prepared(root)
    found = prepared(root, train="s{0..1}.tar", val=["s2.tar"])
    assert {split: len(rows) for split, rows in found.items()} == {"train": 20, "val": 10}
    drawn = prepared(root, train="*.tar", val_fraction=0.2, test_fraction=0.3)
    assert {split: len(rows) for split, rows in drawn.items()} == {
        "train": 16,
        "val": 6,
        "test": 8,
    }
    everything = [name for rows in drawn.values() for name in rows.image_ids]
    assert len(set(everything)) == 30
    with pytest.raises(DataError, match=r"s1\.tar: is in train and in val"):
        prepared(root, train="*.tar", val="s1.tar")


def test_several_masks_and_regions_to_ignore_are_read_from_members(tmp_path):
    parts = [mask(0, (0, 0, 12, 36), kind="mask.0"), mask(0, (36, 0, 48, 36), kind="mask.1")]
    parts.append(mask(0, (12, 0, 24, 36), kind="ignore"))
    members = [*sample(0, 0), *(member for part in parts for member in part)]
    for split in ("train", "val", "test"):
        write_tar(tmp_path / "set" / f"{split}.tar", members)
    data = module(tmp_path / "set", tmp_path / "metadata", WebDatasetReader())
    (batch,) = data.test_dataloader()
    row = [1] * 9 + [255] * 9 + [0] * 9 + [1] * 9
    assert batch["mask"][0].tolist() == [row] * 36


def test_what_the_writer_of_shards_has_noted_has_to_agree(root):
    (root / "shards.json").write_text(json.dumps({"facts": {"exif_orientation": True}}))
    with pytest.raises(DataError, match=r"shards\.json: .* set data\.exif_orientation=true"):
        prepared(root)
    prepared(root, exif_orientation=True)
    (root / "shards.json").write_text("{")
    with pytest.raises(DataError, match=r"shards\.json: is damaged"):
        prepared(root)


def test_shards_of_a_web_server_are_fetched_and_read_in_windows(root, tmp_path):
    names = {split: f"{split}-{{000000..000001}}.tar" for split in ("train", "val", "test")}
    with served(root) as (address, asked, _):
        data = module(address, tmp_path / "made", WebDatasetReader(**names))
        assert len(asked) == 6
        sampler = data.train_dataloader().sampler
        assert sampler._window == 4096
        seen = [name for batch in data.train_dataloader() for name in batch["image_id"]]
        assert len(set(seen)) == 16
        assert len(asked) == 6
    local = module(root, tmp_path / "local", WebDatasetReader())
    for one, other in zip(data.test_dataloader(), local.test_dataloader(), strict=True):
        assert torch.equal(one["image"], other["image"])
        assert torch.equal(one["mask"], other["mask"])


def test_a_checkpoint_that_names_an_address_fetches_nothing(root, tmp_path):
    reader = WebDatasetReader(train="train-000000.tar", val="val-000000.tar")
    with served(root) as (address, asked, _):
        data = WSOLDataModule(address, tmp_path / "made", reader=reader, read_only=True)
        data.prepare_data()
        assert not asked
        opened = data.reader.at(data.root)
        with pytest.raises(DataError, match=f"say data.root={address} yourself"):
            opened.open("train-000000.tar/000000.png")
        assert not asked


def test_an_address_needs_names_of_shards(tmp_path):
    with served(tmp_path) as (address, _, _), pytest.raises(DataError, match="does not list"):
        module(address, tmp_path / "made", WebDatasetReader())


def test_the_order_is_mixed_in_a_window_where_asked_for(root):
    data = module(root, root.parent / "metadata", WebDatasetReader(shuffle_window=1))
    seen = [name for batch in data.train_dataloader() for name in batch["image_id"]]
    assert len(set(seen)) == 24
    plain = module(root, root.parent / "metadata", WebDatasetReader())
    assert seen != [name for batch in plain.train_dataloader() for name in batch["image_id"]]


def test_ids_of_no_member_are_refused(root):
    opened = WebDatasetReader().at(root)
    assert opened.open("train-000000.tar/000003.png") == encoded(photo(3))
    with pytest.raises(ImageError, match="no such member"):
        pickle.loads(pickle.dumps(opened)).open("train-000000.tar/no.png")


def test_options_out_of_range_are_refused():
    with pytest.raises(ValueError, match="fractions"):
        WebDatasetReader(val_fraction=1.0)
    for wrong in ({"keep_gb": 0}, {"shuffle_window": 0}):
        with pytest.raises(ValueError, match="keep_gb above 0 and shuffle_window of 1 or more"):
            WebDatasetReader(**wrong)
