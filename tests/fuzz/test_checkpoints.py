"""Checkpoints and exports of this project: a network comes of them, or the file is named."""

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save

from learned_saliency import storage
from learned_saliency.pipeline.runs.checkpoints import (
    beside,
    load_module,
    load_network,
    read_checkpoint,
)
from learned_saliency.pipeline.runs.facts import checkpoint_facts
from learned_saliency.trainers import SaliencyModule
from tests.fuzz.archives import odd_values, saved, weight_files
from tests.fuzz.generators import changed_plain, plain_values
from tests.fuzz.guards import budget, outcome
from tests.support.untrained import untrained_run


@pytest.fixture(scope="module", params=["cam", "fcam"])
def content(request, place):
    """Content of a good checkpoint."""
    run = untrained_run(place / "set", place / "run", f"model={request.param}")
    content = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
    # safetensors holds no other
    content["state_dict"] = {k: v.contiguous() for k, v in content["state_dict"].items()}
    return content


def loaded(path) -> SaliencyModule:
    """Read a checkpoint and build everything of it."""
    checkpoint = read_checkpoint(path)
    assert len(checkpoint.class_names) == checkpoint.num_classes
    load_network(checkpoint)
    module = load_module(checkpoint)
    assert json.dumps(checkpoint_facts(checkpoint))
    return module


def try_to_load(place, path):
    module = outcome(lambda: loaded(path), place, [path.name]).value
    if module is not None:
        assert all(p.device.type == "cpu" for p in module.state_dict().values())


@st.composite
def records(draw: st.DrawFn, content: dict) -> bytes:
    """Checkpoint whose record or weights are changed within."""
    part = draw(st.sampled_from(["run", "run", "run", "state_dict", "config"]))
    times = draw(st.integers(1, 3))
    if part == "config":
        config = draw(changed_plain(content["run"]["config"], odd_values(), times))
        return saved(content | {"run": content["run"] | {"config": config}})
    return saved(content | {part: draw(changed_plain(content[part], odd_values(), times))})


@budget(25)
@given(draw=st.data())
def test_checkpoints(place, content, draw):
    if draw.draw(st.integers(0, 2)):
        ending, written = ".ckpt", draw.draw(records(content))
    else:
        ending, written = draw.draw(weight_files(content, content["state_dict"]))
    path = place / "input" / f"stranger{ending}"
    beside(path).unlink(missing_ok=True)
    path.write_bytes(written)
    try_to_load(place, path)


@budget(25)
@given(draw=st.data())
def test_exports(place, content, draw):
    path = place / "input" / "stranger.safetensors"
    path.write_bytes(save(content["state_dict"]))
    record = content["run"]
    facts = {key: record[key] for key in ("config", "stage", "selected_by", "class_names")}
    facts |= {"sha256": storage.sha256(path), "epoch": 3}
    times = draw.draw(st.integers(1, 3))
    beside(path).write_text(json.dumps(draw.draw(changed_plain(facts, plain_values(), times))))
    try_to_load(place, path)
