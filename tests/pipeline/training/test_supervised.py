"""The supervised bound as a run: what it says that it saw, how it goes on, what is refused."""

import contextlib
import io
import json
import shutil

import pytest
import torch

from learned_saliency.datamodules import DataError
from learned_saliency.pipeline.cli import UserError, compose_checked
from learned_saliency.pipeline.evaluation.evaluate import CONFIG_NAME, evaluate
from learned_saliency.pipeline.export.export import CONFIG_NAME as EXPORT
from learned_saliency.pipeline.export.export import export
from learned_saliency.pipeline.runs import read_checkpoint
from learned_saliency.pipeline.training import train
from learned_saliency.trainers import SupervisedModule
from tests.support.words import SMALL_RUN

WORDS = [
    *("model=supervised", "recipe.classifier_epochs=0", "recipe.epochs=3", "recipe.lr_step=1"),
    *("data.batch_size=4", "pictures.images=0"),
]
LEARNED = {"split": "val", "share": 0.8, "images": 13, "boxes": 13, "masks": 13}
CHOSE = {"split": "val", "share": 0.2, "images": 3, "boxes": 3, "masks": 3}


@pytest.fixture(scope="module")
def bound(creatures, tmp_path_factory):
    """The folder of a run, and what it printed."""
    folder, told = tmp_path_factory.mktemp("bound") / "run", io.StringIO()
    place = [f"data.root={creatures}", f"data.metadata={creatures}/metadata"]
    with contextlib.redirect_stderr(told):
        train(compose_checked([*SMALL_RUN, *place, *WORDS, f"output_dir={folder}"]))
    return folder, told.getvalue()


def test_what_was_seen_is_said_before_training_and_recorded(bound):
    folder, told = bound
    seen = "13 boxes and 13 masks of 13 images, 80 % of val, are learned from"
    assert told.index(f"data: {seen}: a supervised bound\n") < told.index("epoch 1/3")
    assert (
        f"supervised: {seen}; pxap on the other 3 images of it chooses the checkpoint, its boxes "
        "the box threshold; 3 boxes and 3 masks are seen\n"
    ) in told
    record = json.loads((folder / "results.json").read_text())
    assert record["learned_from"] == LEARNED
    assert CHOSE.items() <= record["selection"].items()
    train_split = {"split": "train", "images": 32, "boxes": 0, "masks": 0}
    assert record["splits"][:3] == [train_split, LEARNED, CHOSE]
    kept = read_checkpoint(folder / "checkpoints" / "best.ckpt")
    assert kept.learned_from == LEARNED
    assert kept.content["run"]["selected_by"] == CHOSE
    page = (folder / "report.html").read_text()
    assert "The model was trained on 13 boxes and 13 masks of 13 images, 80 % of val" in page


def test_the_card_says_it_first(bound):
    card = (bound[0] / "checkpoints" / "best.md").read_text()
    about, _, rest = card.partition("## Data")
    assert "A supervised bound: " in about
    assert "**It was trained on 13 boxes and 13 masks of 13 images, 80 % of val, which" in about
    assert "best on 20 % of val |" in about
    assert "| train | 32 | 0 | 0 | weights of the classifier below, from its labels alone |" in rest
    assert "| 80 % of val | 13 | 13 | 13 | weights, from its masks, or else its boxes |" in rest
    assert "| 20 % of val | 3 | 3 | 3 | choice of the checkpoint and, by its boxes, of the" in rest
    assert "chosen by `pxap` of its own map on 20 % of val: " in rest
    assert "saw 3 boxes and 3 masks of 20 % of val." in rest
    assert "without boxes or masks" not in card


class Killed(BaseException):
    """Not an Exception, as a kill is not."""


def test_a_run_killed_within_an_epoch_goes_on_to_the_same_weights(
    bound, small_run, tmp_path, monkeypatch
):
    step = SupervisedModule.training_step

    def dying(self, batch, batch_idx):
        if self.current_epoch == 1 and batch_idx == 2:
            raise Killed
        return step(self, batch, batch_idx)

    monkeypatch.setattr(SupervisedModule, "training_step", dying)
    words = [*small_run, *WORDS, f"output_dir={tmp_path}/killed"]
    with pytest.raises(Killed):
        train(compose_checked(words))
    monkeypatch.undo()
    last = tmp_path / "killed" / "checkpoints" / "last.ckpt"
    train(compose_checked([*words, "test=false", f"resume={last}"]))
    ours, theirs = (
        read_checkpoint(folder / "checkpoints" / "last.ckpt").content
        for folder in (tmp_path / "killed", bound[0])
    )
    for part in ("state_dict", "optimizer_states", "lr_schedulers"):
        torch.testing.assert_close(ours[part], theirs[part], rtol=0, atol=0)


def test_another_share_is_not_gone_on_with(bound, small_run):
    last = bound[0] / "checkpoints" / "last.ckpt"
    words = [*small_run, *WORDS, "model.split_seed=1", "recipe.epochs=4", f"resume={last}"]
    with pytest.raises(UserError, match=r"training images in .* are others than when the run"):
        train(compose_checked(words))


def test_it_is_tested_on_test_and_not_on_what_it_has_seen(bound, tmp_path, capsys):
    folder = bound[0]
    words = ["methods=[native]", "evaluate.faithfulness=[]", f"output_dir={tmp_path}/tested"]
    config = compose_checked([f"checkpoint={folder}", *words, "limit=4"], CONFIG_NAME)
    tested = evaluate(config).folder
    told = "evaluate.py: trained on 13 boxes and 13 masks of 13 images, 80 % of val: a supervised"
    assert told in capsys.readouterr().err
    assert json.loads((tested / "results.json").read_text())["learned_from"] == LEARNED
    on_val = compose_checked([f"checkpoint={folder}", *words, "split=val"], CONFIG_NAME)
    with pytest.raises(UserError, match=r"split=val: .* learned from boxes or masks of 80 % of "):
        evaluate(on_val)


def test_a_damaged_record_of_it_is_refused(bound, tmp_path):
    content = torch.load(bound[0] / "checkpoints" / "best.ckpt", weights_only=True)
    for damaged in (7, LEARNED | {"boxes": "many"}, LEARNED | {"split": "test"}, {"split": "val"}):
        content["run"]["learned_from"] = damaged
        torch.save(content, tmp_path / "best.ckpt")
        with pytest.raises(UserError, match=r"the record of its run is damaged \(its learned_from"):
            read_checkpoint(tmp_path / "best.ckpt")


def test_val_without_boxes_and_masks_is_refused_before_training(creatures, small_run, tmp_path):
    bare = tmp_path / "metadata"
    shutil.copytree(creatures / "metadata", bare)
    for name in ("localization.txt", "masks.txt", "image_sizes.txt"):
        (bare / "val" / name).unlink()
    (bare / "creatures.json").unlink(missing_ok=True)
    words = [*small_run, *WORDS, f"data.metadata={bare}", "data.reader=null", "recipe.monitor=auto"]
    with pytest.raises(DataError, match="val: has neither boxes nor masks to learn from"):
        train(compose_checked(words))
    assert not list(tmp_path.rglob("*.ckpt"))


def test_an_export_says_so_too_and_does_not_pass_for_weakly_supervised(bound, tmp_path):
    pytest.importorskip("huggingface_hub")
    words = [f"checkpoint={bound[0]}", f"out={tmp_path}/hf", "format=hf", "verify=false"]
    page = export(compose_checked(words, EXPORT)).file
    text = (page / "README.md").read_text()
    metadata, _, card = text.removeprefix("---").partition("\n---\n")
    assert "eakly" not in metadata
    assert "Fully supervised object localization" in metadata
    assert "**It was trained on 13 boxes and 13 masks of 13 images, 80 % of val" in card
    assert read_checkpoint(page).learned_from == LEARNED
