"""predict.py with tiles against one pass of the network over the whole image."""

import json
import subprocess
import sys

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from learned_saliency.attribution import SharedFeatures
from learned_saliency.datamodules import standardize
from learned_saliency.pipeline.cli import UserError, hydra_words
from learned_saliency.pipeline.cli.compose import compose_checked
from learned_saliency.pipeline.prediction.loading import build_model
from learned_saliency.pipeline.prediction.predict import CONFIG_NAME
from tests.support.untrained import untrained_run

HEIGHT, WIDTH = 288, 512  # multiples of the networks' cells


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A smooth picture with details of all sizes."""
    generator = torch.Generator().manual_seed(1)
    total = torch.zeros(1, 3, HEIGHT, WIDTH)
    for cells in (3, 9, 27, 81):
        drawn = torch.randn(1, 3, cells, cells, generator=generator)
        total += torch.nn.functional.interpolate(drawn, (HEIGHT, WIDTH), mode="bicubic")
    pixels = (128 + 40 * total).clamp(0, 255).to(torch.uint8)[0].permute(1, 2, 0).numpy()
    path = tmp_path_factory.mktemp("large") / "a.tif"
    tifffile.imwrite(path, pixels, tile=(64, 64), photometric="rgb", compression="zlib")
    return path, pixels


def model_of(*words):
    config = compose_checked(hydra_words(["trainer=cpu", *words]), CONFIG_NAME, complete=False)
    return build_model(config)


def read(folder, record):
    with tifffile.TiffFile(folder / record["map"]) as file:
        return file.series[0].asarray()


def untiled(model, pixels, method, target=None):
    """Map and logits of one pass over the image as it is."""
    levels = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    images = standardize(levels, model.mean, model.std)
    with torch.no_grad():
        found = model.module.explain(images, None if target is None else torch.tensor([target]))
        shared = SharedFeatures(model.module.classifier, images, found.features)
    if method == "native":
        return found.saliency[0].numpy(), found.logits[0]
    targets = found.logits.argmax(1) if target is None else torch.tensor([target])
    return model.module.methods[method](shared, images, targets)[0].numpy(), found.logits[0]


METHODS = ["gradcam", "gradcampp", "liftcam", "layercam", "hirescam", "native"]


def test_maps_of_a_cam_classifier_are_those_of_one_pass(cam, large, predicted):
    path, pixels = large
    words = [f"checkpoint={cam}", f"methods={METHODS}".replace("'", "").replace(" ", "")]
    index, folder, lines = predicted(*words, f"images={path}", "tile=256", "tile_values=float16")
    assert index["tile"]["reach"] <= index["tile"]["overlap"] // 2, lines
    model, (record,) = model_of(*words), index["images"]
    assert record["tiles"] >= 6
    assert len(record["maps"]) == len(METHODS)
    for found in record["maps"]:
        expected, logits = untiled(model, pixels, found["method"])
        np.testing.assert_allclose(read(folder, found), expected, atol=1e-3)
        assert found["class"]["index"] == int(logits.argmax())
        probability = float(logits.softmax(0).max())
        assert record["predicted"][0]["probability"] == pytest.approx(probability, abs=1e-3)


def test_maps_of_fcam_are_those_of_one_pass(fcam_run, large, predicted):
    path, pixels = large
    words = ["tile=256", "tile_overlap=224"]
    given = [f"checkpoint={fcam_run}", f"images={path}", "tile_values=float16"]
    index, folder, lines = predicted(*given, *words)
    assert index["tile"]["reach"] <= 111, lines
    assert index["images"][0]["tiles"] > 10
    (found,) = index["images"][0]["maps"]
    expected, _ = untiled(model_of(*given[:1]), pixels, "native")
    np.testing.assert_allclose(read(folder, found), expected, atol=1e-3)


def test_a_foreground_of_each_class_is_that_of_the_class_in_all_tiles(
    creatures, large, predicted, tmp_path
):
    run = untrained_run(creatures, tmp_path / "run", "model=fcam", "model.foreground=class")
    given = [f"checkpoint={run}", f"images={large[0]}", "tile_values=float16"]
    words = [*given, "tile=256", "tile_overlap=224"]
    for classes, wanted in (("classes=[0,2]", [0, 2]), ("classes=predicted", [None])):
        index, folder, _ = predicted(*words, classes)
        maps = index["images"][0]["maps"]
        for found, target in zip(maps, wanted, strict=True):
            expected, logits = untiled(model_of(given[0]), large[1], "native", target)
            assert found["class"]["index"] == (int(logits.argmax()) if target is None else target)
            np.testing.assert_allclose(read(folder, found), expected, atol=1e-3)


def test_named_classes_take_one_pass_and_have_files_of_their_own(
    cam, large, predicted, monkeypatch
):
    from learned_saliency.pipeline.prediction.tiles import image

    passes, sweep = [], image.sweep
    monkeypatch.setattr(image, "sweep", lambda *given: passes.append(1) or sweep(*given))
    words = [f"checkpoint={cam}", f"images={large[0]}", "tile=256", "tile_overlay=true"]
    index, folder, _ = predicted(*words, "classes=[0,2]", "tile_boxes=1")
    assert passes == [1]
    maps = index["images"][0]["maps"]
    assert [found["class"]["index"] for found in maps] == [0, 2]
    model = model_of(*words[:1])
    for found in maps:
        expected, _ = untiled(model, large[1], "native", found["class"]["index"])
        np.testing.assert_allclose(read(folder, found) / 65535, expected, atol=1e-3)
        assert len(found["boxes"]) == 1
        assert found["boxes"][0]["box"] == found["box"]
        with tifffile.TiffFile(folder / found["overlay_pyramid"]) as file:
            assert file.series[0].shape == (HEIGHT, WIDTH, 3)
        assert np.asarray(Image.open(folder / found["overlay"])).shape[1] >= WIDTH


def test_a_smaller_image_is_one_tile_and_others_are_skipped(cam, large, predicted, tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    small = large[1][:41, :77]
    Image.fromarray(small).save(photos / "a.png")
    (photos / "b.tif").write_bytes(b"II*\0no tiff at all")
    index, folder, lines = predicted(f"checkpoint={cam}", f"images={photos}", "tile=128")
    assert index["images"][0]["tiles"] == 1
    assert read(folder, index["images"][0]["maps"][0]).shape == (41, 77)
    assert [skipped["image"] for skipped in index["skipped"]] == ["b.tif"]
    assert any("skipped" in line for line in lines)
    left = {path.name for path in folder.iterdir()}
    assert left == {"a.png.native.map.tif", "a.png.native.png", "predict.yaml", "predictions.json"}


def test_a_reduced_map_has_the_size_of_the_image(fcam_run, large, predicted):
    words = [f"checkpoint={fcam_run}", f"images={large[0]}", "tile=auto", "tile_reduce=3"]
    index, folder, _ = predicted(*words, "tile_values=uint8")
    assert read(folder, index["images"][0]["maps"][0]).shape == (HEIGHT, WIDTH)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["methods=[native,scorecam]"], "scorecam cannot explain an image in tiles"),
        (["labels=coco"], "labels=coco: not with tile"),
        (["refine=crf"], "refine=crf: not with tile"),
        (["arrays=true"], "tile_values=float16"),
        (["tile=100"], "give a multiple"),
        (["tile_overlap=7"], "tile_overlap=7: give a multiple"),
    ],
)
def test_what_does_not_go_with_tiles_is_told(cam, large, predicted, words, told):
    tile = [] if words[0].startswith("tile=") else ["tile=128"]
    with pytest.raises(UserError, match=told):
        predicted(f"checkpoint={cam}", f"images={large[0]}", *tile, *words)


_GROWTH = """
import resource, sys
import cv2, torch
torch.set_num_threads(1); cv2.setNumThreads(1)
from learned_saliency.pipeline.cli import hydra_words
from learned_saliency.pipeline.cli.compose import compose_checked
from learned_saliency.pipeline.prediction import predict

def peak(image, out):
    words = [f"checkpoint={sys.argv[1]}", f"images={image}", f"out={out}", "trainer=cpu"]
    words += ["tile=128", "classes=0", "tile_values=uint8"]
    predict(compose_checked(hydra_words(words), "predict", complete=False), lambda line: None)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

first = peak(sys.argv[2], sys.argv[4])
print(peak(sys.argv[3], sys.argv[5]) - first)
"""


def test_memory_does_not_grow_with_the_image(cam, large, tmp_path):
    small, big = tmp_path / "small.tif", tmp_path / "big.tif"
    options = {"tile": (256, 256), "photometric": "rgb", "compression": "zlib"}
    tiled = np.tile(large[1], (7, 4, 1))
    tifffile.imwrite(small, tiled[:600, :600], **options)
    tifffile.imwrite(big, tiled[:1792, :1792], **options)
    given = [cam, small, big, tmp_path / "one", tmp_path / "two"]
    run = subprocess.run(
        [sys.executable, "-c", _GROWTH, *map(str, given)], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr[-2000:]
    grown = int(run.stdout.split()[-1]) / 1024
    record = json.loads((tmp_path / "two" / "predictions.json").read_text())["images"][0]
    assert record["width"] == 1792
    assert grown < 15, f"{grown:.0f} MB, where pixels and map would take 22"
