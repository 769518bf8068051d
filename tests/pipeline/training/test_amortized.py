"""Training of amortized Opti-CAM by a command: what is kept, and that it goes on to the bit."""

import pytest
import torch

from learned_saliency import load
from learned_saliency.pipeline.cli.compose import compose_checked
from learned_saliency.pipeline.cli.errors import UserError
from learned_saliency.pipeline.evaluation import evaluate
from learned_saliency.pipeline.export import export
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


def test_a_given_classifier_is_explained_in_one_pass(small_run, tmp_path):
    """Its head is not linear, so that the gradient comes by autograd and no graph holds it."""
    word = "classifier=tests.support.own_networks:nonlinear"
    words = [*small_run, "model=amortized", word, "layer=last", "recipe.epochs=1"]
    words += ["+trainer.limit_train_batches=2", "pictures.images=0", "methods=[native]"]
    run = train(compose_checked(words), ("data.crop_size", "data.resize_size")).folder
    words = [f"checkpoint={run}", word, "limit=4", f"output_dir={tmp_path}/out"]
    words += ["methods=[amortized,opticam]", "attribution.opticam.start=amortized"]
    words += ["attribution.opticam.iterations=1", "evaluate.faithfulness=[average_gain]"]
    results = evaluate(compose_checked(words, "evaluate", complete=False)).results
    assert results["amortized"] == pytest.approx(results["native"])
    model = load(run, methods=["native", "gradcam"], classifier=word.partition("=")[2])
    found = model(torch.rand(3, 40, 50), top_k=2)
    assert found[0].maps["native"].shape[0] == 2
    with pytest.raises(UserError, match="gradient of the head of LeveledClassifier"):
        export(compose_checked([f"checkpoint={run}", word], "export", complete=False))
