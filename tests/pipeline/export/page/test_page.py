"""Texts of a page are escaped, its parts are self-contained, and its graph is read again."""

import base64
import hashlib
import io
import json
import re

import pytest
from PIL import Image

from learned_saliency.datamodules import Decoding
from learned_saliency.pipeline.cli import UserError
from learned_saliency.pipeline.export.images import Files
from learned_saliency.pipeline.export.page import (
    build_page,
    find_runtime,
    gallery_pictures,
    read_graph,
)
from tests.support.web_runtime import web_runtime

EVIL = '</script><script>alert("1")</script> & {{graph}}'
FACTS = {
    "method": "cam",
    "data": EVIL,
    "backbone": "a<b",
    "maps": "label",
    "class_names": [EVIL, "b"],
    "input_size": [32, 32],
    "box_threshold": 0.25,
    "metrics": {"test": {"native": {"max_box_acc": 0.5}, "<i>": {"max_box_acc": None}}},
}


@pytest.fixture
def page(tmp_path):
    settings = {"class_names": [EVIL, "größer"]}
    return build_page(b"\x00graph", find_runtime(str(web_runtime(tmp_path))), settings, FACTS)


def test_texts_are_escaped_and_settings_are_read_as_given(page):
    text = page.decode()
    assert text.count("alert(") == 4  # as text in title, headline and facts, and in the settings
    assert "<script>alert" not in text
    assert "<i>" not in text
    settings = re.search(r'<script type="application/json"[^>]*>(.*?)</script>', text, re.S)[1]
    assert json.loads(settings) == {"class_names": [EVIL, "größer"]}
    assert ">50.0</td>" in text


def test_the_policy_allows_the_pages_own_script_and_style_and_no_connection(page):
    text = page.decode()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1]
    for kind, tag in (("script-src", "script"), ("style-src", "style")):
        content = re.search(rf"<{tag}>(.*?)</{tag}>", text, re.S)[1].encode()
        digest = base64.b64encode(hashlib.sha256(content).digest()).decode()
        assert f"{kind} 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none';")
    assert "unsafe-inline" not in policy
    assert not re.search(r'(src|href)="(?!data:,")', text)


def test_the_graph_is_read_out_again(page):
    assert read_graph(page) == b"\x00graph"
    with pytest.raises(ValueError, match="holds no graph"):
        read_graph(b"<html></html>")


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda root: (root / "package.json").unlink(), r"there is no .*package\.json; `npm inst"),
        (lambda root: (root / "package.json").write_text("[1"), "is no package.json of npm"),
        (
            lambda root: (root / "package.json").write_text('{"name": "x", "version": "1"}'),
            "holds the package x, not onnxruntime-web",
        ),
        (
            lambda root: (root / "package.json").write_text(
                '{"name": "onnxruntime-web", "version": "1.22.0"}'
            ),
            r"has onnxruntime-web 1\.22\.0, .* take version 1\.24\.3 or a later one: `npm",
        ),
        (
            lambda root: (root / "dist/ort.wasm.min.mjs").unlink(),
            r"onnxruntime-web 1\.30\.0 has no file .*dist.ort\.wasm\.min\.mjs; .*`npm pack",
        ),
    ],
)
def test_a_wrong_folder_of_the_runtime_is_told(tmp_path, spoil, told):
    root = web_runtime(tmp_path)
    spoil(root)
    with pytest.raises(UserError, match=told) as caught:
        find_runtime(str(root))
    assert "\n" not in str(caught.value)


def test_pictures_of_the_gallery_are_turned_shrunk_and_hold_pixels_alone(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    exif[0x010F] = "a camera"
    Image.new("RGB", (1000, 500), (200, 30, 40)).save(tmp_path / "a.jpg", exif=exif)
    paths = [tmp_path / "a.jpg"] * 5
    pictures = gallery_pictures(Files(paths, "mine"), Decoding(exif_orientation=True))
    assert len(pictures) == 3
    assert (pictures[0]["name"], pictures[0]["type"]) == ("a.jpg", "image/png")
    content = base64.b64decode(pictures[0]["content"])
    assert b"camera" not in content
    assert Image.open(io.BytesIO(content)).size == (320, 640)
    (tmp_path / "bad.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"gallery: .*bad\.png does not decode \(no image"):
        gallery_pictures(Files([tmp_path / "bad.png"], "mine"), Decoding())
