"""Files that cannot be written say why, and do not end the process."""

import errno
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors import SafetensorError
from torch import nn

from learned_saliency.pipeline.export.formats import FORMATS, weights

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

    monkeypatch.setattr(weights, "save_file", full)
    source = SimpleNamespace(module=nn.Linear(2, 2))
    with pytest.raises(OSError, match="No space left") as caught:
        FORMATS["safetensors"].write(source, None, tmp_path / "x.safetensors")
    assert caught.value.errno == errno.ENOSPC
