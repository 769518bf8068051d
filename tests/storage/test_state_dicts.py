"""State dicts as training scripts leave them: nests, prefixes, records beside the tensors."""

import argparse
import pathlib
from collections import OrderedDict, defaultdict, deque

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from learned_saliency.storage import WeightsError, find_state_dict, fit_state_dict, read_weights


def network(classes=3):
    torch.manual_seed(0)
    return nn.Sequential(
        OrderedDict(
            conv=nn.Conv2d(3, 4, 3),
            layers=nn.Sequential(nn.BatchNorm2d(4)),
            fc=nn.Linear(4, classes),
        )
    )


def below(prefix, state):
    return {prefix + name: weight for name, weight in state.items()}


def renamed(state, part, new):
    return {name.replace(part, new): weight for name, weight in state.items()}


def training(state):
    """Put weights beside all that a training saves."""
    module = network()
    optimizer = torch.optim.Adam(module.parameters())
    for weight in module.parameters():
        weight.grad = torch.ones_like(weight)
    optimizer.step()
    return {
        "epoch": 3,
        "args": argparse.Namespace(lr=0.1, output=pathlib.Path("runs"), betas=(0.9, 0.99)),
        "config": OmegaConf.create({"model": {"depth": 18, "lr": 0.1, "name": "x"}, "list": [1]}),
        "best": np.float64(0.7),
        "curve": np.arange(3),
        "log": defaultdict(list, loss=deque([0.1], 3)),
        "optimizer": optimizer.state_dict(),
        "state": state,
    }


SHAPES = {
    "plain": lambda s: s,
    "module.": lambda s: below("module.", s),
    "_orig_mod.module.": lambda s: below("_orig_mod.module.", s),
    "backbone.": lambda s: below("backbone.", s),
    "any.prefix.at.all.": lambda s: below("any.prefix.at.all.", s),
    "state_dict": lambda s: {"state_dict": s, "epoch": 3},
    "model": lambda s: {"model": s},
    "an unusual nest": lambda s: {"my_weights": s},
    "one within another": lambda s: {"model": {"state_dict": {"net": below("module.model.", s)}}},
    "ema alone": lambda s: {"state_dict_ema": below("module.", s)},
    "ema beside": lambda s: {
        "ema": {k: v + 1 for k, v in s.items()},
        "state_dict": s,
        "model_ema": {k: v + 1 for k, v in s.items()},
    },
    "ema by prefix": lambda s: (
        below("model_ema.module.", {k: v + 1 for k, v in s.items()}) | below("model.", s)
    ),
    "an averaged model": lambda s: {"n_averaged": torch.tensor(3), **below("module.", s)},
    "records beside": training,
    "records among": lambda s: {**s, "epoch": 3, "lr": 0.1},
    "a loss's weights among": lambda s: {**s, "criterion.weight": torch.ones(3)},
    "a loss's weights beside": lambda s: below("model.", s) | {"loss_fn.margin": torch.ones(1)},
    "a profiler's counters": lambda s: (
        {**s, "total_ops": torch.ones(1)} | {"layers.0.total_params": torch.ones(1)}
    ),
    "wrapped layers": lambda s: {k.replace("layers.", "layers.module."): v for k, v in s.items()},
    "compiled layers": lambda s: {
        k.replace("layers.", "layers._orig_mod."): v for k, v in s.items()
    },
    "parameters": lambda s: {k: nn.Parameter(v, v.is_floating_point()) for k, v in s.items()},
    "without counters of batches": lambda s: {
        k: v for k, v in s.items() if not k.endswith("num_batches_tracked")
    },
}


@pytest.mark.parametrize("shape", SHAPES)
def test_the_usual_forms_give_the_weights(shape, tmp_path):
    state = {
        name: torch.rand_like(w, dtype=torch.float) for name, w in network().state_dict().items()
    }
    torch.save(SHAPES[shape](state), tmp_path / "a.pt")
    target = network()
    found = fit_state_dict(read_weights(tmp_path / "a.pt"), target.state_dict())
    target.load_state_dict(found.state)
    learned = {name for name in state if not name.endswith("num_batches_tracked")}
    for name in learned:
        torch.testing.assert_close(target.state_dict()[name], state[name])
    silent = shape in ("plain", "parameters", "without counters of batches")
    assert bool(found.report) is not (silent or shape in ("wrapped layers", "compiled layers"))


def test_the_report_names_what_was_stripped_and_left_out():
    state = below("module.", network().state_dict())
    content = {"model": {"state_dict": state}, "epoch": 3, "ema": {"decay": torch.ones(1)}}
    found = fit_state_dict(content, network().state_dict())
    assert found.report == (
        "taken from 'model.state_dict'; the prefix 'module.' was stripped; left out: epoch, ema"
    )
    found = fit_state_dict({**network().state_dict(), "epoch": 3}, network().state_dict())
    assert found.report == "left out: epoch"


def test_a_network_s_own_names_may_have_a_prefix():
    state = network().state_dict()
    for wrapped in (nn.Sequential(OrderedDict(net=network())), nn.DataParallel(network())):
        found = fit_state_dict(below("model.", state), wrapped.state_dict())
        wrapped.load_state_dict(found.state)
        assert fit_state_dict(wrapped.state_dict(), state).state.keys() == state.keys()


def deeper():
    state = network().state_dict()
    return state | {k.replace("layers.0", "layers.1"): v for k, v in state.items() if "layers" in k}


REFUSED = {
    "another number of classes": (
        lambda: below("module.", network(10).state_dict()),
        r"for 10 classes, but the network has 3 \(fc\.weight, fc\.bias\): .*, 10$",
    ),
    "a deeper network": (deeper, r"of another network: .*4 are left over \(layers\.1\.weight"),
    "a narrower one": (
        lambda: {**network().state_dict(), "conv.weight": torch.zeros(4, 3, 5, 5)},
        r"1 are of another shape \(conv\.weight \(4, 3, 5, 5\) for \(4, 3, 3, 3\)\)",
    ),
    "a single number": (
        lambda: {**network().state_dict(), "conv.bias": torch.tensor(1.0)},
        r"1 are of another shape \(conv\.bias \(\) for \(4,\)\)",
    ),
    "a part": (
        lambda: {"conv.weight": torch.zeros(4, 3, 3, 3)},
        r"of its 9 weights 1 are there; 7 are missing \(conv\.bias, .* and 4 more\)$",
    ),
    "other names": (lambda: {"a": torch.zeros(1)}, r"of its 9 weights 0 are there"),
    "two networks": (
        lambda: (
            below("encoder_q.", network().state_dict())
            | below("encoder_k.", network().state_dict())
        ),
        r"several such networks \(encoder_q\., encoder_k\.\)",
    ),
    "no tensors": (lambda: {"state_dict": {"a": [1]}}, "holds no state dict"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_the_reason_of_a_refusal_is_the_true_one(case):
    build, message = REFUSED[case]
    with pytest.raises(WeightsError, match=message):
        fit_state_dict(build(), network().state_dict())


def test_without_a_network_the_largest_nest_counts_and_wrappers_are_stripped():
    state = network().state_dict()
    content = {"ema": state, "model": below("module.model.", state), "optimizer": {"a": {"b": 1}}}
    found = find_state_dict(content)
    assert found.state.keys() == state.keys()
    assert found.report.startswith("taken from 'model'; the prefix 'module.model.' was stripped")


def test_a_model_saved_as_an_object_is_named(tmp_path):
    torch.save({"model": network(), "epoch": 3}, tmp_path / "a.pt")
    with pytest.raises(WeightsError, match=r"torch\.nn\.modules.*state_dict\(\)"):
        read_weights(tmp_path / "a.pt")
    torch.jit.save(torch.jit.trace(nn.ReLU(), torch.ones(1)), tmp_path / "b.pt")
    with pytest.raises(WeightsError, match="a program of TorchScript"):
        read_weights(tmp_path / "b.pt")


class Called:
    """Pickles as a call of a function, as harmful files do."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("function", [pathlib.Path, np.dtype, argparse.Namespace])
def test_records_are_made_without_their_classes(function, tmp_path):
    """Arguments that the class itself would refuse go unseen."""
    content = {"a": torch.ones(1), "b": Called(function, 3, [5])}
    torch.save(content, tmp_path / "a.pt")
    assert type(read_weights(tmp_path / "a.pt")["b"]).__name__ == "Record"


@pytest.mark.parametrize("function", [exec, open, getattr, __import__, print])
def test_no_function_is_called(function, tmp_path):
    made = tmp_path / "made"
    torch.save({"a": torch.ones(1), "b": Called(function, str(made), "w")}, tmp_path / "a.pt")
    with pytest.raises(WeightsError, match="not loaded, it holds more than weights"):
        read_weights(tmp_path / "a.pt")
    assert not made.exists()
