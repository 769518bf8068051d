import numpy as np
import pytest
import torch

from learned_saliency.datamodules import DataError, WSOLDataModule, read_regression_split
from tests.support.valued import write_valued_set

COUNTS = {"train": 5, "val": 3, "test": 2}


def _data(folder):
    return WSOLDataModule(
        folder / "images",
        folder / "metadata",
        task="regression",
        resize_size=12,
        crop_size=12,
        batch_size=4,
    )


def test_a_sample_is_an_image_with_one_of_its_values(tmp_path):
    write_valued_set(tmp_path, COUNTS)
    data = _data(tmp_path)
    data.setup("fit")
    assert (data.num_classes, data.class_names) == (2, ["area", "brightness"])
    batches = list(data.val_dataloader())
    ids = [name for batch in batches for name in batch["image_id"]]
    assert ids[:3] == ["val/0#0.png", "val/0#1.png", "val/1#0.png"]
    joined = {k: torch.cat([b[k] for b in batches]) for k in ("label", "values", "first")}
    assert joined["label"].tolist() == [0, 1] * 3
    assert joined["first"].tolist() == [True, False] * 3
    np.testing.assert_allclose(joined["values"][::2], data.values("val")[::2], rtol=1e-6)
    boxes = [box.tolist() for batch in batches for box in batch["boxes"]]
    assert boxes[::2] == boxes[1::2]
    counted = {"split": "val", "images": 3, "samples": 6, "boxes": 3, "masks": 0}
    assert data.supervision("val") == counted
    assert data.supervision("train") == {"split": "train", "images": 5, "boxes": 0, "masks": 0}
    (first, _) = data.train_dataloader()
    assert set(first["label"].tolist()) <= {0, 1}
    assert first["values"].shape == (4, 2)


def test_an_image_with_one_value_is_one_sample(tmp_path):
    write_valued_set(tmp_path, COUNTS, values=1)
    split = read_regression_split(tmp_path / "metadata" / "val", localization=True)
    assert split.image_ids == ["val/0.png", "val/1.png", "val/2.png"]
    assert split.sources is None
    assert split.values.shape == (3, 1)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("val/1.png,", "val/1.png,x", "values.txt, line 2: 'x.*' is no finite number"),
        ("val/1.png,", "val/0.png,", "image_ids.txt, line 2: val/1.png has no line in values.txt"),
        ("val/2.png,", "val/0.png,1\nval/2.png,", "values.txt, line 3: val/0.png is listed twice"),
        ("val/2.png,", "val/2.png", "values.txt, line 3: 1 field"),
    ],
)
def test_faults_are_named_by_file_and_line(tmp_path, old, new, message):
    write_valued_set(tmp_path, COUNTS, values=1)
    path = tmp_path / "metadata" / "val" / "values.txt"
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(DataError, match=message):
        _data(tmp_path).setup("fit")


@pytest.mark.parametrize("known", [["brightness", "area"], ["area"], ["area", "age"]])
def test_values_are_those_that_a_network_tells(tmp_path, known):
    write_valued_set(tmp_path, COUNTS)
    options = {"task": "regression", "resize_size": 12, "crop_size": 12}
    folders = tmp_path / "images", tmp_path / "metadata"
    WSOLDataModule(*folders, **options, known_classes=["area", "brightness"]).setup("test")
    with pytest.raises(DataError, match="area, brightness are not those that the network tells"):
        WSOLDataModule(*folders, **options, known_classes=known).setup("test")
