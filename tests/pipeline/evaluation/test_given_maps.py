"""Finished maps of any tool: the table of direct calls, in every form of file, and refusals."""

import csv
import json

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from learned_saliency import evaluate_maps
from learned_saliency.attribution import GradCAM, split
from learned_saliency.datamodules import resize_pixels
from learned_saliency.metrics import MaxBoxAcc, PxAP
from learned_saliency.pipeline.cli.errors import UserError
from learned_saliency.pipeline.evaluation.given_maps import find_maps, read_map
from learned_saliency.pipeline.evaluation.given_maps.placing import cut
from tests.support.commands import run_command
from tests.support.given_maps import write
from tests.support.words import FLOORS

NONE = "evaluate.faithfulness=[]"


def deep_png(path, values):
    Image.fromarray(np.rint(values * 65535).astype(np.uint16)).save(path)


def byte_png(path, values):
    Image.fromarray(np.rint(values * 255).astype(np.uint8)).save(path)


def test_maps_are_scored_without_a_network(maps, split_of_images, words, evaluated, tmp_path):
    """As by the metrics themselves, and as in Python, to the last count."""
    folder = write(tmp_path / "maps", split_of_images["image_id"], maps)
    found = evaluated(f"maps={folder}", *words)
    boxes, pixels = MaxBoxAcc(), PxAP()
    values = torch.from_numpy(maps)
    boxes.update(values, split_of_images["boxes"])
    pixels.update(values, split_of_images["mask"])
    assert found.results["maps"]["max_box_acc"] == float(boxes.compute())
    assert found.results["maps"]["pxap"] == float(pixels.compute())
    truth = {"boxes": split_of_images["boxes"], "masks": split_of_images["mask"]}
    labels = split_of_images["label"]
    assert evaluate_maps(maps, **truth, labels=labels, batch_size=6) == found.results
    assert set(found.results) == {"maps"} | FLOORS
    assert not {"accuracy", "top1_loc", "average_drop"} & set(found.results["maps"])
    record = json.loads((found.folder / "results.json").read_text())
    assert record["maps"] == {"maps": str(folder)}
    assert record["maps_scale"] == "none"
    with (found.folder / "images.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["image_id"] for row in rows] == split_of_images["image_id"]
    assert not {"predicted", "target", "score"} & set(rows[0])
    assert rows[2]["x1"] == "0"
    assert (found.folder / "pictures" / "maps.png").is_file()


@pytest.mark.parametrize(
    ("name", "save"),
    [
        ("{id}.npy", np.save),
        ("{stem}.npz", np.savez),
        ("{id}.npz", np.savez_compressed),
        ("{stem}.npy", lambda path, values: np.save(path, values.astype(np.float64))),
        ("{stem}.map.png", None),
    ],
)
def test_every_form_of_file_gives_the_same(maps, split_of_images, tmp_path, name, save):
    ids = split_of_images["image_id"]
    if save is None:
        folder = write(tmp_path / "maps", ids, maps, "{id}.png", deep_png)
    else:
        folder = write(tmp_path / "maps", ids, maps, name, save)
    found = find_maps("a", folder, ids, [-1] * len(ids))["a"].files
    for image_id, values in zip(ids, maps, strict=True):
        tolerance = 0 if save is not None else 0.5001 / 65535
        np.testing.assert_allclose(read_map(found[image_id]), values, rtol=0, atol=tolerance)


def test_one_archive_holds_the_maps_of_all_images(
    maps, split_of_images, words, evaluated, tmp_path
):
    ids = split_of_images["image_id"]
    stems = [image_id.rpartition(".")[0] for image_id in ids]
    np.savez(tmp_path / "all.npz", **dict(zip(stems, maps, strict=True)))
    one = write(tmp_path / "one", ids, maps)
    both = [f"maps.all={tmp_path}/all.npz", f"maps.one={one}"]
    found = evaluated(*both, *words)
    assert found.results["all"] == found.results["one"]
    named = evaluated(f"maps={{all: {tmp_path}/all.npz, one: {one}}}", *words)
    assert named.results == found.results


def test_maps_of_a_method_have_its_figures(split_of_images, foreign, network, evaluated, tmp_path):
    """Grad-CAM's own maps read from files stand beside Grad-CAM itself, faithfulness and all."""
    ids, images = split_of_images["image_id"], split_of_images["image"]
    classifier, labels = split(network, "layer2"), split_of_images["label"]
    maps = [
        GradCAM()(classifier, images[i : i + 6], labels[i : i + 6]).numpy()
        for i in range(0, len(ids), 6)
    ]
    folder = write(tmp_path / "maps", ids, np.concatenate(maps))
    figures = ["average_drop", "average_gain", "insertion_percentile"]
    asked = f"evaluate.faithfulness=[{','.join(figures)}]"
    found = evaluated(*foreign, f"maps.theirs={folder}", "methods=[gradcam]", asked)
    assert list(found.results)[:2] == ["gradcam", "theirs"]
    for figure, value in found.results["gradcam"].items():
        # computed beside Lightning, so that rounding may move a pixel over the edge of a bin
        assert found.results["theirs"][figure] == pytest.approx(value, abs=1e-4), figure
    assert {"accuracy", "top1_loc", *figures} <= set(found.results["theirs"])
    without_layer = [word for word in foreign if not word.startswith("layer")]
    alone = evaluated(*without_layer, f"maps.theirs={folder}", asked)
    assert alone.results["theirs"] == found.results["theirs"]
    boxes, masks = split_of_images["boxes"], split_of_images["mask"]
    ours = evaluate_maps(
        {"theirs": np.concatenate(maps)},
        boxes=boxes,
        masks=masks,
        labels=labels,
        images=images,
        classifier=network,
        faithfulness=figures,
        batch_size=6,
    )
    assert ours["theirs"] == found.results["theirs"]


def test_what_predict_wrote_is_read_as_it_is(run, words, creatures, evaluated, tmp_path):
    images = f"images=[{creatures}/images/test,{creatures}/metadata/test]"  # named from above both
    place = [images, f"out={tmp_path}/out", "methods=[native]", "trainer=cpu"]
    done = run_command("predict", f"checkpoint={run.folder}", *place, "layout=map", "box=false")
    assert done.returncode == 0, done.stderr
    found = evaluated(f"maps.ours={tmp_path}/out", *words)
    assert set(found.results) == {"ours"} | FLOORS
    direct = evaluated(f"checkpoint={run.folder}", "methods=[native]", NONE, *words)
    for name in ("max_box_acc", "pxap", "map_mean"):  # blurred on the way to the image's size
        ours = found.results["ours"][name]
        assert ours == pytest.approx(direct.results["native"][name], abs=0.06), name


def test_of_what_predict_wrote_the_map_of_the_label_is_taken(tmp_path, capfd):
    def record(name, method, index):
        explained = None if index is None else {"index": index}
        return {"method": method, "class": explained, "map": f"{name}.map.png"}

    images = [
        {"image": "a.jpg", "maps": [record("a4", "cam", 4), record("a7", "cam", 7)]},
        {"image": "b.jpg", "maps": [record("b4", "cam", 4), record("n", "native", None)]},
        {"image": "other.jpg", "maps": [record("c", "cam", 1)]},
    ]
    (tmp_path / "predictions.json").write_text(json.dumps({"images": images}))
    found = find_maps("p", tmp_path, ["a.jpg", "b.jpg"], [7, 2])
    assert {key: file.path.name for key, file in found["p_cam"].files.items()} == {
        "a.jpg": "a7.map.png",
        "b.jpg": "b4.map.png",
    }
    assert (found["p_cam"].others, found["p_native"].others) == (1, 0)
    images[0]["maps"][1]["map"] = "../a7.map.png"
    (tmp_path / "predictions.json").write_text(json.dumps({"images": images}))
    with pytest.raises(UserError, match=r"names \.\./a7\.map\.png, which is no map of this folder"):
        find_maps("p", tmp_path, ["a.jpg", "b.jpg"], [7, 2])
    (tmp_path / "predictions.json").write_text("[1, 2]")
    with pytest.raises(UserError, match=r"is not as predict\.py writes it"):
        find_maps("p", tmp_path, ["a.jpg"], [7])


def test_ids_never_lead_out_of_the_folder(tmp_path):
    np.save(tmp_path / "secret.npy", np.zeros((2, 2)))
    folder = tmp_path / "maps"
    folder.mkdir()
    ids = ["../secret.jpg", str(tmp_path / "secret.jpg"), "in/../../secret.jpg"]
    assert find_maps("a", folder, ids, [-1] * 3)["a"].files == {}


def test_one_map_serves_one_image(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((2, 2)))
    with pytest.raises(UserError, match=r"would be the map of a\.jpg and of a\.png.*a\.png\.npy"):
        find_maps("a", tmp_path, ["a.jpg", "a.png"], [0, 0])
    np.save(tmp_path / "a.png.npy", np.ones((2, 2)))
    assert len(find_maps("a", tmp_path, ["a.jpg", "a.png"], [0, 0])["a"].files) == 2


@pytest.mark.parametrize("size", [36, (28, 36)])
@pytest.mark.parametrize("center_crop", [True, 41])
@pytest.mark.parametrize(("width", "height"), [(60, 40), (40, 70), (53, 53)])
def test_maps_of_whole_images_are_cut_as_the_images_are(width, height, center_crop, size):
    """A gray image taken for a map lands where the image lands."""
    gray = cv2.resize(np.random.default_rng(0).random((7, 9)), (width, height))
    levels = np.rint(gray.clip(0, 1) * 255).astype(np.uint8)
    expected = resize_pixels(np.dstack([levels] * 3), size, center_crop)[0].numpy() / 255
    found = cut(levels.astype(np.float32) / 255, width, height, size, center_crop)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1.01 / 255)  # rounded to levels
    coarse = cut(cv2.resize(gray, (8, 8)).astype(np.float32), width, height, size, center_crop)
    assert coarse.shape == expected.shape


def test_what_a_map_covers_is_asked_where_it_matters(words, evaluated, creatures, tmp_path):
    """Creatures are square: shorter edge and crop of one length leave no choice, others do."""
    ids = (creatures / "metadata/test/image_ids.txt").read_text().split()
    folder = write(tmp_path / "maps", ids, np.random.default_rng(0).random((len(ids), 9, 9)))
    plain = evaluated(f"maps={folder}", *words).results
    assert evaluated(f"maps={folder}", *words, "data.center_crop=true").results == plain
    crop = "data.evaluation_resize=40"
    with pytest.raises(UserError, match=r"maps_cover=image.*maps_cover=crop.*say which"):
        evaluated(f"maps={folder}", *words, crop)
    image = evaluated(f"maps={folder}", *words, crop, "maps_cover=image").results
    cropped = evaluated(f"maps={folder}", *words, crop, "maps_cover=crop").results
    assert cropped["maps"]["map_mean"] == plain["maps"]["map_mean"]
    assert image["maps"]["map_mean"] != plain["maps"]["map_mean"]
