"""Files that cannot be written say why, and do not end the process."""

import errno
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from learned_saliency.pipeline.export.formats import FORMATS
from learned_saliency.storage import weights as storage_weights

FULL = Path("/dev/full")


@pytest.mark.skipif(not FULL.is_char_device(), reason="a device that is always full")
def test_a_program_on_a_full_disk_is_an_error_of_the_disk():
    """Torch's own writer aborts the process there."""
    program = torch.export.export(nn.Linear(2, 2), (torch.zeros(1, 2),))
    with pytest.raises(OSError, match="No space left") as caught:
        FORMATS["pt2"].write(SimpleNamespace(program=lambda: program), None, FULL)
    assert caught.value.errno == errno.ENOSPC


def test_weights_on_a_full_disk_are_an_error_of_the_disk(tmp_path, monkeypatch):
    def full(state, path):
        raise SafetensorError("Error while serializing: I/O error: No space (os error 28)")

    monkeypatch.setattr(storage_weights, "save_file", full)
    source = SimpleNamespace(module=nn.Linear(2, 2), facts={"box_threshold": 0.3})
    with pytest.raises(OSError, match="No space left") as caught:
        FORMATS["safetensors"].write(source, None, tmp_path / "x.safetensors")
    assert caught.value.errno == errno.ENOSPC


def test_weights_hold_the_threshold_that_their_json_names(tmp_path):
    network = nn.Linear(2, 2)
    network.register_buffer("box_threshold", torch.tensor(0.5))
    source = SimpleNamespace(module=network, facts={"box_threshold": 0.25})
    FORMATS["safetensors"].write(source, None, tmp_path / "x.safetensors")
    assert load_file(tmp_path / "x.safetensors")["box_threshold"] == torch.tensor(0.25)
    assert network.box_threshold == 0.5
