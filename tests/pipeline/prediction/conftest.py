"""Photographs, and calls of predict.py's work."""

import json

import numpy as np
import pytest
from PIL import Image

from learned_saliency.pipeline.cli import hydra_words
from learned_saliency.pipeline.cli.compose import compose_checked
from learned_saliency.pipeline.prediction.predict import CONFIG_NAME, predict


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
