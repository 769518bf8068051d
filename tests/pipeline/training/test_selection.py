"""Choices on val without a box: what a monitor stands for, whole runs, what is told of them."""

import json
import shutil

import pytest
import torch

from learned_saliency.pipeline.cli.compose import compose_checked
from learned_saliency.pipeline.cli.errors import UserError
from learned_saliency.pipeline.training.best import KeepBest
from learned_saliency.pipeline.training.fit import train
from learned_saliency.pipeline.training.plan import make_plan
from learned_saliency.pipeline.training.selection import resolve_monitor
from learned_saliency.trainers import DEFAULT_CRITERION, THRESHOLD_CRITERION, gives_threshold
from tests.support.words import SMALL_RUN

LABELS, BOXES, MASKS = "labels", "boxes", "masks"
BY = DEFAULT_CRITERION if gives_threshold(DEFAULT_CRITERION) else THRESHOLD_CRITERION


@pytest.mark.parametrize(
    ("asked", "there", "constant", "monitor"),
    [
        ("auto", {LABELS, BOXES, MASKS}, set(), "max_box_acc"),
        ("auto", {LABELS, BOXES}, {"accuracy"}, "max_box_acc"),
        ("auto", {LABELS, MASKS}, set(), "pxap"),
        ("auto", {LABELS}, set(), DEFAULT_CRITERION),
        ("auto", {LABELS}, {"accuracy"}, DEFAULT_CRITERION),
        ("auto", set(), {"accuracy"}, DEFAULT_CRITERION),
        ("zerobox", {LABELS, BOXES, MASKS}, set(), DEFAULT_CRITERION),
        ("zerobox_cutout", {LABELS}, set(), "zerobox_cutout"),
        ("accuracy", {LABELS}, set(), "accuracy"),
        ("accuracy", {LABELS, BOXES}, {"accuracy"}, DEFAULT_CRITERION),
        ("pxap", {LABELS, BOXES, MASKS}, set(), "pxap"),
    ],
)
def test_what_a_monitor_stands_for(asked, there, constant, monitor):
    assert resolve_monitor(asked, there, constant) == monitor


@pytest.fixture(scope="module")
def bare(creatures, tmp_path_factory):
    """Metadata whose `val` has labels alone, and words for it."""
    metadata = tmp_path_factory.mktemp("bare") / "metadata"
    shutil.copytree(creatures / "metadata", metadata)
    for name in ("masks", "localization", "image_sizes"):
        (metadata / "val" / f"{name}.txt").unlink()
    (metadata / "creatures.json").unlink(missing_ok=True)
    return [*SMALL_RUN, f"data.root={creatures}", f"data.metadata={metadata}", "data.reader=null"]


WORDS = ["model=fcam", "recipe.monitor=auto", "recipe.classifier_monitor=auto", "recipe.epochs=2"]


@pytest.fixture(scope="module")
def labelled(bare, tmp_path_factory):
    """A run that saw no box, not interrupted."""
    folder = tmp_path_factory.mktemp("labelled") / "run"
    return train(compose_checked([*bare, *WORDS, f"output_dir={folder}"]))


def test_without_boxes_labels_choose_an_epoch_and_a_threshold(labelled):
    folder = labelled.folder
    selection = json.loads((folder / "results.json").read_text())["selection"]
    kept = torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)
    last = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert selection == {
        "monitor": DEFAULT_CRITERION,
        "asked": "auto",
        "value": last["callbacks"]["best"]["score"],
        "threshold": float(kept["state_dict"]["box_threshold"]),
        "threshold_by": BY,
        "split": "val",
        "images": 16,
        "boxes": 0,
        "masks": 0,
    }
    assert selection["threshold"] != 0.5
    assert labelled.val[DEFAULT_CRITERION] == selection["value"]
    assert {"map_mean", "accuracy"} <= set(labelled.val)
    for stage in ("", "classifier/"):
        card = (folder / "checkpoints" / f"{stage}best.md").read_text()
        assert f"chosen by `{DEFAULT_CRITERION}` of its own map on val" in card
        assert "saw 0 boxes and 0 masks of val" in card
        assert f"chosen by {BY} on val, without a box" in card
    # there is nothing to compare with
    assert "regret" not in json.loads((folder / "results.json").read_text())


def test_a_resumed_run_chooses_the_same(bare, labelled, tmp_path, monkeypatch):
    from learned_saliency.trainers import FCAMModule

    step = FCAMModule.training_step

    def dying(self, batch, batch_idx):
        if self.current_epoch == 1 and batch_idx == 2:
            raise KeyboardInterrupt
        return step(self, batch, batch_idx)

    monkeypatch.setattr(FCAMModule, "training_step", dying)
    folder = tmp_path / "run"
    with pytest.raises(BaseException):  # noqa: B017, PT011 - however Lightning passes it on
        train(compose_checked([*bare, *WORDS, f"output_dir={folder}"]))
    monkeypatch.undo()
    resumed = train(compose_checked([*bare, *WORDS, f"resume={folder}"]))
    ours, theirs = (
        json.loads((run.folder / "results.json").read_text()) for run in (resumed, labelled)
    )
    assert ours == theirs


def test_where_boxes_are_hidden_the_results_say_the_regret(small_run, capfd):
    words = ["model=cam", "recipe.monitor=zerobox", "recipe.classifier_epochs=3"]
    run = train(compose_checked([*small_run, *words]))
    saved = json.loads((run.folder / "results.json").read_text())
    rows = [line.split(",") for line in (run.folder / "metrics.csv").read_text().splitlines()]

    def epochs(name):
        column = rows[0].index(f"val/native/{name}")
        return [float(row[column]) for row in rows[1:] if row[column]]

    by_labels, by_boxes = epochs(DEFAULT_CRITERION), epochs("max_box_acc")
    kept = by_labels.index(max(by_labels))
    assert saved["regret"]["checkpoint"] == pytest.approx(
        {
            "split": "val",
            "metric": "max_box_acc",
            "chosen": by_boxes[kept],
            "best": max(by_boxes),
            "regret": max(by_boxes) - by_boxes[kept],
        }
    )
    threshold = saved["regret"]["threshold"]
    assert threshold["best"] == pytest.approx(saved["test"]["native"]["max_box_acc"])
    assert threshold["regret"] == pytest.approx(threshold["best"] - threshold["chosen"])
    assert saved["selection"]["boxes"] == saved["selection"]["masks"] == 0
    assert torch.load(run.folder / "checkpoints/best.ckpt", weights_only=True)["run"][
        "selected_by"
    ] == {"split": "val", "images": 16, "boxes": 0, "masks": 0}
    first = f"cam: {DEFAULT_CRITERION} on val chooses the checkpoint (monitor=zerobox)"
    second = "and" if BY == DEFAULT_CRITERION else f", {BY}"
    told = f"{first} {second} the box threshold; 0 boxes and 0 masks are seen\n"
    assert told in capfd.readouterr().err


def test_an_accuracy_that_a_training_cannot_change_leaves_the_choice_to_labels(
    bare, tmp_path, capfd
):
    words = ["model=fcam", "recipe.monitor=accuracy", "model.first_stage.epochs=0"]
    run = train(compose_checked([*bare, *words, f"output_dir={tmp_path}/run"]))
    selection = json.loads((run.folder / "results.json").read_text())["selection"]
    assert (selection["asked"], selection["monitor"]) == ("accuracy", DEFAULT_CRITERION)
    reason = "(monitor=accuracy, which this training cannot change)"
    assert (
        f"fcam: {DEFAULT_CRITERION} on val chooses the checkpoint {reason}"
        in capfd.readouterr().err
    )


def test_with_boxes_nothing_is_computed_for_choices_without(small_run):
    plan = make_plan(compose_checked([*small_run, "model=cam", "recipe.monitor=max_box_acc"]))
    from learned_saliency.pipeline.training.selection import choose

    choice = choose("max_box_acc", plan.data, plan.config.zerobox)
    assert choice.criteria == []
    assert choice.threshold is None
    assert not choice.regrets


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("zerobox.images=0", r"zerobox\.images=0: expected"),
        ("zerobox.also=[zerobox_cutot]", "named 'zerobox_cutot'.*nearest: zerobox_cutout"),
        ("model.monitor=zerobox_box", "zerobox_box: is no metric of `val` that can choose"),
        ("model.monitor=zerobox_cutout_threshold", "is no metric of `val` that can choose"),
    ],
)
def test_what_cannot_choose_is_refused(small_run, tmp_path, word, told):
    with pytest.raises(UserError, match=told):
        make_plan(compose_checked([*small_run, word]))
    assert not (tmp_path / "run").exists()


def test_the_regret_is_that_of_the_kept_epoch_and_survives_a_restart(tmp_path):
    class Trainer:
        sanity_checking = False

        def save_checkpoint(self, path, weights_only):
            path.touch()

    def seen(keep, pairs):
        trainer = Trainer()
        for trainer.current_epoch, (score, reference) in enumerate(pairs):
            logged = {"val/x": score, "val/r": reference, "train/loss": 1.0}
            trainer.callback_metrics = {name: torch.tensor(v) for name, v in logged.items()}
            keep.on_validation_end(trainer, None)
            keep.on_train_epoch_end(trainer, None)
        return keep

    pairs = [(0.25, 0.5), (0.75, 0.25), (0.5, 1.0)]
    whole = seen(KeepBest(tmp_path / "best.ckpt", "val/x", reference="val/r"), pairs).regret()
    assert whole == {"chosen": 0.25, "best": 1.0, "regret": 0.75}
    first = seen(KeepBest(tmp_path / "best.ckpt", "val/x", reference="val/r"), pairs[:2])
    second = KeepBest(tmp_path / "best.ckpt", "val/x", reference="val/r")
    second.load_state_dict(first.state_dict())
    assert seen(second, pairs[2:]).regret() == whole
    assert second.values == {"val/x": 0.75, "val/r": 0.25}
    assert KeepBest(tmp_path / "best.ckpt", "val/x").regret() == {}
