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
from tests.support.photos import save

pytestmark = pytest.mark.filterwarnings("ignore:.*(TreeSpec|in eval mode|has random weights)")


@pytest.fixture
def words(small_run):
    return [*small_run, *COMMON]


def weights(folder):
    return read_checkpoint(folder, "last.ckpt").content["state_dict"]


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
    drawn = "model.pool.current_probability=0"
    one, both = f"model.pool.networks=[{same}]", f"model.pool.networks=[{same},{other}]"
    folders = [trained(words, *own, *more) for more in ([], [one, drawn], [both, drawn])]
    straight = trained(words, *own, both, drawn, "recipe.epochs=2")
    alone, by_same, by_both = (weights(folder) for folder in folders)
    assert all(torch.equal(alone[key], value) for key, value in by_same.items())
    assert not all(torch.equal(alone[key], value) for key, value in by_both.items())
    for path in pool_files:
        path.unlink()  # the run has files of their weights
    more = [f"resume={folders[-1]}", f"classifier={OWN}:nonlinear", "recipe.epochs=2"]
    train(resumed_config(compose_checked(more), more))
    resumed = weights(folders[-1])
    assert all(torch.equal(resumed[key], value) for key, value in weights(straight).items())


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
    own += ["recipe.epochs=2", "trainer.limit_train_batches=4"]
    keep = f"feature_cache={tmp_path}/kept"
    plain, kept = (weights(trained(words, *own, *more)) for more in ([], [keep]))
    assert "features were found 48 times and computed 48 times" in capsys.readouterr().err
    assert all(torch.equal(plain[key], value) for key, value in kept.items())
    impure = [f"classifier={OWN}:transformer", "layer=encoder.layers.encoder_layer_3.ln_1"]
    impure += ["model.pseudo_labels=gradcam", keep]
    with pytest.raises(UserError, match="reads more than its levels"):
        make_plan(compose_checked([*words, *own, *impure]), named=SIZES)


def test_amortized_opticam_is_trained_for_a_given_network(words):
    own = ["model=amortized", f"classifier={OWN}:nonlinear", "layer=last", "test=false"]
    with pytest.raises(UserError, match=r"methods=cam: .* choose methods=gradcam"):
        make_plan(compose_checked([*words, *own, "methods=[native,cam]"]), named=SIZES)
    with pytest.raises(UserError, match=r"model\.pictures=cam: .* choose model\.pictures=gradcam"):
        make_plan(compose_checked([*words, *own, "model.pictures=[cam]"]), named=SIZES)
    folder = trained(words, *own)
    image = torch.rand(3, 40, 50, generator=torch.Generator().manual_seed(0))
    (found,) = load(folder, classifier=f"{OWN}:nonlinear", methods=["native"])(image, top_k=2)
    assert found.maps["native"].shape == (2, 40, 50)


@pytest.mark.parametrize("model", ["fcam", "casm", "rtis"])
def test_photographs_without_labels_have_the_classes_of_a_network_of_one_s_own(
    model, tmp_path, monkeypatch
):
    monkeypatch.setenv("LEARNED_SALIENCY_CACHE", str(tmp_path / "cache"))
    for number in range(9):
        save(tmp_path / "photos" / f"{number}.png", number)
    shares = ["data.reader.val_fraction=0.3", "data.reader.test_fraction=0.3"]
    words = [
        *(f"model={model}", "data=photos", f"data.root={tmp_path}/photos", *shares),
        *("data.crop_size=32", "data.resize_size=36", "data.num_workers=0", "test=false"),
        *(f"classifier={OWN}:convolutional", "layer=last", f"output_dir={tmp_path}/run"),
    ]
    plan = make_plan(compose_checked(words), named=SIZES)
    assert plan.data.num_classes == plan.classifier.num_classes == 16
    with pytest.raises(UserError, match=r"knows 16 classes, but the data set in .* has 3"):
        make_plan(
            compose_checked([*words, "data.num_classes=3"]), named=[*SIZES, "data.num_classes"]
        )
    with pytest.raises(UserError, match=r"backbone\.name: leave it out"):
        make_plan(compose_checked(words), named=[*SIZES, "backbone.name"])
