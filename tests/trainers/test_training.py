"""Points of the training curves: those that are written, with the values of their batches."""

import lightning as L
import pytest
import torch
from lightning.pytorch.loggers import Logger

from tests.support.learned import fit, make_batches, make_module


class Rows(Logger):
    """Logger that keeps its rows."""

    name = version = "rows"

    def __init__(self):
        super().__init__()
        self.rows = []

    def log_hyperparams(self, *args, **kwargs):
        pass

    def log_metrics(self, metrics, step):
        self.rows.append((step, {k: v for k, v in metrics.items() if k.endswith("_step")}))


class Stop(L.Callback):
    """Stops the training in the fifth batch."""

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        trainer.should_stop |= batch_idx == 4


@pytest.mark.parametrize(
    ("method", "accumulated", "steps"), [("cam", 1, [2, 5]), ("cam", 2, [2]), ("casm", 1, [2, 5])]
)
def test_points_are_those_of_their_batches(method, accumulated, steps, monkeypatch):
    module, rows, losses = make_module(method), Rows(), []
    log_losses = module.log_losses

    def noted(total, *rest):
        losses.append(float(total))
        log_losses(total, *rest)

    monkeypatch.setattr(module, "log_losses", noted)
    logging = {"log_every_n_steps": 3, "accumulate_grad_batches": accumulated}
    fit(module, make_batches(*[2] * 7), logger=rows, **logging)
    written = {step: values for step, values in rows.rows if values}
    assert list(written) == steps
    for step, values in written.items():
        assert values["train/loss_step"] == losses[accumulated * (step + 1) - 1]


def test_the_last_batch_of_a_stopped_training_is_written():
    rows = Rows()
    fit(make_module("cam"), make_batches(*[2] * 7), logger=rows, callbacks=[Stop()])
    (written,) = [(step, values) for step, values in rows.rows if values]
    assert written[0] == 4
    assert torch.tensor(list(written[1].values())).isfinite().all()


def test_no_point_is_carried_into_the_next_epoch():
    rows = Rows()
    options = {"log_every_n_steps": 1, "accumulate_grad_batches": 2, "logger": rows}
    fit(make_module("casm"), make_batches(2, 2), epochs=2, **options)
    assert [bool(values) for _, values in rows.rows].count(True) == 2
