"""Runs that a signal stops and that go on: each ends as if nothing had stopped it."""

import csv
import os
import shutil
import signal
from pathlib import Path

import pytest
import torch

from learned_saliency.errors import Stopped
from learned_saliency.pipeline.cli import compose_checked, end_on_signals
from learned_saliency.pipeline.training import resumed_config, train
from learned_saliency.trainers import SaliencyModule
from tests.support.words import SMALL_RUN

SHORT = [
    "recipe.classifier_epochs=2",
    "++recipe.epochs=2",
    "++recipe.pretraining_epochs=1",
    "++recipe.lr_step=1",
    "pictures.images=0",
    "trainer.log_every_n_steps=1",
]
METHODS = {
    "cam": ["model=cam", "+backbone.drop_path_rate=0.3"],
    "calm": ["model=calm", "model.first_stage.epochs=0"],
    "fcam": ["model=fcam", "model.first_stage.epochs=0"],
    "casm": ["model=casm", "model.first_stage.epochs=0", "model.pool.thinning=L2"],
}


@pytest.fixture(autouse=True)
def signals():
    """Handle signals as a command does."""
    before = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)}
    end_on_signals()
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="module")
def start(creatures):
    place = [f"data.root={creatures}", f"data.metadata={creatures}/metadata"]
    return lambda folder, *words: train(
        compose_checked([*SMALL_RUN, *place, *SHORT, *words, f"output_dir={folder}"])
    )


@pytest.fixture(scope="module")
def whole(start, tmp_path_factory):
    """Folders of runs that nothing stopped, by method; each is trained once."""
    folders = {}

    def whole(method):
        if method not in folders:
            folders[method] = tmp_path_factory.mktemp("whole") / method
            start(folders[method], *METHODS[method])
        return folders[method]

    return whole


def go_on(folder, *words):
    words = [f"resume={folder}", *words]
    return train(resumed_config(compose_checked(words), words))


def send(monkeypatch, step, at, number=signal.SIGTERM):
    """Send a signal to this process in the ``at``-th call of a step of the modules."""
    calls, victim = [0], getattr(SaliencyModule, step)

    def sending(self, *args, **options):
        calls[0] += 1
        if calls[0] == at:
            os.kill(os.getpid(), number)
        return victim(self, *args, **options)

    monkeypatch.setattr(SaliencyModule, step, sending)


def curves(folder):
    with (folder / "metrics.csv").open() as file:
        return [
            {k: v for k, v in row.items() if v and "images_per_second" not in k}
            for row in csv.DictReader(file)
        ]


def same(ours: Path, theirs: Path) -> None:
    """Check that two runs have the same end, to the bit."""
    for name in ("best.ckpt", "last.ckpt"):
        a, b = (torch.load(f / "checkpoints" / name, weights_only=True) for f in (ours, theirs))
        for part in ("state_dict", "optimizer_states", "lr_schedulers", "snapshots", "epoch"):
            torch.testing.assert_close(a.get(part), b.get(part), rtol=0, atol=0)
        assert a["callbacks"]["best"] == b["callbacks"]["best"]
    assert (ours / "results.json").read_text() == (theirs / "results.json").read_text()
    assert curves(ours) == curves(theirs)


# In an epoch of 4 batches; in the validation of the first epoch; in that of the second.
@pytest.mark.parametrize(
    ("step", "at"), [("log_means", 4), ("validation_step", 2), ("validation_step", 4)]
)
@pytest.mark.parametrize("method", METHODS)
def test_a_stopped_run_goes_on_in_another_folder_as_if_it_had_not_been(
    method, step, at, start, whole, tmp_path, monkeypatch
):
    expected = whole(method)
    send(monkeypatch, step, at)
    with pytest.raises(Stopped) as stopped:
        start(tmp_path / "killed", *METHODS[method])
    monkeypatch.undo()
    assert stopped.value.code == 143
    assert stopped.value.advice == f"to go on: python train.py resume={tmp_path}/killed"
    shutil.move(tmp_path / "killed", tmp_path / "moved")
    go_on(tmp_path / "moved")
    same(tmp_path / "moved", expected)
    assert not (tmp_path / "killed").exists()
