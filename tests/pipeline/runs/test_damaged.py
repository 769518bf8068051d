"""Damage to files of weights is noticed, and the true reason is told."""

import os
import zipfile

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from learned_saliency.models import MultiScaleBackbone
from learned_saliency.pipeline.cli import UserError
from learned_saliency.pipeline.runs.third_party import load_into
from learned_saliency.storage import WeightsError, read_weights

STATE = {f"{i}.weight": torch.full((8, 8), float(i)) for i in range(4)}


@pytest.fixture
def path(tmp_path):
    torch.save({"state_dict": STATE, "epoch": 3}, tmp_path / "a.ckpt")
    return tmp_path / "a.ckpt"


def refused(path, reason):
    with pytest.raises(WeightsError, match=reason) as told:
        read_weights(path)
    assert "\n" not in str(told.value)


def test_no_damaged_byte_is_loaded(path):
    """Each byte in turn, of tensors, names and the archive's own lists."""
    whole = path.read_bytes()
    expected = read_weights(path)
    noticed = 0
    for place in range(0, len(whole), 11):
        damaged = bytearray(whole)
        damaged[place] ^= 0x5A
        path.write_bytes(damaged)
        try:
            found = read_weights(path)
        except WeightsError:
            noticed += 1
        else:  # the byte is padding
            assert found["epoch"] == 3
            torch.testing.assert_close(found, expected, rtol=0, atol=0)
    assert noticed > 0.5 * len(whole) / 11


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_damaged_tensors_are_called_damaged(path, share):
    with zipfile.ZipFile(path) as archive:
        entry = archive.getinfo("a/data/2")
    damaged = bytearray(path.read_bytes())
    damaged[entry.header_offset + 64 + int(share * 192)] ^= 1
    path.write_bytes(damaged)
    torch.load(path, weights_only=True)  # which does not notice
    refused(path, r"^damaged \(its content does not fit its checksums\)$")


def test_files_without_checksums_still_load(tmp_path):
    kept = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(STATE, tmp_path / "plain.pt")
    finally:
        torch.serialization.set_crc32_options(kept)
    torch.save(STATE, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    for path in sorted(tmp_path.iterdir()):
        torch.testing.assert_close(read_weights(path), STATE)


def test_archives_do_not_unpack_to_more_than_their_size(path, tmp_path):
    """torch.save compresses nothing; a compressed file of zeros takes a thousand times its size."""
    bomb = tmp_path / "bomb.ckpt"
    with zipfile.ZipFile(path) as whole, zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as other:
        for name in whole.namelist():
            other.writestr(name, whole.read(name))
    torch.load(bomb, weights_only=True)  # which unpacks it
    refused(bomb, "^not loaded, it would unpack to more than its own size$")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_truncated_files_are_called_truncated(path, share):
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    refused(path, "^truncated")


def test_what_is_no_file_of_weights_is_called_what_it_is(tmp_path):
    refused(tmp_path / "missing.ckpt", "^there is no such file$")
    (tmp_path / "folder.ckpt").mkdir()
    refused(tmp_path / "folder.ckpt", "^is a folder, not a file$")
    os.mkfifo(tmp_path / "pipe.ckpt")
    refused(tmp_path / "pipe.ckpt", "^is no regular file$")  # never waited for
    for name in ("empty.ckpt", "empty.safetensors"):
        (tmp_path / name).touch()
        refused(tmp_path / name, "^is empty$")
    for name in ("text.ckpt", "text.safetensors"):
        (tmp_path / name).write_text("import os\n" * 50)
        refused(tmp_path / name, "no file of weights")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_not_called_truncated(path):
    path.chmod(0)
    refused(path, r"^cannot be read \(Permission denied\)$")


def test_a_read_error_is_told(path, monkeypatch):
    def failing(self, *args, **kwargs):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(type(path), "open", failing)
    refused(path, r"^cannot be read \(Permission denied\)$")


def test_weights_of_foreign_networks_that_are_no_numbers_are_named(tmp_path):
    path, network = tmp_path / "a.pt", nn.Linear(2, 2)
    network.register_buffer("mask", torch.full((2,), -torch.inf))  # which is meant so
    torch.save(network.state_dict(), path)
    load_into(network, path)
    torch.save(network.state_dict() | {"bias": torch.tensor([0, torch.nan])}, path)
    with pytest.raises(UserError, match=r"^weights=.*a\.pt: its weights 'bias' hold NaN"):
        load_into(network, path)


def test_weights_of_a_backbone_that_are_no_numbers_are_named(tmp_path):
    state = timm.create_model("resnet10t", pretrained=False).state_dict()
    state["layer1.0.conv1.weight"][0] = torch.inf
    torch.save(state, tmp_path / "a.pt")
    with pytest.raises(ValueError, match=r"a\.pt: its weights '.*conv1.*' hold NaN or infinite"):
        MultiScaleBackbone("resnet10t", pretrained=str(tmp_path / "a.pt"))


def test_safetensors_are_checked_by_their_header_alone(tmp_path):
    path = tmp_path / "a.safetensors"
    save_file(STATE, path)
    path.write_bytes(path.read_bytes()[:-5])
    refused(path, "^truncated, or no file of weights")


@pytest.mark.parametrize("name", ["a.pt2", "a.onnx"])
def test_an_exported_program_is_no_truncated_file(tmp_path, name):
    (tmp_path / name).write_bytes(b"program")
    refused(tmp_path / name, "is a program, which runs without this project")
