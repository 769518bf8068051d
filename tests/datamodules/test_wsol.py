import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import functional

from learned_saliency.datamodules import DataError, WSOLDataModule
from learned_saliency.datamodules import sampler as sampler_module
from learned_saliency.datamodules.readers import SplitReader
from tests.support.tiny import add_masks, tiny_data, train_images


def test_training_batches_hold_images_labels_and_ids_only(tiny):
    data = tiny_data(tiny())
    data.setup("fit")
    batches = list(data.train_dataloader())
    assert [len(batch["label"]) for batch in batches] == [4, 4, 3]
    assert sorted(image_id for batch in batches for image_id in batch["image_id"]) == sorted(
        f"train/{i}.png" for i in range(11)
    )
    for batch in batches:
        assert set(batch) == {"image", "label", "image_id", "index"}
        assert batch["image"].shape[1:] == (3, 8, 8)
        assert batch["image"].dtype == torch.float32
        assert batch["label"].dtype == torch.int64
        numbers = [int(image_id[6:-4]) for image_id in batch["image_id"]]
        assert batch["label"].tolist() == [number % 3 for number in numbers]


def test_evaluation_batches_are_in_order_with_images_and_boxes_resized(tiny):
    folder = tiny()
    data = tiny_data(folder, mean=(0.5, 0.4, 0.3), std=(0.1, 0.2, 0.3))
    data.setup("test")
    batches = list(data.test_dataloader())
    assert batches[0]["image_id"] == [f"test/{i}.png" for i in range(3)]
    assert [len(batch["label"]) for batch in batches] == [3, 3, 1]
    assert "mask" not in batches[0]
    for i in range(7):
        batch, row = batches[i // 3], i % 3
        # 12x10 pixels become 8x8
        expected = torch.tensor([[i * 8 // 12, 8 // 10, (i + 4) * 8 // 12, 8 * 8 // 10]])
        torch.testing.assert_close(batch["boxes"][row], expected)
        image = functional.resize(Image.open(folder / "test" / f"{i}.png"), [8, 8])
        image = functional.normalize(functional.to_tensor(image), (0.5, 0.4, 0.3), (0.1, 0.2, 0.3))
        torch.testing.assert_close(batch["image"][row], image, rtol=1e-5, atol=1e-5)


def test_masks_and_several_boxes_come_with_their_images(tiny):
    folder = tiny()
    add_masks(folder)
    boxes = folder / "metadata" / "val" / "localization.txt"
    boxes.write_text("val/3.png,0,0,11,9\n" + boxes.read_text() + "val/1.png,6,5,9,9\n")
    data = tiny_data(folder, crop_size=10)
    data.setup("validate")
    first, second = data.val_dataloader()
    assert first["mask"].dtype == torch.uint8
    assert first["mask"].shape == (3, 10, 10)
    columns = np.arange(10) * 12 // 10
    expected = torch.zeros(10, 10, dtype=torch.uint8)
    expected[2:5] = torch.from_numpy((columns >= 1) & (columns < 5))
    torch.testing.assert_close(first["mask"][1], expected)
    assert first["boxes"][1].tolist() == [[0, 1, 4, 8], [5, 5, 7, 9]]
    assert second["boxes"][0].tolist() == [[0, 0, 9, 9], [2, 1, 5, 8]]
    assert data.supervision("val") == {"split": "val", "images": 5, "boxes": 7, "masks": 5}
    assert data.has_masks("val")
    assert data.has_boxes("val")


def test_masks_without_any_object_are_told(tiny, recwarn):
    folder = tiny()
    add_masks(folder)
    for i in range(4):
        Image.new("L", (12, 10)).save(folder / f"val/mask{i}.png")
    tiny_data(folder).setup("validate")
    assert not recwarn
    Image.new("L", (12, 10)).save(folder / "val/mask4.png")
    with pytest.warns(UserWarning, match=r"val/masks.txt: no pixel of its 5 first masks is object"):
        tiny_data(folder).setup("validate")


def test_a_split_with_masks_alone_has_no_boxes(tiny):
    folder = tiny()
    add_masks(folder)
    (folder / "metadata/val/masks.txt").replace(folder / "metadata/val/localization.txt")
    data = tiny_data(folder)
    data.setup("validate")
    assert "boxes" not in next(iter(data.val_dataloader()))
    assert not data.has_boxes("val")
    assert data.supervision("val")["masks"] == 5


def test_training_boxes_are_never_seen(tiny):
    folder = tiny()
    (folder / "metadata/train/localization.txt").write_text("not even a box")
    data = tiny_data(folder)
    data.setup()
    assert not data.has_boxes("train")
    assert data.supervision("train") == {"split": "train", "images": 11, "boxes": 0, "masks": 0}
    batch = next(iter(data.dataloader("train")))
    assert set(batch) == {"image", "label", "image_id", "index"}
    assert batch["image_id"] == ["train/0.png", "train/1.png", "train/2.png"]


def test_workers_caching_and_processes_change_no_pixel(tiny, monkeypatch):
    folder = tiny()
    add_masks(folder)
    plain = tiny_data(folder)
    plain.setup("fit")
    expected = train_images(plain, epoch=2)
    evaluation = list(plain.val_dataloader())
    for options in (
        {"num_workers": 2},
        {"cache": "memory"},
        {"batch_size": 7},
        {"cache": "disk", "num_workers": 2},
    ):
        data = tiny_data(folder, cache_folder=folder.parent / "kept", **options)
        data.setup("fit")
        images = train_images(data, epoch=2)
        assert list(images) == list(expected)
        torch.testing.assert_close(images, expected, rtol=0, atol=0)
        for batch, other in zip(data.val_dataloader(), evaluation, strict=True):
            assert batch.pop("image_id") == other["image_id"]
            for key, value in batch.items():
                torch.testing.assert_close(value, other[key], rtol=0, atol=0)
    for rank in range(3):
        process = {"rank": rank, "num_replicas": 3}
        monkeypatch.setattr(sampler_module, "_process", lambda process=process: process)
        share = train_images(plain, epoch=2)
        assert len(share) == 4
        torch.testing.assert_close(share, {key: expected[key] for key in share}, rtol=0, atol=0)


def test_permuted_labels_are_those_of_other_training_images_and_no_others(tiny):
    folder = tiny()
    found = {}
    for seed in (None, 0, 0, 1):
        data = tiny_data(folder, permute_labels=seed)
        data.setup("fit")
        found.setdefault(seed, []).append(data.labels("train"))
        assert data.labels("val").tolist() == [i % 3 for i in range(len(data.labels("val")))]
        (batch,) = [b for b in data.dataloader("train") if 0 in b["index"]]
        assert batch["label"][0] == data.labels("train")[0]
        assert data.state_dict()["train"] == data._split("train").digest()
    (plain,), (first, again), (other,) = found.values()
    assert first.tolist() == again.tolist() != plain.tolist()
    assert first.tolist() != other.tolist()
    assert sorted(first) == sorted(other) == sorted(plain)


def test_train_fraction_shortens_the_epoch(tiny):
    data = tiny_data(tiny(), train_fraction=0.5, batch_size=2)
    data.setup("fit")
    assert len(train_images(data)) == 6
    assert len(data.train_dataloader()) == 3


def test_classes_are_counted_and_named(tiny):
    folder = tiny()
    data = tiny_data(folder)
    data.setup("test")  # counts the training labels, which are not set up
    assert data.num_classes == 3
    assert data.class_names == ["0", "1", "2"]
    (folder / "metadata/class_names.txt").write_text("0,cat\n1,dog\n2,emu\n3,fox\n")
    data = tiny_data(folder)
    data.setup("fit")
    assert data.class_names == ["cat", "dog", "emu", "fox"]
    with pytest.raises(DataError, match=r"class_labels.txt, line 3: label 2 is out of range 0..1"):
        tiny_data(folder, num_classes=2, class_names=["a", "b"]).setup("fit")


def test_relative_paths_and_home_work(tiny, monkeypatch):
    folder = tiny()
    monkeypatch.chdir(folder.parent)
    monkeypatch.setenv("HOME", str(folder.parent))
    data = WSOLDataModule("tiny", "~/tiny/metadata", resize_size=8, crop_size=8)
    data.setup("fit")
    monkeypatch.chdir("/")
    assert len(next(iter(data.val_dataloader()))["label"]) == 5


def test_reader_runs_before_anything_is_read(tiny, tmp_path):
    class Reader:
        calls = 0

        def prepare(self, root, metadata):
            self.calls += 1
            if not root.exists():
                tiny(root)

    reader = Reader()
    data = tiny_data(tmp_path / "made", reader=reader)
    data.make("fit")
    data.setup("fit")
    data.prepare_data()  # Lightning's call, when all is there
    assert reader.calls == 1
    tiny_data(tmp_path / "made", reader=reader).prepare_data()
    assert reader.calls == 2
    assert data.supervision("train")["images"] == 11


@pytest.mark.parametrize(
    ("stage", "splits"),
    [
        ("fit", ("train", "val")),
        ("validate", ("val",)),
        ("test", ("test",)),
        (None, ("train", "val", "test")),
    ],
)
def test_a_reader_makes_the_splits_of_the_stage_alone(tmp_path, stage, splits):
    class Noted(SplitReader):
        def prepare_splits(self, root, metadata, splits):
            self.made = tuple(splits)

    reader = Noted()
    tiny_data(tmp_path, reader=reader).make(stage)
    assert reader.made == splits


def _replace_name(folder, split, name, other):
    for file in (folder / "metadata" / split).iterdir():
        file.write_text(file.read_text().replace(name, other))


def test_images_lie_as_the_data_set_declares(tiny):
    folder = tiny()
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    with Image.open(folder / "val/1.png") as image:
        pixels = np.asarray(image)
        image.save(folder / "val/1.png", exif=exif)
    stored = tiny_data(folder, resize_size=60, crop_size=60, mean=(0, 0, 0), std=(1, 1, 1))
    stored.setup("validate")
    seen = tiny_data(folder, exif_orientation=True)
    with pytest.raises(DataError, match=r"line 2: val/1.png is 10x12 pixels large, not 12x10"):
        seen.setup("validate")
    _replace_name(folder, "val", "val/1.png,12,10", "val/1.png,10,12")
    options = {"resize_size": 60, "crop_size": 60, "mean": (0, 0, 0), "std": (1, 1, 1)}
    seen = tiny_data(folder, exif_orientation=True, **options)
    seen.setup("validate")
    for data, expected in ((stored, pixels), (seen, np.rot90(pixels, -1))):
        image = next(iter(data.val_dataloader()))["image"][1]
        resized = functional.resize(Image.fromarray(expected), [60, 60])
        torch.testing.assert_close(image, functional.to_tensor(resized), atol=1e-6, rtol=0)
