"""Compiled training steps: the same training, and nothing compiled outside of it."""

import lightning as L
import pytest
import torch

from learned_saliency.trainers import CompiledTraining, WeightAverage
from tests.support.learned import METHODS, fit, make_batches, make_module

BATCHES = make_batches(4, 3)  # the last batch of an epoch is smaller


def trained(method, *callbacks):
    module = make_module(method)
    batches = BATCHES if method == "cam" else BATCHES[:1]
    fit(module, batches, epochs=2, callbacks=list(callbacks))
    return module


@pytest.mark.parametrize("method", [name for name in METHODS if name != "casm"])
def test_a_compiled_training_is_the_training(method):
    """Traced and not fused, operations are the same to the bit; a state_dict has no new key."""
    torch.compiler.reset()
    compiled = trained(method, CompiledTraining(backend="eager"))
    plain = trained(method)
    assert compiled.compile_obstacle is None
    torch.testing.assert_close(
        dict(compiled.state_dict()), dict(plain.state_dict()), rtol=0, atol=0
    )
    assert not any("forward" in vars(part) for part in compiled.network.modules())


def test_all_parts_are_compiled_in_training_and_none_in_validation(monkeypatch):
    seen = {True: set(), False: set()}
    module = make_module("calm", em_target="ema")
    parts = module.compiled_parts
    assert len(parts) == 2  # pseudo-targets have a network of their own

    class Look(L.Callback):
        def on_train_batch_start(self, *_):
            seen[True] |= {"forward" in vars(part) for part in parts}

        def on_validation_batch_start(self, *_):
            seen[False] |= {"forward" in vars(part) for part in parts}

        on_validation_epoch_end = on_validation_batch_start

    compiled = CompiledTraining(backend="eager")
    monkeypatch.setattr(type(module), "validation_step", lambda *_: None)
    monkeypatch.setattr(type(module), "on_validation_epoch_end", lambda *_: None)
    trainer = L.Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        callbacks=[compiled, WeightAverage(0.9), Look()],
    )
    load = torch.utils.data.DataLoader
    trainer.fit(module, load(BATCHES, batch_size=None), load(BATCHES, batch_size=None))
    assert seen == {True: {True}, False: {False}}


def test_an_error_leaves_the_network_as_it_was():
    class Failing(L.Callback):
        def on_train_batch_start(self, trainer, module, batch, batch_idx):
            assert "forward" in vars(module.network)
            raise RuntimeError("out of order")

    module = make_module("cam")
    with pytest.raises(RuntimeError, match="out of order"):
        fit(module, BATCHES, callbacks=[CompiledTraining(backend="eager"), Failing()])
    assert "forward" not in vars(module.network)


def test_casm_says_why_it_is_not_compiled():
    assert "other weights" in make_module("casm").compile_obstacle
