"""The settings of a page are the model's, and what does not suit a page is refused."""

import hashlib
import json
import re

import numpy as np
import pytest
import torch

from learned_saliency.pipeline.cli.compose import compose_checked
from learned_saliency.pipeline.cli.errors import UserError
from learned_saliency.pipeline.export.export import CONFIG_NAME, export
from learned_saliency.pipeline.export.formats import FORMATS
from learned_saliency.pipeline.export.formats.html import _finds_class
from learned_saliency.pipeline.export.reading import read_source
from learned_saliency.visualization import colorize
from tests.support.untrained import untrained_run
from tests.support.web_runtime import web_runtime


def test_a_page_says_how_the_model_wants_its_images(creatures, tmp_path):
    run = untrained_run(creatures, tmp_path / "run", "model=cam", "data.center_crop=true")
    words = [f"checkpoint={run}", "format=html", f"ort={web_runtime(tmp_path)}", "maps=predicted"]
    config, page = compose_checked(words, CONFIG_NAME, complete=False), tmp_path / "cam.html"
    source = read_source(config, True)
    page.write_bytes(b"a graph")
    made = FORMATS["html"].finish(source, config, page)["page"]
    assert made["onnxruntime_web"] == "1.30.0"
    assert made["gallery_source"] == "test of creatures"
    assert made["graph_sha256"] == hashlib.sha256(b"a graph").hexdigest()
    text = page.read_text()
    assert str(tmp_path) not in text
    settings = json.loads(re.search(r'id="settings">(.*?)</script>', text, re.S)[1])
    assert (settings["maps"], settings["size"], settings["center_crop"]) == ("predicted", 32, True)
    assert settings["class_names"][3] == "c3"
    assert settings["box_threshold"] == source.facts["box_threshold"]
    assert settings["colormap"][-3:] == colorize(np.ones((1, 1))).ravel().tolist()
    assert [picture["name"] for picture in settings["gallery"]] == made["gallery"]
    assert len(made["gallery"]) == 3


@pytest.mark.parametrize(
    ("of_unknown", "known"),
    [
        (lambda logits: logits.argmax(1), True),
        (lambda logits: torch.full((len(logits),), -1), False),
        (lambda logits: torch.zeros(len(logits), dtype=torch.int64), False),
        (lambda logits: 1 / 0, False),
    ],
)
def test_a_page_asks_for_the_predicted_class_in_one_run_where_the_graph_finds_it(of_unknown, known):
    """Graphs that take -1 for the last class, for another one, or fail, are run twice."""
    weight = torch.randn(5, 3 * 64, generator=torch.Generator().manual_seed(1))

    def run(images, labels):
        logits = images.flatten(1) @ weight.T
        classes = of_unknown(logits) if (labels < 0).all() else labels
        maps = torch.nn.functional.one_hot(classes % 5, 5).float()
        return {"logits": logits, "saliency": maps}

    assert _finds_class(run, 8) is known


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "format=html needs ort=FOLDER, the unpacked npm package onnxruntime-web: `npm inst"),
        (["maps=all"], "maps=all: leave it out of format=html; any class can be chosen"),
        (["gallery={folder}/nothing"], "gallery=.*nothing: there is no such folder"),
    ],
)
def test_what_does_not_suit_a_page_is_told_before_any_work(tmp_path, words, told):
    pytest.importorskip("onnx")
    if words:
        words = [*words, f"ort={web_runtime(tmp_path)}"]
    words = ["checkpoint=x", "format=html", *(word.format(folder=tmp_path) for word in words)]
    with pytest.raises(UserError, match=told):
        FORMATS["html"].check(compose_checked(words, CONFIG_NAME))


@pytest.mark.parametrize("word", ["ort=x", "gallery=x"])
def test_other_formats_refuse_what_only_a_page_reads(word):
    config = compose_checked(["checkpoint=x", "format=pt2", word], CONFIG_NAME)
    with pytest.raises(UserError, match=rf"(?i){word}: belongs to format=html; leave it out"):
        export(config)
