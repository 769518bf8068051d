"""Check what predict.py writes for which files, and what it skips."""

import importlib
import json
import os

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from learned_saliency import load
from learned_saliency.attribution import GradCAM
from learned_saliency.datamodules import read_pixels
from learned_saliency.pipeline.cli.errors import UserError
from learned_saliency.trainers import NATIVE
from learned_saliency.visualization import (
    DEFAULT_COLORMAP,
    FOUND_BOX,
    overlay,
    with_boxes,
    with_caption,
)

drawing = importlib.import_module("learned_saliency.pipeline.prediction.drawing")
writing = importlib.import_module("learned_saliency.pipeline.prediction.writing")


def files(folder):
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


def test_a_folder_gives_pictures_and_an_index(fcam_run, photos, predicted):
    folder, names = photos
    index, out, lines = predicted(f"checkpoint={fcam_run}", f"images={folder}", "arrays=true")
    assert [record["image"] for record in index["images"]] == names
    expected = {"predictions.json", "predict.yaml"}
    for name in names:
        expected |= {f"{name}.native{end}" for end in (".png", ".map.png", ".npy")}
    assert files(out) == expected
    skipped = {"empty.jpg", "sub/notes.txt", "sub/truncated.jpg"}
    assert {record["image"] for record in index["skipped"]} == skipped
    assert all(record["reason"] for record in index["skipped"])
    assert len(lines) == 3
    assert any("notes.txt: no image of a known kind" in line for line in lines)
    assert index["box_threshold"] == pytest.approx(load(fcam_run).box_threshold)


def test_files_and_records_are_what_the_model_gives(fcam_run, photos, predicted):
    folder, names = photos
    index, out, _ = predicted(f"checkpoint={fcam_run}", f"images={folder}", "arrays=true")
    model = load(fcam_run, device="cpu")
    for record, found in zip(index["images"], model([folder / n for n in names]), strict=True):
        pixels = read_pixels(folder / record["image"])
        assert (record["height"], record["width"]) == pixels.shape[:2]
        (written,) = record["maps"]
        saliency = np.load(out / written["array"])
        assert saliency.dtype == np.float32
        np.testing.assert_allclose(saliency, found.map, atol=1e-5)
        deep = cv2.imread(str(out / written["map"]), cv2.IMREAD_UNCHANGED)
        assert deep.dtype == np.uint16
        np.testing.assert_array_equal(deep, np.rint(saliency * 65535))
        assert written["method"] == NATIVE
        assert written["class"] is None  # F-CAM's map is that of every class
        assert written["box"] == (found.box.tolist() if found.box.any() else None)
        drawn = overlay(pixels, saliency)
        if found.box.any():
            drawn = with_boxes(drawn, [found.box], FOUND_BOX)
        picture = read_pixels(out / written["overlay"])
        height, width = pixels.shape[:2]
        np.testing.assert_array_equal(picture[:height, :width], drawn)
        assert len(picture) > height  # the caption
        assert written["flat"] is False
        assert [p["index"] for p in record["predicted"]] == [p.index for p in found.predicted]
        for told, score in zip(record["predicted"], found.predicted, strict=True):
            assert told["name"] == score.name
            assert told["probability"] == pytest.approx(score.probability, abs=1e-5)


def test_several_classes_and_methods_have_files_of_their_own(cam, photos, predicted):
    folder, _ = photos
    words = [f"checkpoint={cam}", f"images={folder}/a.*", "top_k=2", "map_png=false"]
    index, out, _ = predicted(*words, "methods=[native,gradcam]")
    assert index["methods"] == ["native", "gradcam"]
    assert [record["image"] for record in index["images"]] == ["a.jpg", "a.png"]
    overlays = set()
    for record in index["images"]:
        best = [score["index"] for score in record["predicted"][:2]]
        for method in ("native", "gradcam"):
            maps = [written for written in record["maps"] if written["method"] == method]
            assert [written["class"]["index"] for written in maps] == best
            overlays |= {f"{record['image']}.{method}-{number}.png" for number in best}
    assert files(out) == overlays | {"predictions.json", "predict.yaml"}


def test_given_classes_by_name(cam, photos, predicted):
    folder, _ = photos
    name = load(cam).class_names[3]
    index, out, _ = predicted(f"checkpoint={cam}", f"images={folder}/z.png", f"classes={name}")
    (written,) = index["images"][0]["maps"]
    assert written["class"]["index"] == 3
    assert (out / "z.png.native.png").is_file()


def test_layouts_show_image_map_and_overlay(fcam_run, photos, predicted):
    folder, _ = photos
    widths = {}
    for layout in ("overlay", "map", "side_by_side", "triptych"):
        words = [f"layout={layout}", "colormap=jet", "contour=true", "opacity=0.3", "caption=false"]
        _, out, _ = predicted(f"checkpoint={fcam_run}", f"images={folder}/a.png", *words)
        picture = read_pixels(out / "a.png.native.png")
        assert len(picture) == 33
        widths[layout] = picture.shape[1]
        if layout in ("side_by_side", "triptych"):
            np.testing.assert_array_equal(picture[:, :47], read_pixels(folder / "a.png"))
    assert widths["overlay"] == widths["map"] == 47
    assert 2 * 47 < widths["side_by_side"] < 3 * 47 < widths["triptych"]


def test_captions_name_class_method_and_what_colors_mean(cam, photos, predicted, monkeypatch):
    folder, _ = photos
    told = []

    def watched(picture, lines, colormap, legend):
        told.append((lines, colormap, [name for name, _ in legend]))
        return with_caption(picture, lines, colormap, legend)

    monkeypatch.setattr(writing, "with_caption", watched)
    words = [f"checkpoint={cam}", f"images={folder}/a.png", "methods=[native,gradcam]", "top_k=2"]
    index, _, _ = predicted(*words, "workers=1")
    first, second = index["images"][0]["predicted"][:2]
    best = f"{first['name']} {first['probability']:.1%}"
    other = [f"{second['name']} {second['probability']:.1%}", f"predicted: {best}"]
    for method in ("native", "gradcam"):
        captions = [lines for lines, _, _ in told if method in lines]
        flat = [m["flat"] for m in index["images"][0]["maps"] if m["method"] == method]
        ends = [["flat map: nothing stands out"] if value else [] for value in flat]
        assert captions == [[best, method, *ends[0]], [*other, method, *ends[1]]]
    assert {colormap for _, colormap, _ in told} == {DEFAULT_COLORMAP}
    boxes = [m["box"] is not None for m in index["images"][0]["maps"]]
    assert [bool(legend) for _, _, legend in told] == boxes
    told.clear()
    predicted(*words, "layout=map")
    assert not told


def test_a_map_of_every_class_is_not_captioned_with_one(fcam_run, photos, predicted, monkeypatch):
    told = []

    def watched(picture, lines, colormap, legend):
        told.append(lines)
        return with_caption(picture, lines, colormap, legend)

    monkeypatch.setattr(writing, "with_caption", watched)
    index, _, _ = predicted(f"checkpoint={fcam_run}", f"images={photos[0]}/a.png")
    (best, *_) = index["images"][0]["predicted"]
    predicted_class = f"predicted: {best['name']} {best['probability']:.1%}"
    assert told[0][:3] == ["same map for every class", predicted_class, "native"]


def test_a_flat_map_is_called_flat(cam, photos, predicted, monkeypatch):
    def flat(module, images, targets):
        return torch.full((len(images), *images.shape[-2:]), 0.5)

    monkeypatch.setattr(GradCAM, "__call__", lambda method, net, x, y: flat(net, x, y))
    words = [f"checkpoint={cam}", f"images={photos[0]}/a.png", "methods=[gradcam]"]
    for more in ([], ["caption=false", "contour=true"]):
        index, out, _ = predicted(*words, *more)
        (found,) = index["images"][0]["maps"]
        assert found["flat"] is True
        assert found["box"] is None
        picture = read_pixels(out / "a.png.gradcam.png")
        pixels = read_pixels(photos[0] / "a.png")
        expected = overlay(pixels, np.full((33, 47), 0.5, np.float32))
        np.testing.assert_array_equal(picture[:33, :47], expected)


def test_a_long_image_tells_its_steps(cam, photos, predicted, monkeypatch):
    monkeypatch.setattr(drawing, "_SECONDS", 0.0)
    words = [f"checkpoint={cam}", f"images={photos[0]}/a.*", "methods=[opticam]"]
    options = ["attribution.opticam.iterations=3", "+attribution.opticam.tolerance=0"]
    _, _, lines = predicted(*words, *options)
    told = [line for line in lines if "opticam" in line]
    steps = ["opticam", *(f"opticam {i}/3" for i in (1, 2, 3))]
    assert [line.split(": ")[1] for line in told] == ["a.jpg and 1 more"] * 4
    assert [line.split(": ")[2].partition(",")[0] for line in told] == steps


def test_refined_maps_go_everywhere(fcam_run, photos, predicted):
    pytest.importorskip("pydensecrf", reason="does not build on every Python")
    folder, _ = photos
    words = [f"checkpoint={fcam_run}", f"images={folder}/a.jpg", "arrays=true"]
    plain = np.load(predicted(*words)[1] / "a.jpg.native.npy")
    index, out, _ = predicted(*words, "refine=crf", "crf.iterations=2")
    refined = np.load(out / "a.jpg.native.npy")
    assert np.abs(refined - plain).max() > 0.01
    (found,) = load(fcam_run, refine="crf", device="cpu")(folder / "a.jpg")
    assert found.map.shape == refined.shape
    deep = cv2.imread(str(out / "a.jpg.native.map.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(deep, np.rint(refined * 65535))
    assert index["refine"] == "crf"


@pytest.mark.parametrize("form", ["run", "file"])
def test_the_classifier_of_a_checkpoint_is_explained(fcam_run, cam, photos, predicted, form):
    """The classifier inside an F-CAM, trained before it, comes with its input and its names."""
    folder, names = photos
    path = fcam_run if form == "run" else fcam_run / "checkpoints" / "best.ckpt"
    words = [f"images={folder}", "methods=[gradcam]", "arrays=true"]
    index, out, _ = predicted(f"classifier={path}", *words)
    assert index["classifier"] == str(path)
    assert index["box_threshold"] == 0.5  # the checkpoint's is that of the native map
    assert index["input_size"] == [32, 32]
    inner = load(cam, methods=["gradcam"], device="cpu")
    for record, found in zip(index["images"], inner([folder / n for n in names]), strict=True):
        assert [p["name"] for p in record["predicted"]] == [p.name for p in found.predicted]
        (written,) = record["maps"]
        np.testing.assert_allclose(np.load(out / written["array"]), found.map, atol=1e-5)


def test_what_a_classifier_s_checkpoint_knows_is_not_asked_for(fcam_run, photos, predicted):
    words = [f"classifier={fcam_run}", f"images={photos[0]}"]
    for key in ("layer=layer4", "weights=x.pt", "num_classes=3", "class_names=names.txt"):
        with pytest.raises(UserError, match=f"{key}: leave it out"):
            predicted(*words, key)
    with pytest.raises(UserError, match="'native' is the map of a trained model"):
        predicted(*words, "methods=[native]")
    with pytest.raises(UserError, match="or the path of a run or checkpoint"):
        predicted("classifier=nowhere", "layer=x", words[1])


def test_other_people_s_files_are_left_alone(fcam_run, photos, predicted, tmp_path):
    folder, _ = photos
    before = files(folder)
    with pytest.raises(UserError, match="holds other files"):
        predicted(f"checkpoint={fcam_run}", f"images={folder}", f"out={folder}")
    assert files(folder) == before
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UserError, match="nothing can be written"):
            predicted(f"checkpoint={fcam_run}", f"images={folder}", f"out={place}")


def test_a_folder_within_the_images_is_not_searched(fcam_run, photos, predicted):
    folder, names = photos
    for _ in range(2):
        index, _, _ = predicted(f"checkpoint={fcam_run}", f"images={folder}", f"out={folder}/out")
        assert [record["image"] for record in index["images"]] == names


def test_names_that_leave_no_room_are_skipped_as_a_whole(fcam_run, photos, predicted):
    folder, _ = photos
    long = "n" * 240 + ".png"
    (folder / "z.png").rename(folder / long)
    index, out, _ = predicted(f"checkpoint={fcam_run}", f"images={folder}")
    assert long in [record["image"] for record in index["skipped"]]
    assert not [name for name in files(out) if name.startswith("nnn")]


def test_without_a_single_image_the_reasons_are_told(fcam_run, photos, predicted, tmp_path):
    folder, _ = photos
    with pytest.raises(UserError, match="none of 2 files is an image"):
        predicted(f"checkpoint={fcam_run}", f"images=[{folder}/empty.jpg,{folder}/sub/notes.txt]")
    index = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert len(index["skipped"]) == 2
    assert index["images"] == []
    os.mkdir(tmp_path / "nothing")
    with pytest.raises(UserError, match="there are no files"):
        predicted(f"checkpoint={fcam_run}", f"images={tmp_path}/nothing")


def test_a_foreign_network_with_names(creatures, photos, predicted, tmp_path):
    import timm

    torch.manual_seed(0)
    network = timm.create_model("resnet10t", num_classes=3).eval()
    save_file(network.state_dict(), tmp_path / "weights.safetensors")
    (tmp_path / "names.txt").write_text("cat\ndog\nbird\n")
    words = ["classifier=timm:resnet10t", "num_classes=3", "layer=layer2", "input.size=32"]
    words += [f"weights={tmp_path}/weights.safetensors", f"class_names={tmp_path}/names.txt"]
    words += [f"images={photos[0]}/a.png"]
    index, out, _ = predicted(*words, "classes=bird")
    assert index["images"][0]["maps"][0]["class"]["name"] == "bird"
    assert (out / "a.png.gradcam.png").is_file()  # the default
    assert len(index["images"][0]["predicted"]) == 3
    with pytest.raises(UserError, match="'native' is the map of a trained model"):
        predicted(*words, "methods=[native]")
    (tmp_path / "names.txt").write_text("cat\ndog\n")
    with pytest.raises(UserError, match="2 class names, but the classifier knows 3"):
        predicted(*words)


def test_a_quick_look_explains_some_of_the_images(fcam_run, photos, predicted):
    folder, names = photos
    words = [f"checkpoint={fcam_run}", f"images={folder}"]
    (folder / "sub" / "truncated.jpg").unlink()  # its header is that of an image
    index, _, _ = predicted(*words, "limit=4")
    chosen = [record["image"] for record in index["images"]]
    assert len(chosen) == index["limit"] == 4
    assert chosen == [name for name in names if name in chosen]  # in their order
    assert chosen != names[:4]  # the first ones of a sorted folder are of one kind
    again, _, _ = predicted(*words, "limit=4")
    assert [record["image"] for record in again["images"]] == chosen
    whole, _, _ = predicted(*words, "limit=100")
    assert [record["image"] for record in whole["images"]] == names
