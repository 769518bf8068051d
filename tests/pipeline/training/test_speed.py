"""Options of faster training: refused where they do not fit, before the run has a folder."""

from functools import partial

import pytest
import torch

from learned_saliency.pipeline.cli import UserError, compose_checked
from learned_saliency.pipeline.training import make_plan
from learned_saliency.pipeline.training.speed import check_compile, check_fused
from tests.support.learned import METHODS, fit, make_batches, make_module


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["trainer.compile=reduce-overhead"], "CUDA graphs, which need a GPU; on a CPU choose"),
        (["trainer.compile=max-autotune"], "CUDA graphs, which need a GPU; on a CPU choose"),
        (["trainer.compile=fast"], r"trainer\.compile=fast: expected one of default, reduce-over"),
        (["model=casm", "trainer.compile=default"], "model=casm is not compiled: its step goes"),
        (
            ["model=trilite", "trainer.compile=default", "data.augment=false"],
            "goes without feature_cache=",
        ),
        (
            ["classifier=timm:resnet10t", "layer=layer4", "trainer.compile=default"],
            "layers of classifier=timm:resnet10t are read by hooks",
        ),
        (
            [
                "+model.module.optimizer.fused=true",
                "model.module.optimizer._target_=torch.optim.RMSprop",
                "~model.module.optimizer.nesterov",
            ],
            r"model\.module\.optimizer\.fused=true: torch\.optim\.RMSprop has no fused form",
        ),
        (["+model.first_stage.module.optimizer.fused=maybe"], "expected true or false or null"),
    ],
)
def test_what_does_not_fit_is_refused(words, told, small_run, tmp_path):
    if "data.augment=false" in words:
        words = [*words, f"feature_cache={tmp_path}/features"]
    if "layer=layer4" in words:
        words = [*words, "num_classes=16"]
    with pytest.raises(UserError, match=told):
        make_plan(compose_checked([*small_run, *words]))
    assert not (tmp_path / "run").exists()


def test_a_machine_without_a_compiler_or_headers_is_told(monkeypatch):
    config = compose_checked(["model=cam", "trainer.compile=default"])
    monkeypatch.setenv("CXX", "no-such-compiler -O2")
    with pytest.raises(UserError, match="there is no no-such-compiler -O2 on this machine; instal"):
        check_compile(config)
    monkeypatch.setenv("CXX", "python3")
    monkeypatch.setattr("sysconfig.get_path", lambda name: "/nowhere")
    with pytest.raises(UserError, match=r"there is no /nowhere/Python\.h; install python3-dev, or"):
        check_compile(config)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["model=cam", "trainer.gradient_clip_val=1"], r"16-mixed and trainer\.gradient_clip_val"),
        (["model=amortized"], r"16-mixed and model\.module\.gradient_clip"),
        (["model=casm"], r"16-mixed and model\.module\.gradient_clip"),
    ],
)
def test_fused_optimizers_do_not_clip_half_floats(words, told):
    words = [*words, "+model.module.optimizer.fused=true"]
    check_fused(compose_checked(words))
    with pytest.raises(UserError, match=told):
        check_fused(compose_checked([*words, "trainer.precision=16-mixed"]))
    check_fused(compose_checked(["model=cam", words[-1], "trainer.precision=16-mixed"]))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", [torch.optim.SGD, partial(torch.optim.AdamW, eps=1e-3)])
def test_a_fused_optimizer_trains_alike(method, kind):
    """Up to rounding; eps keeps gradients that are nothing but rounding from growing."""
    found = []
    for fused in (None, True):
        module = make_module(method, optimizer=partial(kind, lr=0.01, fused=fused))
        fit(module, make_batches(4, 4))
        found.append(dict(module.state_dict()))
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-5)
