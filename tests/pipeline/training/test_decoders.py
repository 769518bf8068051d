"""Runs of F-CAM with a library's decoder: resuming, missing packages, wrong words."""

import sys

import pytest
import torch

from learned_saliency.models import FCAM, MissingDecodersError
from learned_saliency.pipeline.cli import UserError, compose_checked
from learned_saliency.pipeline.runs import load_network, read_checkpoint
from learned_saliency.pipeline.runs.methods import build_evaluation
from learned_saliency.pipeline.training import train
from learned_saliency.pipeline.training.trial import try_to_build
from learned_saliency.trainers import FCAMModule
from tests.support.untrained import untrained_run
from tests.support.words import SMALL_RUN

pytest.importorskip("segmentation_models_pytorch")

BRIEF = ["model=fcam", "recipe.epochs=2", "recipe.lr_step=1", "test=false", "pictures.images=0"]
NAMES = ("unetplusplus", "linknet", "deeplabv3plus")  # the last with dropout and one-cell maps


@pytest.fixture(scope="module")
def classifier(creatures, tmp_path_factory):
    """An untrained classifier to start from."""
    return untrained_run(creatures, tmp_path_factory.mktemp("cam") / "run", "model=cam")


class Killed(BaseException):
    """Not an Exception, as a kill is not."""


@pytest.mark.parametrize("name", NAMES)
def test_a_run_killed_within_an_epoch_goes_on_bit_for_bit(
    small_run, classifier, tmp_path, monkeypatch, name
):
    # 33 images in batches of 8: the last batch is a single image, which is pooled to one cell.
    place = tmp_path / "creatures"
    one_left = ["data.reader.train_images=33", f"data.root={place}", f"data.metadata={place}/data"]
    words = [*BRIEF, f"model.decoder=smp:{name}", f"classifier={classifier}"]
    words += one_left if name == NAMES[-1] else []

    def run(*more):
        return train(compose_checked([*small_run, *words, *more]))

    whole = run(f"output_dir={tmp_path}/whole")
    step = FCAMModule.training_step

    def dying(self, batch, batch_idx):
        if self.current_epoch == 1 and batch_idx == 2:
            raise Killed
        return step(self, batch, batch_idx)

    monkeypatch.setattr(FCAMModule, "training_step", dying)
    with pytest.raises(Killed):
        run(f"output_dir={tmp_path}/killed")
    monkeypatch.undo()
    resumed = run(f"resume={tmp_path}/killed/checkpoints/last.ckpt")
    ours, theirs = (
        read_checkpoint(f.folder / "checkpoints" / "last.ckpt").content for f in (resumed, whole)
    )
    for part in ("state_dict", "optimizer_states", "lr_schedulers"):
        torch.testing.assert_close(ours[part], theirs[part], rtol=0, atol=0)
    network = load_network(read_checkpoint(resumed.folder / "checkpoints" / "best.ckpt"))
    assert isinstance(network, FCAM)
    assert network.decoder.name == name


def test_without_the_package_train_and_load_say_in_one_sentence_what_to_install(
    creatures, tmp_path, monkeypatch
):
    words = ["model=fcam", "model.decoder=smp:unet"]
    run = untrained_run(creatures, tmp_path / "run", *words)
    for name in [n for n in sys.modules if n.startswith("segmentation_models_pytorch")]:
        monkeypatch.setitem(sys.modules, name, None)
    config = compose_checked([*SMALL_RUN, *words])
    told = r"smp:unet: is one of .* pip install 'learned-saliency\[decoders\]'\.$"
    with pytest.raises(MissingDecodersError, match=told):
        try_to_build(config, 16, build_evaluation(config))
    with pytest.raises(UserError, match=rf"best\.ckpt: decoder={told}"):
        load_network(read_checkpoint(run, "best.ckpt"))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["model.decoder=smp:pan"], "smp:pan needs 8 cells along a side"),
        (
            ["model.decoder=smp:unet", "model.decoder_options={atention_type: scse}"],
            "smp:unet has no option 'atention_type'",
        ),
        (["model.decoder_options={dropout: 0.1}"], "are those of a library's decoder"),
    ],
)
def test_what_cannot_work_is_refused_before_training(words, told):
    config = compose_checked([*SMALL_RUN, "model=fcam", *words])
    with pytest.raises(UserError, match=told):
        try_to_build(config, 16, build_evaluation(config))
