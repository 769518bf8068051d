"""The Python API: the same maps, classes and boxes as the module gives, at any image's own size."""

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from learned_saliency import ImageError, load
from learned_saliency.attribution import GradCAM
from learned_saliency.datamodules.transforms import read_resized, scale_boxes, standardize
from learned_saliency.pipeline.cli.errors import UserError
from learned_saliency.pipeline.prediction.placing import to_original
from learned_saliency.trainers import NATIVE


@pytest.fixture(scope="module")
def fcam(fcam_run):
    return load(fcam_run, device="cpu")


@pytest.fixture(scope="module")
def cam(fcam_run):
    path = fcam_run / "checkpoints" / "classifier" / "best.ckpt"
    return load(path, methods=[NATIVE, "gradcam"], device="cpu")


@pytest.fixture(scope="module")
def photos():
    """Images of several sizes, smooth and noisy."""
    generator = np.random.default_rng(0)
    sizes = [(40, 90), (48, 48), (31, 17), (1, 1), (300, 5)]
    return [generator.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]


def test_three_lines_give_maps_and_classes(fcam_run, photos):
    model = load(fcam_run)
    found = model([Image.fromarray(photo) for photo in photos])
    maps, classes = [f.map for f in found], [f.classes[0].name for f in found]
    assert [m.shape for m in maps] == [photo.shape[:2] for photo in photos]
    assert all(m.dtype == np.float32 and m.min() >= 0 and m.max() <= 1 for m in maps)
    assert all(name in model.class_names for name in classes)


@pytest.mark.parametrize("center_crop", [False, True])
def test_the_network_sees_what_it_sees_in_evaluation(fcam, photos, tmp_path, center_crop):
    fcam.center_crop = center_crop
    for photo in photos[:3]:
        Image.fromarray(photo).save(tmp_path / "a.png")
        expected = read_resized(tmp_path / "a.png", fcam.size, center_crop)
        assert torch.equal(fcam.prepare(photo), expected)
    fcam.center_crop = False


def test_maps_probabilities_and_classes_are_the_module_s(cam, photos):
    small = [cv2.resize(photo, (cam.size, cam.size)) for photo in photos]
    found = cam(small, top_k=2)
    batch = torch.from_numpy(np.stack(small)).permute(0, 3, 1, 2)
    maps, targets = [], []
    images = standardize(batch, cam.mean, cam.std)
    logits = cam.module.classifier(images).detach()
    targets = logits.topk(2).indices
    for position in range(2):
        maps, _ = cam.module.maps(images, targets[:, position])
        for i, image in enumerate(found):
            for name in (NATIVE, "gradcam"):
                np.testing.assert_allclose(
                    image.maps[name][position], maps[name][i].detach(), atol=1e-5
                )
    for i, image in enumerate(found):
        assert [c.index for c in image.classes] == targets[i].tolist()
        assert [c.name for c in image.classes] == [cam.class_names[t] for t in targets[i]]
        expected = logits[i].softmax(0)
        for c in image.predicted:
            assert c.probability == pytest.approx(float(expected[c.index]), abs=1e-6)
        order = [c.probability for c in image.predicted]
        assert order == sorted(order, reverse=True)
        assert len(order) == 5


def test_an_image_has_the_same_map_in_any_company_and_form(fcam, photos, tmp_path):
    together = fcam(photos)
    fcam.batch_size = 2
    split = fcam(photos)
    fcam.batch_size = 16
    for i, photo in enumerate(photos):
        Image.fromarray(photo).save(tmp_path / f"{i}.png")
        tensor = torch.from_numpy(photo).permute(2, 0, 1)
        forms = [tmp_path / f"{i}.png", Image.fromarray(photo), photo / 255.0, tensor, tensor / 255]
        for form in forms:
            (alone,) = fcam(form)
            np.testing.assert_allclose(alone.map, together[i].map, atol=1e-5)
        np.testing.assert_allclose(split[i].map, together[i].map, atol=1e-5)
    stacked = np.stack([photos[1], photos[1][::-1]])
    as_tensor = torch.from_numpy(stacked).permute(0, 3, 1, 2)
    for batch in (stacked, as_tensor, as_tensor / 255):
        first, second = fcam(batch)
        np.testing.assert_allclose(first.map, together[1].map, atol=1e-5)
        np.testing.assert_allclose(second.map, fcam([photos[1][::-1]])[0].map, atol=1e-5)


def test_a_map_for_every_class_comes_once(fcam, cam, photos):
    (found,) = fcam(photos[0], classes=[0, 1, 2])
    assert found.maps[NATIVE].shape == (1, 40, 90)
    (found,) = cam(photos[0], classes=[0, 1, 2])
    assert found.maps[NATIVE].shape == found.maps["gradcam"].shape == (3, 40, 90)
    assert found.boxes["gradcam"].shape == (3, 4)
    assert [c.index for c in found.classes] == [0, 1, 2]


def test_boxes_surround_the_largest_region_of_the_written_map(fcam_run, photos):
    model = load(fcam_run, box_threshold=0.4, device="cpu")
    for photo, found in zip(photos[:3], model(photos[:3]), strict=True):
        levels = (found.map.astype(np.float64) * 255).astype(np.uint8)
        above = (levels > int(0.4 * levels.max())).astype(np.uint8)
        contours = cv2.findContours(above, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)[0]
        x, y, width, height = cv2.boundingRect(max(contours, key=cv2.contourArea))
        x1 = min(x + width, photo.shape[1] - 1)
        assert found.box.tolist() == [x, y, x1, min(y + height, photo.shape[0] - 1)]


def bilinear(saliency, width, height):
    """Brute force: half-pixel centers, clamped at the border."""
    found = np.empty((height, width))
    size = len(saliency)
    for y in range(height):
        for x in range(width):
            v = np.clip((y + 0.5) * size / height - 0.5, 0, size - 1)
            u = np.clip((x + 0.5) * size / width - 0.5, 0, size - 1)
            y0, x0 = int(v), int(u)
            y1, x1 = min(y0 + 1, size - 1), min(x0 + 1, size - 1)
            b, a = v - y0, u - x0
            upper = (1 - a) * saliency[y0, x0] + a * saliency[y0, x1]
            lower = (1 - a) * saliency[y1, x0] + a * saliency[y1, x1]
            found[y, x] = (1 - b) * upper + b * lower
    return found


def test_maps_grow_bilinearly_and_shrink_by_averaging():
    saliency = np.random.default_rng(0).random((8, 8), dtype=np.float32)
    grown = to_original(saliency, 29, 13)
    np.testing.assert_allclose(grown, bilinear(saliency, 29, 13), atol=1e-5)
    np.testing.assert_allclose(
        to_original(saliency, 4, 2), saliency.reshape(2, 4, 4, 2).mean((1, 3)), atol=1e-6
    )
    np.testing.assert_allclose(to_original(saliency, 1, 1), [[saliency.mean()]], atol=1e-6)
    both = to_original(saliency, 24, 2)  # wider and lower
    np.testing.assert_allclose(both, bilinear(saliency, 24, 8).reshape(2, 4, 24).mean(1), atol=1e-5)
    np.testing.assert_array_equal(to_original(saliency, 8, 8), saliency)


@pytest.mark.parametrize(("width", "height"), [(64, 32), (30, 75), (333, 100), (1, 9), (32, 32)])
def test_a_map_of_the_middle_lies_in_the_middle(width, height):
    placed = to_original(np.ones((32, 32), np.float32), width, height, center_crop=True)
    assert placed.shape == (height, width)
    rows, columns = np.nonzero(placed)
    corners = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    assert set(np.unique(placed)) <= {0, 1}
    # Where the data module's boxes say that the square is.
    sizes = torch.tensor([[width, height]])
    square = scale_boxes(torch.tensor([corners]), sizes, 32, center_crop=True)
    cell = 32 / min(width, height) + 1
    assert (square - torch.tensor([[0, 0, 32, 32]])).abs().max() <= cell


def test_the_model_stays_as_it_was(cam, photos):
    parameters = list(cam.module.parameters())
    flags = [p.requires_grad for p in parameters]
    before = {k: v.clone() for k, v in cam.module.state_dict().items()}
    cam(photos[:2])
    assert [p.requires_grad for p in parameters] == flags
    assert all(p.grad is None for p in parameters)
    torch.testing.assert_close(dict(cam.module.state_dict()), before, rtol=0, atol=0)


def test_own_methods_and_refinements(fcam_run, photos):
    model = load(
        fcam_run,
        methods={"mine": GradCAM(interpolation="nearest")},
        refine=lambda image, saliency: (saliency > 0.5).astype(np.float32),
        device="cpu",
    )
    (found,) = model(photos[1])
    assert list(found.maps) == [NATIVE, "mine"]
    assert set(np.unique(found.maps["mine"])) == {0, 1}


def test_classes_by_name_and_number(cam, photos):
    name = cam.class_names[5]
    for wanted in (5, "5", name, [name], (5, name)):
        (found,) = cam(photos[0], classes=wanted)
        assert [c.index for c in found.classes] == [5]


def test_a_name_of_several_classes_is_refused_with_their_numbers(cam, monkeypatch):
    names = ["crane", "dog", "crane", "cock (3)", "hen", "cock (5)", "7", *"abcdefghi"]
    monkeypatch.setattr(cam, "class_names", names)
    for word, numbers in (("crane", "0, 2"), ("cock", "3, 5")):
        with pytest.raises(UserError, match=f"'{word}' is the name of 2 .* numbers {numbers} "):
            cam.targets(["dog", word])
    assert cam.targets(["dog", 2, "hen", 7, "7", "cock (5)"]) == [1, 2, 4, 7, 6, 5]


def test_an_unknown_name_is_answered_with_names(cam, monkeypatch):
    monkeypatch.setattr(cam, "class_names", ["tabby", "tiger cat", "lynx", *"abcdefghijklm"])
    with pytest.raises(UserError, match=r"named 'cat'; the nearest: .*tiger cat"):
        cam.targets("cat")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"classes": "no such class"}, "no class is named 'no such class'"),
        ({"classes": 16}, "16 is none of the 16 classes"),
        ({"classes": -1}, "-1 is none"),
        ({"classes": []}, "at least one"),
        ({"top_k": 17}, "there are 16 classes"),
        ({"top_k": 0}, "top_k=0"),
        ({"classes": 3, "top_k": 2}, "leave it out"),
    ],
)
def test_wrong_classes_are_told(cam, photos, options, told):
    with pytest.raises(UserError, match=told):
        cam(photos, **options)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"methods": ["gradcm"]}, "no method is named 'gradcm'; the nearest: gradcam"),
        ({"methods": ["rollout"]}, "'rollout' does not fit this classifier"),
        ({"methods": []}, "at least one method"),
        ({"device": "gpu0"}, "device=gpu0"),
        ({"box_threshold": 1.0}, "box_threshold=1.0"),
        ({"refine": "blur"}, "refine=blur"),
        ({"batch_size": 0}, "batch_size=0"),
    ],
)
def test_wrong_options_are_told(fcam_run, options, told):
    with pytest.raises(UserError, match=told):
        load(fcam_run, **options)


def test_damaged_images_are_told(cam, tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"")
    with pytest.raises(ImageError, match=r"a\.jpg: the file is empty"):
        cam(tmp_path / "a.jpg")


def test_what_is_printed_is_short(cam, photos):
    assert repr(cam) == (
        "SaliencyPredictor(methods=['native', 'gradcam'], 16 classes, input 32 x 32, "
        f"box_threshold={cam.box_threshold:g}, device=cpu)"
    )
    (found,) = cam(photos[0], top_k=2)
    first, second = found.classes
    shown = f"ClassScore({first.index}, {first.name!r}, {first.probability:.1%})"
    assert repr(first) == shown
    assert repr(found) == (
        "ImageSaliency(maps={native: (2, 40, 90), gradcam: (2, 40, 90)}, "
        f"classes=[{shown}, {second!r}], best=[{shown}])"
    )


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_device_does_not_matter(fcam_run, photos):
    for slow, fast in zip(
        load(fcam_run, device="cpu")(photos), load(fcam_run)(photos), strict=True
    ):
        np.testing.assert_allclose(fast.map, slow.map, atol=1e-2)
