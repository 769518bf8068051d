"""Searches from their command line to the table, with networks that train in a second."""

import csv
import json
import shlex
import signal

import pytest
import torch

from learned_saliency.errors import Stopped
from learned_saliency.pipeline.cli import Trials
from learned_saliency.pipeline.cli.compose import compose_checked
from learned_saliency.pipeline.search import trial
from learned_saliency.pipeline.search.search import shares_classifier
from learned_saliency.pipeline.search.words import typed
from learned_saliency.pipeline.training.fit import train
from learned_saliency.trainers import CAMModule
from tests.support.commands import run_command
from tests.support.words import SMALL_RUN

KEY = "search.key=recipe.lr"


def small_words(creatures, *words):
    place = [f"data.root={creatures}", f"data.metadata={creatures}/metadata"]
    limited = ["pictures.images=0", "trainer.limit_train_batches=2", "zerobox.images=2"]
    return [*SMALL_RUN, *place, *limited, *words]


def weights(run):
    return torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]


def assert_same_weights(run, other):
    torch.testing.assert_close(weights(run), weights(other), rtol=0, atol=0)


@pytest.fixture(scope="module")
def searched(creatures, tmp_path_factory):
    """Words, folder and result of a search in which one of three runs diverges."""
    folder = tmp_path_factory.mktemp("search") / "one"
    words = small_words(creatures, KEY, "search.values=[1e30,0.01,0.001]", f"output_dir={folder}")
    return words, folder, run_command("search", *words)


def test_a_search_ends_in_a_table_and_the_words_of_the_chosen_run(searched):
    _, folder, done = searched
    assert done.returncode == 0, done.stderr[-3000:]
    record = json.loads((folder / "search.json").read_text())
    assert record["metric"] == "pxap"  # F-CAM's own monitor on the creatures
    runs = record["runs"]
    assert [run["status"] for run in runs] == ["diverged", "trained", "trained"]
    assert [run["value"] for run in runs] == [1e30, 0.01, 0.001]
    scores = [run["val"].get("pxap", -1) for run in runs]
    best = scores.index(max(scores))
    assert record["chosen"] == runs[best]["value"]
    lines = done.stdout.splitlines()
    marked = next(line for line in lines if line.startswith("* "))
    assert marked.split()[1:3] == [str(record["chosen"]), f"{100 * scores[best]:.1f}"]
    assert any(line.split()[:2] == ["1e+30", "diverged"] for line in lines)
    assert f"chosen: recipe.lr={record['chosen']}" in lines
    with (folder / "search.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["chosen"] == "True" for row in rows] == [i == best for i in range(3)]
    assert float(rows[best]["pxap"]) == scores[best]


def test_a_search_never_tests(searched):
    _, folder, _ = searched
    assert not list(folder.rglob("results.json"))
    for run in ("0.01", "0.001"):
        lines = (folder / "runs" / run / "metrics.csv").read_text()
        assert "val/native/pxap" in lines
        assert "test/" not in lines


def test_one_classifier_serves_all_runs_which_are_as_if_each_had_trained_it(searched, tmp_path):
    words, folder, done = searched
    assert [path.parents[2].name for path in folder.rglob("classifier/best.ckpt")] == ["1e+30"]
    lines = [line for line in done.stderr.splitlines() if line.startswith("classifier: epoch 1 of")]
    assert len(lines) == 1
    own = [word for word in words if "search." not in word and "output_dir" not in word]
    own = [f"++{word}" if word.startswith("trainer.") else word for word in own]
    alone = train(
        compose_checked([*own, "recipe.lr=0.01", "test=false", f"output_dir={tmp_path}/a"])
    )
    assert_same_weights(alone.folder, folder / "runs" / "0.01")


def test_a_search_goes_on_with_what_is_missing(searched, creatures):
    words, folder, _ = searched
    kept = folder / "runs" / "0.01" / "checkpoints" / "best.ckpt"
    before = kept.stat().st_mtime_ns
    (folder / "runs" / "0.001.json").unlink()  # ended before the outcome was noted
    old = json.loads((folder / "search.json").read_text())
    done = run_command("search", *words)
    assert done.returncode == 0, done.stderr[-3000:]
    assert kept.stat().st_mtime_ns == before
    assert json.loads((folder / "search.json").read_text()) == old
    other = run_command("search", *words, "seed=1")
    assert other.returncode == 2
    assert "holds the search of other words (search.key=recipe.lr data=creatures" in other.stderr


def test_an_interrupted_run_goes_on_to_the_same_weights(creatures, tmp_path, monkeypatch):
    words = small_words(creatures, "model=cam", "recipe.classifier_epochs=2")
    words += ["search.key=recipe.classifier_lr", "search.values=[0.01]"]
    steps = iter(range(100))
    plain = CAMModule.training_step

    def stopped(self, batch, batch_idx):
        if next(steps) == 3:  # in the second epoch
            raise Stopped(signal.SIGTERM)
        return plain(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(CAMModule, "training_step", stopped)
        done = run_command("search", *words, f"output_dir={tmp_path}/a")
    assert done.returncode == 143
    assert f"the same words with output_dir={tmp_path}/a" in done.stderr.splitlines()[-1]
    assert not (tmp_path / "a" / "runs" / "0.01.json").exists()
    for name in ("a", "b"):
        done = run_command("search", *words, f"output_dir={tmp_path}/{name}")
        assert done.returncode == 0, done.stderr[-3000:]
    assert "the training goes on at" not in done.stderr
    assert_same_weights(tmp_path / "a" / "runs" / "0.01", tmp_path / "b" / "runs" / "0.01")


def test_a_search_without_any_run_to_choose_says_why(creatures, tmp_path, monkeypatch):
    def fail(config, named):
        raise ValueError("a saliency map has NaN or infinite values. Are they?")

    monkeypatch.setattr(trial, "train", fail)
    words = small_words(creatures, KEY, "search.values=[0.1,1]", f"output_dir={tmp_path}/a")
    done = run_command("search", *words)
    assert done.returncode == 2
    assert "no value gave a run to choose; the first: a saliency map has NaN" in done.stderr
    assert "Traceback" not in done.stderr
    rows = json.loads((tmp_path / "a" / "search.json").read_text())["runs"]
    assert [row["status"] for row in rows] == ["failed", "failed"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["test=true"], "a search never looks at the test split"),
        (["resume=x"], "resume=x: a search goes on by the same words with output_dir=SEARCH"),
        (["trainer=ddp", "trainer.devices=2"], "trainer.devices=2: each run of a search has one"),
        (["search.metric=pxpa"], "search.metric=pxpa: is no metric of `val`"),
        (
            ["hydra/launcher=submitit"],
            r"hydra/launcher=submitit: is not installed; there are: basic",
        ),
        (["output_dir={tmp_path}"], "the folder holds other files (it has no search.json)"),
    ],
)
def test_what_a_search_cannot_do_is_told_in_one_sentence(words, message, creatures, tmp_path):
    (tmp_path / "notes").touch()
    given = [word.replace("{tmp_path}", str(tmp_path)) for word in words]
    small = small_words(creatures, KEY, "search.values=[0.1]", f"output_dir={tmp_path}/a")
    done = run_command("search", *small, *given)
    assert done.returncode == 2
    assert message in done.stderr.splitlines()[-1]
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    ("key", "values", "words", "shared"),
    [
        ("recipe.lr", [0.1, 0.01], [], True),
        ("recipe.background_share", [0.1, 0.7], [], True),
        ("model.loss.size_weight", [1, 2], ["model=casm"], True),
        ("recipe.classifier_lr", [0.1, 0.01], [], False),
        ("data.batch_size", [8, 16], [], False),
        ("seed", [0, 1], [], False),
        ("recipe.lr", [0.1, 0.01], ["classifier=RUN"], False),  # there is one already
        ("recipe.classifier_lr", [0.1, 0.01], ["model=cam"], False),  # it is the model itself
    ],
)
def test_a_classifier_is_shared_by_runs_that_train_the_same(key, values, words, shared):
    config = compose_checked(words, "search")
    assert shares_classifier(config, Trials(key, values)) == shared


def test_folders_are_named_after_values(tmp_path):
    values = [0.1, 1e-05, True, None, "a/b", "a b", [1, 2], "../x"]
    names = [each.folder.name for each in trial.make_trials(values, tmp_path)]
    assert names[:4] == ["0.1", "1e-05", "true", "null"]
    assert len(set(names)) == len(names)
    assert all(each.folder.parent == tmp_path for each in trial.make_trials(values, tmp_path))


def test_words_are_told_as_one_types_them():
    words = ["data.root='/a b'", "++trainer.limit_train_batches=2", "recipe.lr=0.1", "+x='1'"]
    assert shlex.split(typed(words)) == [
        "data.root=/a b",
        "trainer.limit_train_batches=2",
        "recipe.lr=0.1",
        "+x='1'",
    ]
