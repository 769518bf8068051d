"""Files of weights of a foreign network: they are loaded whole, or refused with a reason."""

from functools import cache

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from learned_saliency.pipeline.conversion.published import read_published
from learned_saliency.pipeline.runs.third_party import load_into
from learned_saliency.pipeline.runs.weights import find_state_dict, read_weights
from tests.fuzz.archives import weight_files
from tests.fuzz.guards import budget, outcome


def network() -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 2))
    return layers.eval()


@cache
def contents() -> dict[str, object]:
    """Contents of good files."""
    state = {name: tensor.contiguous() for name, tensor in network().state_dict().items()}
    wrapped = {f"module.{name}": tensor for name, tensor in state.items()}
    return {"plain": state, "wrapped": {"state_dict": wrapped, "epoch": 3, "args": {"lr": 0.1}}}


@budget(60)
@given(draw=st.data(), form=st.sampled_from(["plain", "wrapped"]))
def test_weights(place, draw, form):
    ending, content = draw.draw(weight_files(contents()[form], contents()["plain"]))
    path = place / "input" / f"weights{ending}"
    path.write_bytes(content)
    loaded = network()
    outcome(lambda: find_state_dict(read_weights(path, str(path)), str(path)), place, [str(path)])
    outcome(lambda: read_published([path]), place, [str(path)])
    found = outcome(lambda: load_into(loaded, path), place, [str(path)])
    if not found.message:
        logits = loaded(torch.zeros(1, 3, 4, 4))
        assert logits.shape == (1, 2)
        assert logits.dtype == torch.float32
        assert all(p.is_floating_point() for p in loaded.parameters())
