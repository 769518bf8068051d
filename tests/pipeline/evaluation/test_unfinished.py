"""Evaluations that are ended and go on: the same figures and files as without an end."""

import json
import signal
import time

import pytest

from learned_saliency.errors import Stopped
from learned_saliency.pipeline.cli.compose import compose_checked
from learned_saliency.pipeline.cli.errors import UserError
from learned_saliency.pipeline.evaluation.evaluate import evaluate
from learned_saliency.pipeline.evaluation.unfinished import advice
from learned_saliency.trainers import Journal, SaliencyModule
from learned_saliency.trainers.scores import SplitScores
from tests.support.untrained import untrained_run

WORDS = ["methods=[cam]", "evaluate.faithfulness=[average_drop]", "pictures.images=3"]
STUDIES = ["studies=[cues,removal,bank]"]


@pytest.fixture(scope="module")
def model(creatures, tmp_path_factory):
    return untrained_run(creatures, tmp_path_factory.mktemp("calm") / "run", "model=calm")


@pytest.fixture
def run(model, tmp_path):
    def run(name, *more):
        bank = f"+studies.bank.classifiers=[{model}]"
        words = [f"checkpoint={model}", f"output_dir={tmp_path}/{name}", *WORDS, *more]
        words += [bank] if more[:1] == tuple(STUDIES) else []
        return evaluate(compose_checked(words, "evaluate", complete=False))

    return run


def end_at(monkeypatch, batch, name="test_step"):
    """Let SIGTERM come while a batch is tested; returns the numbers of images of all batches."""
    whole, sizes = getattr(SaliencyModule, name), []

    def ended(module, images, *rest):
        sizes.append(len(images["image"]))
        if len(sizes) == batch + 1:
            whole(module, images, *rest)  # what it adds to the metrics must not count
            raise Stopped(signal.SIGTERM)
        return whole(module, images, *rest)

    monkeypatch.setattr(SaliencyModule, name, ended)
    return sizes


def files(folder):
    """Content of all files but those that name the folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in ("config.yaml",)
    }


def test_an_ended_evaluation_goes_on_where_it_stopped(run, monkeypatch, tmp_path):
    whole = run("whole", *STUDIES).folder
    sizes = end_at(monkeypatch, 1)
    with pytest.raises(Stopped):
        run("out", *STUDIES)
    assert advice(tmp_path / "out").endswith(f" output_dir={tmp_path}/out")
    rows = (whole / "images.csv").read_text().splitlines()
    assert (tmp_path / "out" / "images.csv").read_text().splitlines() == rows[: 1 + 6 * 2]
    assert not (tmp_path / "out" / "results.json").exists()
    again = run("out", *STUDIES).folder
    assert again == tmp_path / "out"
    assert sizes == [6, 6, 6, 5]  # the second batch was not counted, the first is not repeated
    assert files(again) == files(whole)
    assert set(files(whole)) >= {"cues.csv", "removal.csv", "bank.csv", "pictures/cues.png"}
    assert not (again / "unfinished").exists()
    assert run("out", *STUDIES).folder != again  # finished: a new one


def test_batches_that_wait_for_their_scores_are_neither_lost_nor_counted_twice(
    run, monkeypatch, tmp_path
):
    whole, scored, tested = run("whole").folder, [], []
    update, step = SplitScores.update, SaliencyModule.test_step

    def late(scores, *rest):
        time.sleep(0.3)
        scored.append(len(tested))  # the second batch has ended the evaluation meanwhile
        return update(scores, *rest)

    def ended(module, batch, *rest):
        tested.append(len(batch["image"]))
        if len(tested) == 2:
            raise Stopped(signal.SIGTERM)
        return step(module, batch, *rest)

    monkeypatch.setattr(SplitScores, "update", late)
    monkeypatch.setattr(SaliencyModule, "test_step", ended)
    with pytest.raises(Stopped):
        run("out")
    assert scored == [2]
    assert files(run("out").folder) == files(whole)
    assert tested == [6, 6, 6, 5]


def test_a_killed_study_goes_on_with_the_images_that_are_left(run, monkeypatch, tmp_path):
    """A kill leaves what the journals have written, which is here after every batch."""
    monkeypatch.setattr("learned_saliency.trainers.callbacks.journal._SECONDS", 0.0)
    monkeypatch.setattr(Journal.__init__, "__defaults__", (0.0,))
    whole = run("whole", "studies=[removal]").folder
    counted, done = [], Journal.done

    def killed(journal, index):
        done(journal, index)
        counted.append((journal.folder.name, index.tolist()))
        if counted[-1] == ("removal", list(range(6))):
            monkeypatch.setattr(Journal, "save", lambda journal: 0)
            raise KeyboardInterrupt

    monkeypatch.setattr(Journal, "done", killed)
    with pytest.raises(KeyboardInterrupt):
        run("out", "studies=[removal]")
    tested = len(counted)
    monkeypatch.undo()
    monkeypatch.setattr(
        Journal, "done", lambda j, i: (counted.append((j.folder.name, len(i))), done(j, i))
    )
    assert files(run("out", "studies=[removal]").folder) == files(whole)
    assert counted[tested:] == [("test", 0), ("removal", 6), ("removal", 5)]


@pytest.mark.parametrize("word", ["methods=[gradcam]", "split=val", "box_threshold=0.3", "limit=5"])
def test_another_evaluation_does_not_go_on_there(run, monkeypatch, tmp_path, word):
    sizes = end_at(monkeypatch, 1)
    with pytest.raises(Stopped):
        run("out")
    del sizes[:]
    monkeypatch.undo()
    found = run("out", word)
    assert found.folder == tmp_path / "out-2"


def test_other_processes_and_devices_do_go_on_there(run, monkeypatch, tmp_path):
    end_at(monkeypatch, 1)
    with pytest.raises(Stopped):
        run("out")
    monkeypatch.undo()
    words = ["trainer.log_every_n_steps=3", "+data.num_workers=0"]
    assert run("out", *words).folder == tmp_path / "out"


def test_a_failed_evaluation_leaves_nothing_unfinished(run, monkeypatch, tmp_path):
    def failing(module, *rest):
        raise UserError("broken.")

    monkeypatch.setattr(SaliencyModule, "test_step", failing)
    with pytest.raises(UserError, match="broken"):
        run("out")
    assert {path.name for path in (tmp_path / "out").rglob("*")} == {"config.yaml"}


def test_a_quick_look_is_a_part_of_all_classes(run):
    found = run("few", "limit=5")
    record = json.loads((found.folder / "results.json").read_text())
    assert record["limit"] == 5
    assert record["tested_on"]["images"] == 5
    rows = (found.folder / "images.csv").read_text().splitlines()[1:]
    assert len(rows) == 5 * 2
    labels = [row.split(",")[2] for row in rows[::2]]
    assert len(set(labels)) == 5
