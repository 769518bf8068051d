"""predict.py: what it writes for which files, what it skips, and that nothing is left half done."""

import importlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import weakref

import cv2
import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image
from safetensors.torch import save_file

from learned_saliency import load
from learned_saliency.attribution import GradCAM
from learned_saliency.pipeline.cli.compose import check_command_line, compose_checked
from learned_saliency.pipeline.cli.errors import UserError
from learned_saliency.pipeline.commands.predict import hydra_words
from learned_saliency.pipeline.prediction.images import read_pixels
from learned_saliency.pipeline.prediction.predict import CONFIG_NAME, predict
from learned_saliency.pipeline.runs import method_names
from learned_saliency.trainers import NATIVE, SaliencyModule
from learned_saliency.visualization import (
    DEFAULT_COLORMAP,
    FOUND_BOX,
    overlay,
    with_boxes,
    with_caption,
)
from tests.support.paths import ROOT

drawing = importlib.import_module("learned_saliency.pipeline.prediction.drawing")
writing = importlib.import_module("learned_saliency.pipeline.prediction.writing")
reading = importlib.import_module("learned_saliency.pipeline.prediction.reading")
predicting = importlib.import_module("learned_saliency.pipeline.prediction.predict")


@pytest.fixture(scope="module")
def cam(fcam_run):
    return fcam_run / "checkpoints" / "classifier" / "best.ckpt"


@pytest.fixture
def photos(tmp_path):
    """A folder of images and other things; the images' names in order."""
    folder = tmp_path / "photos"
    generator = np.random.default_rng(0)
    names = ["a.jpg", "a.png", "b=c, [1] 'x' ${y}.png", "sub/a.jpg", "sub/one.png", "z.png"]
    sizes = [(40, 90), (33, 47), (20, 20), (50, 31), (1, 1), (300, 7)]
    for name, size in zip(names, sizes, strict=True):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        pixels = generator.integers(0, 256, (*size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name)
    (folder / "empty.jpg").touch()
    (folder / "sub" / "notes.txt").write_text("no image")
    whole = (folder / "sub" / "a.jpg").read_bytes()
    (folder / "sub" / "truncated.jpg").write_bytes(whole[: len(whole) // 2])
    return folder, sorted(names, key=lambda name: (name.count("/"), name))


@pytest.fixture
def predicted(tmp_path):
    """Calls predict.py's work; gives its index, the folder and the lines that were said."""

    def call(*words):
        lines = []
        words = hydra_words([f"out={tmp_path}/out", "trainer=cpu", *words])
        config = compose_checked(words, CONFIG_NAME, complete=False)
        folder = predict(config, lines.append).folder
        return json.loads((folder / "predictions.json").read_text()), folder, lines

    return call


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


def test_memory_is_bounded_by_pixels_and_order_is_kept(fcam_run, photos, predicted, monkeypatch):
    """With room for a single image, no two are read or drawn at once."""
    folder, names = photos
    monkeypatch.setattr(predicting, "_PIXELS", 1)
    sizes, drawn, most = [], [], []
    explain, draw = SaliencyModule.predict_step, drawing.Drawing._draw
    lock = threading.Lock()

    def counted(module, batch, *options):
        sizes.append(len(batch["image"]))
        return explain(module, batch, *options)

    def watched(callback, *values):
        with lock:
            drawn.append(1)
            most.append(len(drawn))
        try:
            return draw(callback, *values)
        finally:
            with lock:
                drawn.pop()

    monkeypatch.setattr(SaliencyModule, "predict_step", counted)
    monkeypatch.setattr(drawing.Drawing, "_draw", watched)
    index, _, _ = predicted(f"checkpoint={fcam_run}", f"images={folder}", "workers=4")
    assert [record["image"] for record in index["images"]] == names
    assert set(sizes) == {1}
    assert max(most) == 1


def test_memory_does_not_grow_with_the_number_of_images(fcam_run, predicted, monkeypatch, tmp_path):
    """One image is explained, two are read, one is drawn; Lightning still holds the last one."""
    (tmp_path / "many").mkdir()
    for number in range(30):
        Image.new("RGB", (9, 9), (8 * number, 0, 0)).save(tmp_path / "many" / f"{number:02}.png")
    monkeypatch.setattr(predicting, "_PIXELS", 1)
    alive, most = weakref.WeakSet(), []

    class Watched(np.ndarray):
        """Array with a hash, for a WeakSet; arrays have none."""

        __hash__ = object.__hash__
        __eq__ = object.__eq__

    def read(*values):
        pixels = read_pixels(*values).view(Watched)
        alive.add(pixels)
        most.append(len(alive))
        return pixels

    monkeypatch.setattr(reading, "read_pixels", read)
    index, _, _ = predicted(f"checkpoint={fcam_run}", f"images={tmp_path}/many", "workers=4")
    assert len(index["images"]) == len(most) == 30
    assert max(most) <= 5


def test_an_interruption_leaves_whole_files_only(
    fcam_run, photos, predicted, monkeypatch, tmp_path
):
    folder, names = photos
    write = drawing.write_map

    def interrupted(out, stem, *values):
        if stem.startswith(names[2]):
            raise KeyboardInterrupt
        return write(out, stem, *values)

    monkeypatch.setattr(drawing, "write_map", interrupted)
    with pytest.raises(KeyboardInterrupt):
        predicted(f"checkpoint={fcam_run}", f"images={folder}", "workers=1", "batch_size=1")
    left = files(tmp_path / "out")
    assert not [name for name in left if name.startswith("predictions.json")]
    assert not [name for name in left if name.endswith(".tmp")]
    for name in left:
        if name.endswith(".png"):
            read_pixels(tmp_path / "out" / name)
    monkeypatch.setattr(drawing, "write_map", write)
    index, _, _ = predicted(f"checkpoint={fcam_run}", f"images={folder}")  # goes on in the folder
    assert len(index["images"]) == len(names)


def test_a_failing_disk_is_told(fcam_run, photos, predicted, monkeypatch, tmp_path):
    def full(*values):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(drawing, "write_map", full)
    with pytest.raises(UserError, match="No space left"):
        predicted(f"checkpoint={fcam_run}", f"images={photos[0]}")
    assert files(tmp_path / "out") == {"predict.yaml"}


def test_too_little_memory_is_told(fcam_run, photos, predicted, monkeypatch, tmp_path):
    def full(*values):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(SaliencyModule, "predict_step", full)
    with pytest.raises(UserError, match="batch_size=16: the device's memory is too small"):
        predicted(f"checkpoint={fcam_run}", f"images={photos[0]}")
    assert files(tmp_path / "out") == {"predict.yaml"}


def test_parts_of_a_call_that_was_killed_do_not_count(fcam_run, photos, predicted, tmp_path):
    folder, names = photos
    words = [f"checkpoint={fcam_run}", f"images={folder}"]
    predicted(*words)
    stray = tmp_path / "out" / "predictions.json.part-1"
    stray.write_text('1 images {"image": "of before"}\n')
    index, _, _ = predicted(*words)
    assert [record["image"] for record in index["images"]] == names
    assert not stray.exists()


def test_the_trainer_decides_the_precision(fcam_run, photos, predicted):
    """The network runs in bfloat16; maps, probabilities and boxes are made in float32."""
    words = [f"checkpoint={fcam_run}", f"images={photos[0]}/a.png", "arrays=true"]
    words += ["methods=[native,gradcam]", "top_k=2"]
    found = {}
    for precision in ("32-true", "bf16-mixed", "64-true"):
        index, out, _ = predicted(*words, f"trainer.precision={precision}")
        (record,) = index["images"]
        maps = [np.load(out / written["array"]) for written in record["maps"]]
        found[precision] = maps, [score["probability"] for score in record["predicted"]]
    whole, half, double = (found[precision][0] for precision in found)
    assert {saliency.dtype for saliency in double} == {np.dtype(np.float32)}
    for exact, rounded in zip(whole, half, strict=True):
        assert rounded.dtype == np.float32
        assert 0 < np.abs(rounded - exact).max() < 0.3  # it did run in half precision
        levels = torch.from_numpy(rounded)
        assert (levels != levels.bfloat16().float()).float().mean() > 0.5
    exact, rounded, _ = (found[precision][1] for precision in found)
    assert rounded == pytest.approx(exact, abs=0.05)
    assert rounded != [float(torch.tensor(p).bfloat16()) for p in rounded]


def test_a_trainer_that_cannot_be_is_told_before_anything_is_written(
    fcam_run, photos, predicted, tmp_path
):
    words = [f"checkpoint={fcam_run}", f"images={photos[0]}"]
    with pytest.raises(UserError, match="trainer: "):
        predicted(*words, "trainer.accelerator=abacus")
    assert not (tmp_path / "out").exists()


def test_two_processes_leave_the_same_files_as_one(fcam_run, photos, predicted, tmp_path):
    words = [f"checkpoint={fcam_run}", f"images={photos[0]}", "batch_size=1", "arrays=true"]
    _, one, _ = predicted(*words)
    two = tmp_path / "two"
    processes = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2"]
    done = script(tmp_path, *words, *processes, "trainer.precision=32-true", f"out={two}")
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines() == ["6 images, 3 files skipped", f"{two}/predictions.json"]
    assert done.stderr.count("skipped ") == 3
    assert files(one) == files(two)
    for name in files(one) - {"predict.yaml"}:
        assert (one / name).read_bytes() == (two / name).read_bytes(), name
    assert not list((tmp_path / "here").iterdir())  # Lightning wrote nothing, either


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_it_with_whole_files_only(fcam_run, photos, tmp_path, sent, code):
    many = ",".join([str(photos[0])] * 200)
    words = [f"checkpoint={fcam_run}", f"images=[{many}]", "batch_size=1", "trainer=cpu"]
    words += ["methods=[native,opticam]"]
    process = start(tmp_path, *words, f"out={tmp_path}/out")
    part = tmp_path / "out" / "predictions.json.part-0"
    until = time.monotonic() + 120
    while not part.exists() and process.poll() is None and time.monotonic() < until:
        time.sleep(0.1)
    assert part.exists(), process.communicate()[1]
    time.sleep(0.5)
    process.send_signal(sent)
    _, told = process.communicate(timeout=60)
    assert process.returncode == code
    assert "Traceback" not in told
    left = files(tmp_path / "out")
    assert not [name for name in left if name.startswith("predictions.json")]
    assert not [name for name in left if name.endswith(".tmp")]
    for name in left - {"predict.yaml"}:
        read_pixels(tmp_path / "out" / name)


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


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("colormap=virids", "colormap=virids .*the nearest: viridis"),
        ("layout=sidebyside", "layout=sidebyside .*the nearest: side_by_side"),
        ("opacity=2", "opacity=2"),
        ("contour=7", "contour=7: it is true or false"),
        ("methods=opticm", "'opticm'; the nearest: opticam"),
        ("classes=nobody", "no class is named 'nobody'"),
        ("top_k=99", "there are 16 classes"),
        ("workers=0", "workers=0"),
        ("max_megapixels=-1", "max_megapixels=-1"),
        ("images=null", "images has no value"),
        ("out=null", "out has no value"),
        ("classifier=timm:resnet10t", "either checkpoint="),
    ],
)
def test_wrong_words_are_told_before_anything_is_written(
    fcam_run, photos, predicted, tmp_path, word, told
):
    with pytest.raises(UserError, match=told):
        predicted(f"checkpoint={fcam_run}", f"images={photos[0]}", word)
    assert not (tmp_path / "out").exists()


def test_a_misspelt_key_is_told_with_the_nearest():
    with pytest.raises(UserError, match=r"imges is no key .*the nearest: images"):
        check_command_line(hydra_words(["imges=photos"]), CONFIG_NAME, complete=False)


@pytest.mark.parametrize(
    "path",
    [
        "a b.jpg",
        "*.jpg",
        "a=b",
        "[1].jpg",
        "x,y",
        "it's",
        "${x}",
        "{a}",
        'say "hi"',
        "a\\b",
        "a\\",
        "a\\'b",
        "a\\\\",
        "ü(1)#",
    ],
)
def test_paths_need_no_quoting(path):
    words = hydra_words([f"images={path}", f"out={path}", f"checkpoint={path}"])
    config = compose_checked(words, CONFIG_NAME, complete=False)
    assert (config.images, config.out, config.checkpoint) == (path, path, path)


def test_lists_numbers_and_quoted_words_stay_what_they_are():
    words = ["images=[a,'b c']", "out='a b'", "classes=[3,tench]", "methods=[native,opticam]"]
    config = compose_checked(hydra_words(words), CONFIG_NAME, complete=False)
    plain = OmegaConf.to_container(config)
    assert plain["images"] == ["a", "b c"]
    assert plain["out"] == "a b"
    assert plain["classes"] == [3, "tench"]
    assert plain["methods"] == ["native", "opticam"]
    many = [f"folder/{number}.jpg" for number in range(2000)]  # longer than a name may be
    (word,) = hydra_words([f"images=[{','.join(many)}]"])
    assert compose_checked([word], CONFIG_NAME, complete=False).images == many
    words = ["classes=7", "methods=gradcam", "attribution.opticam.iterations=5"]
    config = compose_checked(hydra_words(words), CONFIG_NAME, complete=False)
    assert config.classes == 7
    assert method_names(config) == ["gradcam"]
    assert config.attribution.opticam.iterations == 5


def test_the_command_ends_with_what_it_wrote(fcam_run, photos, tmp_path):
    words = [f"checkpoint={fcam_run}", f"images={photos[0]}", f"out={tmp_path}/out"]
    done = script(tmp_path, *words)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "6 images, 3 files skipped",
        f"{tmp_path}/out/predictions.json",
    ]
    assert done.stderr.count("skipped ") == 3
    assert "Traceback" not in done.stderr
    assert not list((tmp_path / "here").iterdir())


def start(tmp_path, *words):
    """Start predict.py in an empty folder ``here``."""
    (tmp_path / "here").mkdir()
    return subprocess.Popen(
        [sys.executable, ROOT / "predict.py", *words],
        cwd=tmp_path / "here",
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def script(tmp_path, *words):
    process = start(tmp_path, *words)
    out, told = process.communicate(timeout=300)
    return subprocess.CompletedProcess(words, process.returncode, out, told)
