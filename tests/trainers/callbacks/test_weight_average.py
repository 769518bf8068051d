"""The moving average of weights: what it is, where it is used, and what is left alone."""

import copy

import lightning as L
import pytest
import torch
from timm.utils import ModelEmaV3

from learned_saliency.trainers import WeightAverage
from tests.support.learned import fit, make_batches, make_module

BATCHES = make_batches(4, 4, 4, 4, 4)


class Peers(L.Callback):
    """The average once more, by timm, of the whole network."""

    def on_train_start(self, trainer, module):
        self.peer, self.steps = ModelEmaV3(module.network, decay=0.0), 0

    def on_train_batch_end(self, trainer, module, *_):
        if module.accumulates:
            return
        self.steps += 1
        self.peer.decay = min(0.5, (1 + self.steps) / (10 + self.steps))
        self.peer.update(module.network)


class States(L.Callback):
    """Notes what checkpoints hold, where they are taken, and the network in its validation."""

    def __init__(self):
        self.taken, self.shown = [], []

    def take(self, trainer):
        taken = trainer._checkpoint_connector.dump_checkpoint(weights_only=False)
        self.taken.append((taken["state_dict"], taken["callbacks"]["average"]["weights"]))

    def on_train_batch_end(self, trainer, module, *_):
        self.take(trainer)

    def on_validation_batch_start(self, trainer, module, *_):
        self.shown.append(copy.deepcopy(module.network.state_dict()))
        self.take(trainer)

    def on_validation_end(self, trainer, module):
        self.shown.append(copy.deepcopy(module.network.state_dict()))
        self.take(trainer)


def equal(ours, theirs, **options):
    torch.testing.assert_close(dict(ours), dict(theirs), **options)


@pytest.mark.parametrize(("method", "accumulated"), [("cam", 1), ("casm", 2), ("trilite", 2)])
def test_it_is_timms_with_another_warm_up(method, accumulated):
    module, peers, states = make_module(method), Peers(), States()
    average = WeightAverage(0.5)
    callbacks = [peers, average, states]
    fit(module, BATCHES, epochs=2, callbacks=callbacks, accumulate_grad_batches=accumulated)
    assert peers.steps == average._steps == {1: 10, 2: 6}[accumulated]
    kept, weights = states.taken[-1]
    found = {k.removeprefix("network."): v for k, v in kept.items() if k.startswith("network.")}
    equal(found, peers.peer.module.state_dict(), rtol=1e-5, atol=1e-6)
    trained = dict(module.state_dict())  # the weights themselves, in the end
    equal(weights, {name: trained[name] for name in weights}, rtol=0, atol=0)
    assert any((kept[name] != weights[name]).any() for name in weights)


def test_the_training_is_the_one_without_it():
    with_it, without = make_module("cam"), make_module("cam")
    fit(with_it, BATCHES, epochs=2, callbacks=[WeightAverage(0.9)])
    fit(without, BATCHES, epochs=2)
    equal(with_it.state_dict(), without.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize("method", ["cam", "casm"])
def test_validation_and_every_checkpoint_have_the_average(method, monkeypatch):
    module, states, average = make_module(method), States(), WeightAverage(0.9)
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
        callbacks=[states, average, states],  # asked before and after
    )
    load = torch.utils.data.DataLoader
    trainer.fit(module, load(BATCHES, batch_size=None), load(BATCHES[:1], batch_size=None))
    (batch, _), *validating, (after, weights) = states.taken[-5:]
    for kept, raw in validating:  # whichever of the two the network had
        equal(kept, after, rtol=0, atol=0)
        equal(raw, weights, rtol=0, atol=0)
    *shown, back = states.shown
    for state in shown:
        equal(state, {k: after[f"network.{k}"] for k in state}, rtol=0, atol=0)
    equal({f"network.{k}": v for k, v in back.items() if f"network.{k}" in weights}, weights)
    assert batch.keys() == after.keys() == module.state_dict().keys()


def test_what_is_frozen_is_not_copied():
    names = WeightAverage.averaged(make_module("fcam"))
    assert names
    assert all(name.startswith("network.decoder") for name in names)
    assert not any("num_batches" in name for name in names)
    assert WeightAverage.averaged(make_module("calm", em_target="ema")).keys() == {
        k for k in make_module("calm").state_dict() if k.startswith("network.") and "num" not in k
    }
    with pytest.raises(ValueError, match="decay must be in"):
        WeightAverage(1.0)
