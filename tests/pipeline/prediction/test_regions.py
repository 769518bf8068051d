"""Regions of a promised coverage: where they lie, what is stored for them, what is refused."""

import json
from fractions import Fraction

import cv2
import numpy as np
import pytest
import torch

from learned_saliency import load
from learned_saliency.metrics import COVERAGE_THRESHOLDS, region
from learned_saliency.pipeline.cli.errors import UserError
from learned_saliency.pipeline.prediction.regions import place_region
from learned_saliency.pipeline.runs import build_data, load_module, read_checkpoint
from learned_saliency.pipeline.runs.coverage import Coverage, coverage_facts
from learned_saliency.trainers import NATIVE

UNIT = 2**32


def promise(truth, threshold=0.5):
    return Coverage(0.9, "object", truth, threshold, 50)


@pytest.mark.parametrize("truth", ["masks", "boxes"])
@pytest.mark.parametrize(("width", "height"), [(8, 8), (21, 13), (5, 3), (8, 40), (1, 1)])
def test_pixels_that_touch_a_cell_of_the_region_belong_to_it(truth, width, height):
    saliency = torch.rand(8, 8, generator=torch.Generator().manual_seed(5)).numpy() ** 2
    cells = region(torch.from_numpy(saliency)[None], 0.4)[0].numpy()
    assert 0 < cells.mean() < 0.5
    rows, columns = np.nonzero(cells)
    if truth == "boxes":
        cells = np.zeros_like(cells)
        cells[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] = True
    expected = np.zeros((height, width), bool)
    for y in range(height):
        for x in range(width):
            expected[y, x] = any(
                Fraction(x * 8, width) < j + 1
                and Fraction((x + 1) * 8, width) > j
                and Fraction(y * 8, height) < i + 1
                and Fraction((y + 1) * 8, height) > i
                for i, j in zip(*np.nonzero(cells), strict=True)
            )
    placed = place_region(saliency, promise(truth, 0.4), width, height)
    np.testing.assert_array_equal(placed.mask, expected)
    rows, columns = np.nonzero(expected)
    assert placed.box.tolist() == [columns.min(), rows.min(), columns.max(), rows.max()]
    assert placed.area == pytest.approx(expected.mean())


def test_a_map_below_the_threshold_has_an_empty_region_and_a_flat_one_the_image():
    low = np.linspace(0, 0.4, 16, dtype=np.float32).reshape(4, 4)
    assert place_region(low, promise("masks"), 9, 9)[1] is None
    assert place_region(np.zeros((4, 4), np.float32), promise("boxes"), 9, 9).area == 1


@pytest.mark.parametrize("run", ["cam", "fcam_run"])
def test_a_checkpoint_keeps_the_losses_of_the_maps_that_are_handed_out(request, run):
    """The maps are those of predicted classes, mostly wrong ones in these short runs."""
    checkpoint = read_checkpoint(request.getfixturevalue(run), "best.ckpt")
    module = load_module(checkpoint).eval()
    data = build_data(checkpoint.config)
    data.setup("validate")
    losses, count = torch.zeros(2, len(COVERAGE_THRESHOLDS), dtype=torch.float64), 0
    steps = range(0, len(COVERAGE_THRESHOLDS), 111)
    for batch in data.val_dataloader():
        maps = module.explain_classes(batch["image"]).maps[NATIVE][:, 0]
        for saliency, mask in zip(maps, batch["mask"], strict=True):
            count += 1
            for step in steps:
                inside = region(saliency[None], COVERAGE_THRESHOLDS[step])[0]
                missed = (~inside & (mask == 1)).sum().item() / (mask == 1).sum().item()
                losses[0, step] += missed > 0
                losses[1, step] += missed
    assert int(module.coverage.images[0]) == count == 16
    found = module.coverage.losses[0].double() / UNIT
    torch.testing.assert_close(found[:, ::111], losses[:, ::111], rtol=0, atol=1e-5)
    assert losses[0].max() > 0


def test_regions_are_written_as_the_model_gives_them(fcam_run, creatures, predicted):
    images = creatures / "images" / "val"
    words = [f"checkpoint={fcam_run}", f"images={images}", "coverage=0.75", "region_png=true"]
    index, out, _ = predicted(*words)
    told = index["coverage"]
    assert (told["level"], told["of"], told["region"]) == (0.75, "object", "pixels")
    assert told["calibrated_on"] == {"split": "val", "images": 16, "truth": "masks"}
    model = load(fcam_run, coverage=0.75, device="cpu")
    paths = [images / record["image"] for record in index["images"]]
    for record, found in zip(index["images"], model(paths), strict=True):
        (written,) = record["maps"]
        mask = cv2.imread(str(out / written["region_mask"]), cv2.IMREAD_GRAYSCALE)
        np.testing.assert_array_equal(mask == 255, found.region)
        assert written["region"]["area"] == pytest.approx(found.region.mean(), abs=1e-6)
        rows, columns = np.nonzero(mask)
        expected = [columns.min(), rows.min(), columns.max(), rows.max()] if len(rows) else None
        assert written["region"]["box"] == expected


def test_facts_hold_the_thresholds_of_usual_levels(fcam_run):
    state = read_checkpoint(fcam_run, "best.ckpt").content["state_dict"]
    facts = coverage_facts(state)
    assert json.loads(json.dumps(facts)) == facts
    assert (facts["truth"], facts["images"]) == ("masks", 16)
    assert facts["object"]["0.95"] is None  # takes 19 images
    assert facts["pixels"]["0.5"] >= (facts["object"]["0.5"] or 0)
    assert coverage_facts({**state, "coverage.images": torch.zeros(2, dtype=torch.int64)}) is None
    assert coverage_facts({**state, "coverage.images": torch.zeros(3)}) is None
    assert coverage_facts({}) is None


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["coverage=0.99"], "takes 99 images with an object on `val` and the run had 16"),
        (["coverage=0.5", "refine=crf"], "leave refine=... out"),
        (["coverage=0.5", "methods=[gradcam]"], "add native to methods"),
        (["coverage=1.0"], "expected a number above 0 and below 1"),
        (["coverage=0.5", "coverage_of=area"], "expected one of object, pixels"),
    ],
)
def test_what_cannot_be_promised_is_refused(fcam_run, photos, predicted, words, told):
    with pytest.raises(UserError, match=told):
        predicted(f"checkpoint={fcam_run}", f"images={photos[0]}", *words)


def test_no_region_without_a_run_or_for_classes_that_were_asked_for(cam, photos, predicted):
    with pytest.raises(UserError, match="none can be promised for classifier="):
        predicted(f"classifier={cam}", f"images={photos[0]}", "coverage=0.5")
    with pytest.raises(UserError, match=r"leave out classes=\.\.\."):
        predicted(f"checkpoint={cam}", f"images={photos[0]}", "coverage=0.1", "classes=3")


def test_no_region_where_val_had_no_truth_or_maps_miss_the_object(fcam_run, tmp_path):
    content = torch.load(fcam_run / "checkpoints" / "best.ckpt", weights_only=True)
    state = content["state_dict"]
    (tmp_path / "checkpoints").mkdir()
    path = tmp_path / "checkpoints" / "best.ckpt"
    state["coverage.losses"][0, :, 1:] = 16 * UNIT
    torch.save(content, path)
    with pytest.raises(UserError, match="none short of the whole image, as on too many of the 16"):
        load(tmp_path, coverage=0.5)
    state["coverage.images"].zero_()
    torch.save(content, path)
    with pytest.raises(UserError, match="neither boxes nor masks on `val`"):
        load(tmp_path, coverage=0.5, coverage_of="pixels")


def test_boxes_calibrate_where_there_are_no_masks(fcam_run, tmp_path):
    content = torch.load(fcam_run / "checkpoints" / "best.ckpt", weights_only=True)
    content["state_dict"]["coverage.images"][0] = 0
    (tmp_path / "checkpoints").mkdir()
    torch.save(content, tmp_path / "checkpoints" / "best.ckpt")
    model = load(tmp_path, coverage=0.5, coverage_of="pixels", device="cpu")
    assert model.coverage.truth == "boxes"
    found = model(np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8))[0].region
    rows, columns = np.nonzero(found)
    assert found[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].all()
