"""Images a second, by a clock that stands still unless told."""

from types import SimpleNamespace

import pytest
import torch

from learned_saliency.trainers import Throughput


class Clock:
    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr("time.perf_counter", lambda: self.now)


class Module:
    def __init__(self):
        self.logged = []

    def log_point(self, name, value, **options):
        self.logged.append((name, value))


def train(callback, trainer, module, clock, batches):
    """Batches of ``images`` that take ``seconds``, after ``waiting`` for their data."""
    for waiting, seconds, images in batches:
        clock.now += waiting
        batch = {"label": torch.zeros(images)}
        callback.on_train_batch_start(trainer, module, batch, 0)
        clock.now += seconds
        callback.on_train_batch_end(trainer, module, None, batch, 0)


@pytest.mark.parametrize("processes", [1, 4])
def test_rate_of_the_last_batches_with_loading_without_validation(monkeypatch, processes):
    clock, module, callback = Clock(monkeypatch), Module(), Throughput()
    trainer = SimpleNamespace(log_every_n_steps=2, world_size=processes)
    callback.on_train_start(trainer, module)
    callback.on_train_epoch_start(trainer, module)
    train(callback, trainer, module, clock, [(9, 1, 8), (1, 3, 8), (0, 2, 4)])
    clock.now += 100.0
    callback.on_validation_end(trainer, module)
    train(callback, trainer, module, clock, [(0, 2, 8)])
    clock.now += 100.0
    callback.on_train_epoch_start(trainer, module)
    train(callback, trainer, module, clock, [(0, 1, 8)])
    # 8 in 1 s; 16 in 5 s; the last two batches: 12 in 6 s; 8 in 2 s; 8 in 1 s
    rates = [8.0, 16 / 5, 2.0, 4.0, 8.0]
    name = "train/images_per_second"
    total = [value for key, value in module.logged if key == name]
    assert total == pytest.approx([rate * processes for rate in rates])
    own = [value for key, value in module.logged if key == f"{name}_per_process"]
    assert own == pytest.approx(rates if processes > 1 else [])
