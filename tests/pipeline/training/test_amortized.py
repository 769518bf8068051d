"""Training of amortized Opti-CAM by a command: what is kept, and that it goes on to the bit."""

import pytest
import torch

from learned_saliency.pipeline.cli.compose import compose_checked
from learned_saliency.pipeline.runs import read_checkpoint
from learned_saliency.pipeline.training.fit import train
from learned_saliency.trainers import AmortizedModule
from tests.support.untrained import untrained_run
from tests.support.words import SMALL_RUN


class Killed(BaseException):
    """Not an Exception, as a kill is not."""


@pytest.fixture
def run(creatures, tmp_path):
    classifier = untrained_run(creatures, tmp_path / "cam", "model=cam")
    place = [f"data.root={creatures}", f"data.metadata={creatures}/metadata"]
    words = [*SMALL_RUN, *place, "model=amortized", f"classifier={classifier}"]
    several = ["recipe.epochs=2", "model.targets=3", "pictures.images=0", "methods=[native]"]

    def run(name, *more):
        output = [f"output_dir={tmp_path}/{name}"] if name else []
        return train(compose_checked([*words, *several, *output, *more]))

    return run


def test_a_run_killed_within_an_epoch_goes_on_to_the_same_end(run, tmp_path, monkeypatch):
    whole = run("whole")
    assert 0 <= whole.results["native"]["pxap"] <= 1
    kept = read_checkpoint(whole.folder, "best.ckpt")
    assert kept.content["callbacks"]["best"]["score"] >= 0
    step = AmortizedModule.training_step

    def dying(self, batch, batch_idx):
        if self.current_epoch == 1 and batch_idx == 2:
            raise Killed
        return step(self, batch, batch_idx)

    monkeypatch.setattr(AmortizedModule, "training_step", dying)
    with pytest.raises(Killed):
        run("killed")
    monkeypatch.undo()
    resumed = run(None, f"resume={tmp_path}/killed")
    ours, theirs = (read_checkpoint(r.folder, "last.ckpt").content for r in (resumed, whole))
    for part in ("state_dict", "optimizer_states", "lr_schedulers"):
        torch.testing.assert_close(ours[part], theirs[part], rtol=0, atol=0)
    assert resumed.results == whole.results
