"""Pools, kept features and one-pass Opti-CAM of trainings on a given network."""

import pytest
import torch
from safetensors.torch import save_file

from learned_saliency import load
from learned_saliency.pipeline.cli import UserError, compose_checked
from learned_saliency.pipeline.evaluation import evaluate
from learned_saliency.pipeline.runs import read_checkpoint
from learned_saliency.pipeline.training import make_plan, resumed_config, train
from tests.support import own_networks
from tests.support.own_networks import COMMON, OWN, SIZES, trained

pytestmark = pytest.mark.filterwarnings("ignore:.*(TreeSpec|in eval mode|has random weights)")


@pytest.fixture
def words(small_run):
    return [*small_run, *COMMON]


@pytest.fixture
def pool_files(tmp_path):
    """Weights of the given network itself, and of another of its architecture."""
    network = own_networks.nonlinear()
    save_file(network.state_dict(), tmp_path / "same.safetensors")
    network.fc.weight.data.mul_(-3)
    torch.save(network.state_dict(), tmp_path / "other.pt")
    return tmp_path / "same.safetensors", tmp_path / "other.pt"


def test_casm_draws_from_a_pool_of_given_networks(words, pool_files):
    same, other = pool_files
    own = ["model=casm", f"classifier={OWN}:nonlinear", "layer=last", "test=false"]
    never = "model.pool.current_probability=0"
    states = []
    for more in ([], [f"model.pool.networks=[{same}]", never],
                 [f"model.pool.networks=[{same},{other}]", never]):  # fmt: skip
        folder = trained(words, *own, *more)
        states.append(read_checkpoint(folder, "last.ckpt").content)
    alone, by_same, by_both = (state["state_dict"] for state in states)
    assert all(torch.equal(alone[key], value) for key, value in by_same.items())
    assert not all(torch.equal(alone[key], value) for key, value in by_both.items())
    stored = [snapshot["model.fc.weight"] for snapshot in states[-1]["snapshots"]["snapshots"]]
    assert torch.equal(stored[1], -3 * stored[0])
    for path in pool_files:
        path.unlink()  # the checkpoint holds their weights
    more = [f"resume={folder}", f"classifier={OWN}:nonlinear", "recipe.epochs=2"]
    train(resumed_config(compose_checked(more), more))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["model.pool.networks=[{other}]", "classifier=null", "layer=null"], "fills its pool"),
        (["model.pool.networks=[nowhere.pt]"], r"model\.pool\.networks=nowhere\.pt: "),
        (
            ["model.pool.networks=[{same}]", f"classifier={OWN}:convolutional", "num_classes=7"],
            r"model\.pool\.networks=.*same\.safetensors: ",
        ),
    ],
)
def test_a_pool_that_does_not_fit_is_refused(words, pool_files, given, told):
    same, other = pool_files
    given = [word.format(same=same, other=other) for word in given]
    base = ["model=casm", f"classifier={OWN}:nonlinear", "layer=last"]
    with pytest.raises(UserError, match=told):
        make_plan(compose_checked([*words, *base, *given]), named=SIZES)


def test_a_run_counts_as_a_classifier_of_post_hoc_methods(words, tmp_path):
    given = ["classifier=torchvision:squeezenet1_1", "layer=features", "num_classes=16"]
    given += ["model.pseudo_labels=gradcam", "data.crop_size=64", "data.resize_size=64"]
    folder = trained(words, *given, "test=false")
    more = [f"classifier={folder}", "methods=[gradcam]", "limit=4", "evaluate.faithfulness=[]"]
    more += [f"output_dir={tmp_path}/out", "pictures.images=0"]
    results = evaluate(compose_checked(more, "evaluate", complete=False)).results
    assert "native" not in results
    assert "gradcam" in results
    words = [f"classifier={folder}", "layer=features"]
    with pytest.raises(UserError, match="layer=features: leave it out"):
        evaluate(compose_checked(words, "evaluate", complete=False))


def test_features_of_a_given_network_are_kept(words, tmp_path, capsys):
    own = [f"classifier={OWN}:convolutional", "layer=last", "test=false", "data.augment=false"]
    plain = trained(words, *own)
    keep = [f"feature_cache={tmp_path}/kept", "recipe.epochs=1"]
    folders = [trained(words, *own, *keep) for _ in range(2)]
    assert "features were found 32 times and computed 0 times" in capsys.readouterr().err
    states = [read_checkpoint(each, "last.ckpt").content["state_dict"] for each in folders]
    expected = read_checkpoint(plain, "last.ckpt").content["state_dict"]
    for state in states:
        assert all(torch.equal(expected[key], value) for key, value in state.items())
    impure = [f"classifier={OWN}:transformer", "layer=encoder.layers.encoder_layer_3.ln_1"]
    with pytest.raises(UserError, match="reads more than its levels"):
        make_plan(compose_checked([*words, *own, *impure, "model.pseudo_labels=gradcam", *keep]),
                  named=SIZES)  # fmt: skip


def test_amortized_opticam_is_trained_for_a_given_network(words):
    own = ["model=amortized", f"classifier={OWN}:nonlinear", "layer=last", "test=false"]
    with pytest.raises(UserError, match=r"methods=cam: .* choose methods=gradcam"):
        make_plan(compose_checked([*words, *own]), named=SIZES)
    folder = trained(words, *own, "methods=[native,gradcam]", "model.pictures=[]")
    image = torch.rand(3, 40, 50, generator=torch.Generator().manual_seed(0))
    (found,) = load(folder, classifier=f"{OWN}:nonlinear", methods=["native"])(image, top_k=2)
    assert found.maps["native"].shape == (2, 40, 50)
