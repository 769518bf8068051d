"""Classifiers with branches: killed in mid-run and resumed, and below F-CAM."""

import pytest
import torch

from learned_saliency.pipeline.cli import compose_checked
from learned_saliency.pipeline.runs import load_network, read_checkpoint
from learned_saliency.pipeline.training import train
from learned_saliency.trainers import CAMModule

WORDS = ["model=fcam", "recipe.classifier_epochs=2", "pictures.images=0", "test=false"]


class Killed(BaseException):
    """Not an Exception, as a kill is not."""


@pytest.mark.parametrize("name", ["acol", "spg"])
def test_a_first_stage_killed_in_mid_run_and_resumed_ends_as_if_it_had_not_been(
    name, small_run, tmp_path, monkeypatch
):
    words = [*small_run, *WORDS, f"model@model.first_stage={name}"]
    whole = train(compose_checked(words)).folder / "checkpoints"
    step = CAMModule.training_step

    def dying(self, batch, batch_idx):
        if self.current_epoch == 1 and batch_idx == 2:
            raise Killed
        return step(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(CAMModule, "training_step", dying)
        with pytest.raises(Killed):
            train(compose_checked([*words, f"output_dir={tmp_path}/killed"]))
    last = tmp_path / "killed/checkpoints/classifier/last.ckpt"
    resumed = train(compose_checked([*words, f"resume={last}"])).folder / "checkpoints"
    for file in ("classifier/last.ckpt", "last.ckpt"):
        ours, theirs = (read_checkpoint(folder / file).content for folder in (resumed, whole))
        for part in ("state_dict", "optimizer_states"):
            torch.testing.assert_close(ours[part], theirs[part], rtol=0, atol=0)
    classifier = load_network(read_checkpoint(whole / "last.ckpt")).classifier
    trained = load_network(read_checkpoint(whole / "classifier/best.ckpt"))
    assert type(classifier).__name__.lower() == name
    torch.testing.assert_close(
        dict(classifier.state_dict()), dict(trained.state_dict()), rtol=0, atol=0
    )
