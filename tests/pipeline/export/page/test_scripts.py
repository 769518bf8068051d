"""The page's scripts under node give what the package gives: squares, maps, boxes, colors."""

import json
import shutil
import subprocess

import cv2
import numpy as np
import pytest
import torch

from learned_saliency.datamodules import resize_pixels
from learned_saliency.datamodules.resampling import resizes_down_first
from learned_saliency.metrics import boxes_from_saliency
from learned_saliency.pipeline.export.page import read_scripts
from learned_saliency.pipeline.prediction.placing import to_original
from learned_saliency.visualization import colorize, overlay

NODE = shutil.which("node")
pytestmark = pytest.mark.skipif(NODE is None, reason="node is not installed")
MAIN = """
const cases = JSON.parse(require("fs").readFileSync(0, "utf8"));
console.log(JSON.stringify(cases.map((given) => { %s })));
"""


def run(body, cases):
    """Results of a function's body for each of the cases, which it knows as `given`."""
    script = read_scripts("resizing", "placing", "boxes", "colors") + MAIN % body
    done = subprocess.run(
        [NODE, "-e", script], input=json.dumps(cases), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def blobs(generator, height, width, coarse):
    """A smooth random map with values in [0, 1]."""
    noise = generator.random((coarse, coarse)).astype(np.float32)
    smooth = cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC).clip(0, 1)
    return np.ascontiguousarray(smooth)


@pytest.mark.parametrize("size", [16, [11, 20]])
@pytest.mark.parametrize("center_crop", [False, True, 21])
def test_resized_images_equal_ours_to_the_integer(center_crop, size):
    generator = np.random.default_rng(0)
    shapes = [(1, 1), (1, 50), (90, 2), (16, 16), (15, 17), (31, 64), (200, 21), (20, 230)]
    shapes += generator.integers(1, 120, (16, 2)).tolist()
    images = [generator.integers(0, 256, (h, w, 3), dtype=np.uint8) for h, w in shapes]
    opaque = [np.dstack([image, np.full(image.shape[:2], 255, np.uint8)]) for image in images]
    cases = [
        {"data": image.ravel().tolist(), "height": h, "width": w, "channels": 4}
        for (h, w), image in zip(shapes, opaque, strict=True)
    ]
    words = f"{size}, {json.dumps(center_crop)}, {json.dumps(resizes_down_first())}"
    found = run(f"return Array.from(toSquare(given, {words}));", cases)
    for image, values in zip(images, found, strict=True):
        expected = resize_pixels(image, size, center_crop).permute(1, 2, 0).numpy()
        np.testing.assert_array_equal(np.array(values).reshape(expected.shape), expected)


@pytest.mark.parametrize("shape", [(12, 12), (7, 15)])
@pytest.mark.parametrize("center_crop", [False, True, 19])
def test_placed_maps_equal_ours(center_crop, shape):
    generator = np.random.default_rng(1)
    sizes = [(12, 12), (24, 36), (5, 4), (12, 1), (1, 80), (90, 11), (6, 31)]
    sizes += generator.integers(1, 60, (14, 2)).tolist()
    maps = [generator.random(shape, dtype=np.float32) for _ in sizes]
    cases = [
        {"map": saliency.ravel().tolist(), "width": width, "height": height}
        for saliency, (width, height) in zip(maps, sizes, strict=True)
    ]
    found = run(
        f"return Array.from(toOriginal(Float32Array.from(given.map), {list(shape)}, given.width, "
        f"given.height, {json.dumps(center_crop)}));",
        cases,
    )
    for saliency, (width, height), values in zip(maps, sizes, found, strict=True):
        expected = to_original(saliency, width, height, center_crop)
        # single precision, summed up in another order
        np.testing.assert_allclose(np.reshape(values, (height, width)), expected, atol=1e-6)


def test_boxes_equal_opencvs():
    """Smooth maps, noise with many holes, ties of regions of no area, and a map of zeros."""
    generator = np.random.default_rng(2)
    maps = [np.zeros((5, 7), np.float32), np.ones((4, 6), np.float32)]
    for number in range(150):
        height, width = generator.integers(1, 40, 2).tolist()
        if number % 3 == 0:
            maps.append(blobs(generator, height, width, int(generator.integers(2, 9))))
        elif number % 3 == 1:
            maps.append((generator.random((height, width)) < 0.6).astype(np.float32))
        else:
            maps.append((generator.random((height, width)) < 0.05).astype(np.float32))
    thresholds = generator.random(len(maps)).tolist()
    cases = [
        {"map": m.ravel().tolist(), "height": m.shape[0], "width": m.shape[1], "threshold": t}
        for m, t in zip(maps, thresholds, strict=True)
    ]
    found = run(
        "return largestBox(Float32Array.from(given.map), given.width, given.height, "
        "given.threshold);",
        cases,
    )
    for saliency, threshold, box in zip(maps, thresholds, found, strict=True):
        expected = boxes_from_saliency(torch.from_numpy(saliency)[None], threshold)[0].tolist()
        assert (box or [0, 0, 0, 0]) == expected


def test_colors_equal_ours():
    generator = np.random.default_rng(3)
    saliency = np.linspace(0, 1, 511, dtype=np.float32)[None]
    image = generator.integers(0, 256, (*saliency.shape, 3), dtype=np.uint8)
    table = colorize(np.arange(256)[None] / 255).ravel().tolist()
    case = {"map": saliency.ravel().tolist(), "image": image.ravel().tolist(), "table": table}
    body = """
    const colors = colorize(Float32Array.from(given.map), given.table);
    const rgb = colors.filter((_, k) => k % 4 !== 3);
    return [Array.from(rgb), Array.from(overlay(given.image, rgb, 0.3))];
    """
    ((colors, blended),) = run(body, [case])
    np.testing.assert_array_equal(np.reshape(colors, image.shape), colorize(saliency))
    expected = overlay(image, saliency, 0.3).astype(int)
    assert np.abs(np.reshape(blended, image.shape) - expected).max() <= 1  # halves
