"""Training of Real Time Image Saliency by a command, resumed and for a given network."""

import pytest
import torch

from learned_saliency import load
from learned_saliency.pipeline.cli.compose import compose_checked
from learned_saliency.pipeline.runs import read_checkpoint
from learned_saliency.pipeline.training.fit import train
from learned_saliency.trainers import RTISModule
from tests.support.own_networks import COMMON, OWN, trained
from tests.support.untrained import untrained_run
from tests.support.words import SMALL_RUN

SMALL = ["model=rtis", "recipe.mask_width=8", "methods=[native]", "pictures.images=0"]


class Killed(BaseException):
    """Not an Exception, as a kill is not."""


@pytest.fixture
def run(creatures, tmp_path):
    classifier = untrained_run(creatures, tmp_path / "cam", "model=cam")
    place = [f"data.root={creatures}", f"data.metadata={creatures}/metadata"]
    words = [*SMALL_RUN, *place, *SMALL, f"classifier={classifier}", "recipe.epochs=2"]

    def run(name, *more):
        output = [f"output_dir={tmp_path}/{name}"] if name else []
        return train(compose_checked([*words, *output, *more]))

    return run


def test_a_run_killed_within_an_epoch_draws_on_and_ends_the_same(run, tmp_path, monkeypatch):
    whole = run("whole")
    assert 0 <= whole.results["native"]["pxap"] <= 1
    step = RTISModule.training_step

    def dying(self, batch, batch_idx):
        if self.current_epoch == 1 and batch_idx == 2:
            raise Killed
        return step(self, batch, batch_idx)

    monkeypatch.setattr(RTISModule, "training_step", dying)
    with pytest.raises(Killed):
        run("killed")
    monkeypatch.undo()
    resumed = run(None, f"resume={tmp_path}/killed")
    ours, theirs = (read_checkpoint(r.folder, "last.ckpt").content for r in (resumed, whole))
    for part in ("state_dict", "optimizer_states", "lr_schedulers"):
        torch.testing.assert_close(ours[part], theirs[part], rtol=0, atol=0)
    assert resumed.results == whole.results


@pytest.mark.filterwarnings("ignore:.*(TreeSpec|in eval mode|has random weights)")
def test_a_given_network_is_masked_class_by_class(small_run):
    own = [*SMALL, f"classifier={OWN}:nonlinear", "layer=last", "test=false"]
    folder = trained([*small_run, *COMMON], *own)
    image = torch.rand(3, 40, 50, generator=torch.Generator().manual_seed(0))
    (found,) = load(folder, classifier=f"{OWN}:nonlinear", methods=["native"])(image, top_k=3)
    assert found.maps["native"].shape == (3, 40, 50)
    assert not torch.equal(*map(torch.as_tensor, found.maps["native"][:2]))
