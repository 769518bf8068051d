"""Models that are named as they are on the Hugging Face Hub."""

import sys

import pytest

from learned_saliency.pipeline.cli import UserError, find_checkpoint

hub = pytest.importorskip("huggingface_hub")


def test_a_model_is_fetched_by_name_with_nothing_that_is_not_read(tmp_path, monkeypatch):
    asked = []

    def download(name, **options):
        asked.append((name, options))
        (tmp_path / "config.json").touch()
        (tmp_path / "model.safetensors").touch()
        return str(tmp_path)

    monkeypatch.setattr(hub, "snapshot_download", download)
    for name in ("hf://me/x", "hf://me/x@v1"):
        assert find_checkpoint(name, "best.ckpt") == tmp_path / "model.safetensors"
    files = ["model.safetensors", "config.json"]
    assert asked == [
        ("me/x", {"revision": None, "allow_patterns": files}),
        ("me/x", {"revision": "v1", "allow_patterns": files}),
    ]


def test_what_cannot_be_fetched_is_one_sentence(tmp_path, monkeypatch):
    def refuse(name, **options):
        raise hub.errors.LocalEntryNotFoundError("no network. Please check your connection.")

    monkeypatch.setattr(hub, "snapshot_download", refuse)
    with pytest.raises(UserError, match=r"^hf://me/x: cannot be fetched \(no network\)\.$"):
        find_checkpoint("hf://me/x", "best.ckpt")
    monkeypatch.setattr(hub, "snapshot_download", lambda name, **options: str(tmp_path))
    with pytest.raises(UserError, match=r"there is no such checkpoint"):
        find_checkpoint("hf://me/x", "best.ckpt")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UserError, match=r"needs the package huggingface_hub: pip install"):
        find_checkpoint("hf://me/x", "best.ckpt")
