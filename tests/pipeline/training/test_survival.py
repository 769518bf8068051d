"""Runs that a signal stops and that go on: each ends as if nothing had stopped it."""

import csv
import json
import os
import resource
import shutil
import signal
from pathlib import Path

import pytest
import torch

from learned_saliency.errors import Stopped
from learned_saliency.pipeline.cli import (
    UserError,
    await_killing,
    compose_checked,
    end_on_signals,
)
from learned_saliency.pipeline.runs import Checkpoint, load_module, read_checkpoint
from learned_saliency.pipeline.runs.writing import write_content
from learned_saliency.pipeline.training import resumed_config, train
from learned_saliency.pipeline.training.keeping import KeepLast, read_position
from learned_saliency.storage import sha256
from learned_saliency.trainers import CAMModule, SaliencyModule
from learned_saliency.trainers.casm_files import SnapshotError
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
    "casm": [
        *("model=casm", "model.first_stage.epochs=0"),
        *("model.pool.thinning=L2", "model.pool.size=2"),
    ],
    "trilite": ["model=trilite", "model.first_stage.epochs=0"],
    "has": ["model=has", "model.module.hiding.sizes=[0,16,44]"],
    "cutmix": ["model=cutmix"],
    "adl": ["model=adl"],
    "rtis": ["model=rtis", "model.first_stage.epochs=0", "recipe.mask_width=8"],
    "finetuned": ["model=finetuned"],
    "averaged cam": ["model=cam", "recipe.ema_decay=0.9"],
    "averaged casm": [
        *("model=casm", "model.first_stage.epochs=0", "model.pool.thinning=L2"),
        *("model.ema_decay=0.9", "trainer.accumulate_grad_batches=2"),
        "trainer.log_every_n_steps=2",  # rows of the batches that complete an iteration
    ],
}
IN_PASSES = [*METHODS["averaged casm"], "recipe.epoch_steps=3"]  # epochs of 2 passes, 4 steps


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
        for part in ("state_dict", "optimizer_states", "lr_schedulers", "epoch"):
            torch.testing.assert_close(a.get(part), b.get(part), rtol=0, atol=0)
        assert a.get("snapshots") == b.get("snapshots")  # names of files by their content
        assert a["callbacks"]["best"] == b["callbacks"]["best"]
        averages = (x["callbacks"].get("average") for x in (a, b))
        torch.testing.assert_close(*averages, rtol=0, atol=0)
    assert (ours / "results.json").read_text() == (theirs / "results.json").read_text()
    assert curves(ours) == curves(theirs)
    assert snapshot_files(ours) == snapshot_files(theirs)


def snapshot_files(folder):
    """Names of all files in the pool, which has to hold the content that each name says."""
    files = list((folder / "checkpoints" / "pool").glob("*"))
    assert all(sha256(path) == path.stem for path in files)
    return {path.name for path in files}


# In an epoch of 4 batches; in the validation of the first epoch; in that of the second.
@pytest.mark.parametrize(
    ("method", "step", "at"),
    [(method, "log_means", 4) for method in METHODS]
    + [(method, "validation_step", at) for method in ("cam", "casm") for at in (2, 4)]
    + [("averaged cam", "validation_step", 2), ("finetuned", "log_means", 20)],  # in its 2nd phase
)
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


def test_a_run_stopped_in_the_second_pass_of_an_epoch_goes_on_there(start, tmp_path, monkeypatch):
    start(tmp_path / "whole", *IN_PASSES, "++recipe.epochs=1")
    send(monkeypatch, "log_means", 9)  # two calls per batch, of which a pass has four
    with pytest.raises(Stopped):
        start(tmp_path / "run", *IN_PASSES, "++recipe.epochs=1")
    monkeypatch.undo()
    loops = read_checkpoint(tmp_path / "run").content["loops"]["fit_loop"]
    assert loops["epoch_loop.batch_progress"]["current"]["processed"] == 6
    go_on(tmp_path / "run")
    same(tmp_path / "run", tmp_path / "whole")
    training = json.loads((tmp_path / "run" / "results.json").read_text())["training"]
    assert training == {"epochs": 1, "passes": 2, "images": 32, "steps": 4, "kept_after": 4}


def test_a_run_goes_on_before_its_first_checkpoint_and_when_it_was_killed_in_its_first_stage(
    start, whole, tmp_path, monkeypatch, capsys
):
    words = ["model=fcam", "model.first_stage.epochs=1"]
    start(tmp_path / "whole", *words)
    send(monkeypatch, "on_train_epoch_start", 1)  # SIGTERM, before the first step
    monkeypatch.setattr("learned_saliency.pipeline.training.keeping.KeepLast._hear", stop)
    with pytest.raises(Stopped):
        start(tmp_path / "run", *words)
    monkeypatch.undo()
    assert not list((tmp_path / "run").rglob("*.ckpt"))
    send(monkeypatch, "log_means", 3)
    with pytest.raises(Stopped):
        go_on(tmp_path / "run")
    monkeypatch.undo()
    found = [str(p.relative_to(tmp_path / "run")) for p in (tmp_path / "run").rglob("*.ckpt")]
    assert found == ["checkpoints/classifier/last.ckpt"]
    go_on(tmp_path / "run")
    same(tmp_path / "run", tmp_path / "whole")


def stop(self, number, frame):
    await_killing()
    raise Stopped(number)


def test_a_finished_run_is_left_alone_and_goes_on_for_more_epochs_or_another_test(
    whole, tmp_path, capsys
):
    run = shutil.copytree(whole("cam"), tmp_path / "run")
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file()}
    result = go_on(run)
    assert {p: p.stat().st_mtime_ns for p in run.rglob("*") if p.is_file()} == before
    assert "nothing is left to do" in capsys.readouterr().err
    assert result.results["native"]["max_box_acc"] >= 0
    assert set(go_on(run, "methods=[native,gradcam]").results) > {"native", "gradcam"}
    go_on(run, "recipe.classifier_epochs=3")
    assert torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["epoch"] == 2


def test_no_checkpoint_holds_a_path_of_its_run(whole):
    folder = whole("fcam")
    for path in folder.rglob("*.ckpt"):
        assert str(folder).encode() not in path.read_bytes()


def test_the_pool_is_needed_to_go_on_and_for_nothing_else(whole, tmp_path):
    run = shutil.copytree(whole("casm"), tmp_path / "run")
    pool = run / "checkpoints" / "pool"
    first = pool / read_checkpoint(run).content["snapshots"]["files"][0]
    first.write_bytes(first.read_bytes()[:-1])
    more = "recipe.epochs=3"
    with pytest.raises(SnapshotError, match=f"{first.name}: damaged, .*; copy the run's whole"):
        go_on(run, more)
    shutil.rmtree(pool)
    with pytest.raises(SnapshotError, match=r"pool/.*safetensors: this snapshot .* is missing"):
        go_on(run, more)
    alone = tmp_path / "alone.ckpt"
    shutil.copy(run / "checkpoints" / "best.ckpt", alone)
    images = torch.zeros(1, 3, 32, 32)
    expected = load_module(read_checkpoint(run, "best.ckpt")).eval().saliency(images)
    found = load_module(read_checkpoint(alone)).eval().saliency(images)
    torch.testing.assert_close(found, expected)
    for path in run.rglob("*.ckpt"):
        assert set(read_checkpoint(path).content["snapshots"]) == {"iteration", "born", "files"}


def test_a_step_that_fails_because_of_the_signal_is_stopped(start, tmp_path, monkeypatch):
    """Ctrl+C and a scheduler end the compiler of a compiled step, too."""

    def step(module, batch, index):
        os.kill(os.getpid(), signal.SIGINT)
        raise RuntimeError("the compiler was killed")

    monkeypatch.setattr(CAMModule, "training_step", step)
    with pytest.raises(Stopped, match="stopped by SIGINT; to go on: python train"):
        start(tmp_path / "run", *METHODS["cam"])


def test_sigusr1_saves_and_the_training_goes_on(start, whole, tmp_path, monkeypatch):
    saved = []
    write = KeepLast._write

    def noting(self, trainer):
        if self._taken is not None:
            saved.append(self._taken["position"]["within"])
        write(self, trainer)

    monkeypatch.setattr(KeepLast, "_write", noting)
    send(monkeypatch, "log_means", 3, signal.SIGUSR1)
    start(tmp_path / "run", *METHODS["fcam"])
    assert saved == ["batch", "epoch", "epoch"]
    same(tmp_path / "run", whole("fcam"))


def test_checkpoints_within_an_epoch_are_written_by_the_clock(start, whole, tmp_path, monkeypatch):
    saved = []
    take = KeepLast._take
    monkeypatch.setattr(
        KeepLast, "_take", lambda self, *args: (saved.append(args[-1]), take(self, *args))
    )
    start(tmp_path / "run", *METHODS["cam"], "trainer.checkpoint_minutes=1e-9")
    assert saved == [*3 * ["batch"], "validation", "epoch"] * 2
    same(tmp_path / "run", whole("cam"))


def test_within_an_epoch_processes_and_accumulation_stay(start, tmp_path, monkeypatch):
    send(monkeypatch, "log_means", 3)
    with pytest.raises(Stopped):
        start(tmp_path / "run", *METHODS["fcam"])
    monkeypatch.undo()
    with pytest.raises(UserError, match="within an epoch whose steps have 1 batches each"):
        go_on(tmp_path / "run", "trainer.accumulate_grad_batches=2")
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    content = torch.load(last, weights_only=True)
    for part in ("random", "means"):
        content["position"][part] *= 2
    torch.save(content, last)
    with pytest.raises(UserError, match="by 2 processes and goes on with as many, not with 1"):
        go_on(tmp_path / "run")


def test_a_full_disk_leaves_the_last_good_checkpoint(tmp_path):
    path = tmp_path / "last.ckpt"
    write_content(path, {"state_dict": {"a": torch.zeros(3)}})
    before = path.read_bytes()
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, limit[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            write_content(path, {"state_dict": {"a": torch.zeros(1 << 20)}})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["last.ckpt"]


@pytest.mark.parametrize(
    "damage", [{"within": "nowhere"}, {"rows": "many"}, {"random": [3]}, {"means": []}, {"more": 1}]
)
def test_a_damaged_position_is_told_in_one_sentence(damage, whole, tmp_path):
    content = torch.load(whole("cam") / "checkpoints" / "last.ckpt", weights_only=True)
    content["position"] |= damage
    checkpoint = Checkpoint(tmp_path / "last.ckpt", content, None, "", None, 1, [])
    with pytest.raises(UserError, match="where its training goes on is damaged"):
        read_position(checkpoint)


def test_a_finished_run_that_goes_on_remembers_its_words_when_it_is_stopped_at_once(
    whole, start, tmp_path, monkeypatch
):
    start(tmp_path / "three", *METHODS["cam"], "recipe.classifier_epochs=3")
    run = shutil.copytree(whole("cam"), tmp_path / "run")
    before = curves(run)
    send(monkeypatch, "on_train_epoch_start", 1)
    monkeypatch.setattr("learned_saliency.pipeline.training.keeping.KeepLast._hear", stop)
    with pytest.raises(Stopped):
        go_on(run, "recipe.classifier_epochs=3")
    monkeypatch.undo()
    assert curves(run) == before[:-1]  # all but the test
    go_on(run)
    same(run, tmp_path / "three")
    result = go_on(run)
    assert result.results["native"]["max_box_acc"] >= 0
    same(run, tmp_path / "three")


def test_a_finished_run_is_left_alone_by_test_false_and_by_its_first_stage(
    fcam_run, whole, tmp_path
):
    run = shutil.copytree(whole("cam"), tmp_path / "run")
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    go_on(run, "test=false")
    with pytest.raises(UserError, match=r"recipe\.erosion=5: the resumed run has no such key"):
        go_on(run, "recipe.erosion=5")
    assert {path: path.read_bytes() for path in before} == before
    first = fcam_run / "checkpoints" / "classifier" / "last.ckpt"
    with pytest.raises(UserError, match="has begun its next stage"):
        go_on(first)


def test_a_time_that_is_over_before_the_first_epoch_is_named(start, tmp_path):
    with pytest.raises(UserError, match=r"max_time=00:00:00:00: ended the training of cam before"):
        start(tmp_path / "run", *METHODS["cam"], "+trainer.max_time='00:00:00:00'")
