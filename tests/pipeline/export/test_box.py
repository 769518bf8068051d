"""The box script that lies beside exported models."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from learned_saliency.metrics import boxes_from_saliency
from learned_saliency.pipeline.export import box

SHAPES = ((40, 56), (9, 9), (1, 30))


def maps(shape, count=60):
    """Noise of all sizes of grain: single pixels, holes, regions of equal area; and plain maps."""
    generator = torch.Generator().manual_seed(0)
    found = [torch.zeros(shape), torch.ones(shape), torch.full(shape, 1e-3)]
    for i in range(count):
        side = 2 + i % 14
        coarse = torch.rand(1, 1, side, side, generator=generator)
        mode = "bicubic" if i % 2 else "nearest"
        grown = F.interpolate(coarse, shape, mode=mode)[0, 0].clamp(0, 1)
        found.append((grown * 4).round() / 4 if i % 3 == 0 else grown)
    return torch.stack(found)


@pytest.mark.parametrize("shape", SHAPES)
def test_boxes_are_those_of_the_metrics(shape):
    saliency = maps(shape)
    seen = set()
    for threshold in (0.0, 0.25, 0.5, 0.7, 0.999):
        found = [box.largest_box(values.numpy(), threshold) for values in saliency]
        assert found == list(map(tuple, boxes_from_saliency(saliency, threshold).tolist()))
        seen |= set(found)
    assert len(seen) > 20


def test_the_script_runs_without_this_project(tmp_path):
    np.save(tmp_path / "map.npy", np.eye(8, dtype=np.float32)[:, :6])
    (tmp_path / "box.py").write_text(Path(box.__file__).read_text())
    code = "import numpy, box; print(*box.largest_box(numpy.load('map.npy'), 0.5))"
    command = [sys.executable, "-c", f"import sys; sys.modules['torch'] = None; {code}"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["0", "0", "5", "6"], done.stderr
