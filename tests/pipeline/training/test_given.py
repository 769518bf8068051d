"""Training of maps for a classifier from outside, which stays as it is."""

import json

import pytest
import torch
import torchvision
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from safetensors.torch import save_file

from learned_saliency import load
from learned_saliency.attribution import LeveledClassifier
from learned_saliency.pipeline.cli import UserError, compose_checked
from learned_saliency.pipeline.evaluation import evaluate
from learned_saliency.pipeline.export import export
from learned_saliency.pipeline.runs import load_module, read_checkpoint
from learned_saliency.pipeline.training import make_plan, resumed_config, train
from tests.support import own_networks
from tests.support.own_networks import COMMON, OWN, SIZES, trained
from tests.support.words import SMALL_RUN

pytestmark = pytest.mark.filterwarnings("ignore:.*(TreeSpec|in eval mode|has random weights)")


@pytest.fixture
def words(small_run):
    return [*small_run, *COMMON]


@pytest.fixture(scope="module")
def runs(creatures, tmp_path_factory):
    """Run folders of both methods on two networks of own code, by name."""
    place = [f"data.root={creatures}", f"data.metadata={creatures}/metadata"]
    folder = tmp_path_factory.mktemp("given")
    return {
        name: trained(
            [*SMALL_RUN, *COMMON, *place, f"output_dir={folder}/{name}"],
            *(f"model={model}", f"classifier={OWN}:{network}", f"layer={layer}", *more),
        )
        for name, model, network, layer, *more in (
            ("fcam", "fcam", "convolutional", "last"),
            (
                "fcam on tokens",
                "fcam",
                "transformer",
                "encoder.layers.encoder_layer_3.ln_1",
                "model.pseudo_labels=gradcam",
            ),
            ("casm", "casm", "nonlinear", "last", "methods=[native,gradcam]"),
        )
    }


NETWORKS = {"fcam": "convolutional", "fcam on tokens": "transformer", "casm": "nonlinear"}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_network_is_the_same_bit_for_bit_after_training(runs, name):
    word = f"{OWN}:{NETWORKS[name]}"
    classifier = load_module(read_checkpoint(runs[name], "best.ckpt", word)).classifier
    network = getattr(own_networks, NETWORKS[name])().eval()
    assert isinstance(classifier, LeveledClassifier)
    kept = classifier.model.state_dict()
    assert all(torch.equal(kept[key], value) for key, value in network.state_dict().items())
    images = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before = network.to(memory_format=torch.channels_last)(images)
        before = before["logits"] if isinstance(before, dict) else before
        assert torch.equal(classifier(images), before)
    assert not any(weight.requires_grad for weight in classifier.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in classifier.modules())


def test_own_code_is_imported_only_where_the_user_names_it(runs, tmp_path):
    told = f"you name it again: classifier={OWN}:convolutional"
    with pytest.raises(UserError, match=told):
        load(runs["fcam"])
    with pytest.raises(UserError, match=told):
        load(runs["fcam"], classifier=f"{OWN}:nonlinear")
    image = torch.rand(3, 40, 50, generator=torch.Generator().manual_seed(0))
    by_word = load(runs["fcam"], classifier=f"{OWN}:convolutional", methods=["native", "gradcam"])
    network = own_networks.convolutional()
    network.fc.weight.data.zero_()  # the weights of the checkpoint count, in a copy
    by_module = load(runs["fcam"], classifier=network, methods=["native", "gradcam"])
    (one,), (other,) = by_word(image), by_module(image)
    for method in ("native", "gradcam"):
        assert (one.maps[method] == other.maps[method]).all()
    assert not network.fc.weight.any()
    config = compose_checked([f"checkpoint={runs['fcam']}"], "export", complete=False)
    with pytest.raises(UserError, match="you name it again"):
        export(config)


@pytest.mark.parametrize("name", ["fcam on tokens", "casm"])
def test_a_run_is_evaluated_beside_post_hoc_methods_of_its_network(runs, name, tmp_path):
    methods = "[native,gradcam,opticam]"
    words = [f"checkpoint={runs[name]}", f"classifier={OWN}:{NETWORKS[name]}", "limit=4"]
    words += [f"output_dir={tmp_path}/out", f"methods={methods}", "pictures.images=0"]
    words += ["attribution.opticam.iterations=2", "evaluate.faithfulness=[average_drop]"]
    results = evaluate(compose_checked(words, "evaluate", complete=False)).results
    assert {"native", "gradcam", "opticam"} <= results.keys()
    assert all("average_drop" in results[method] for method in ("native", "gradcam", "opticam"))


@pytest.mark.parametrize(
    ("name", "form"), [("fcam", "safetensors"), ("fcam on tokens", "onnx"), ("casm", "onnx")]
)
def test_a_run_is_exported(runs, name, form, tmp_path):
    words = [f"checkpoint={runs[name]}", f"classifier={OWN}:{NETWORKS[name]}", f"out={tmp_path}"]
    result = export(compose_checked([*words, f"format={form}"], "export", complete=False))
    assert max(result.differences.values()) <= 1e-4
    facts = json.loads(result.facts.read_text())
    assert facts["backbone"] == f"{OWN}:{NETWORKS[name]}"
    if form == "safetensors":
        load(result.file, classifier=f"{OWN}:{NETWORKS[name]}")


def test_card_and_facts_name_the_network_and_its_layers(runs):
    card = (runs["fcam"] / "checkpoints" / "best.md").read_text()
    assert f"{OWN}:convolutional" in card.replace("\\", "")
    assert "explained at its layer last; the levels act, middle, last" in card
    assert "resnet10" not in card


def test_a_run_goes_on_as_if_it_had_not_been_ended(words):
    own = [f"classifier={OWN}:convolutional", "layer=last", "test=false"]
    straight = trained(words, *own, "recipe.epochs=2")
    first = trained(words, *own)
    assert first != straight
    more = [f"resume={first}", f"classifier={OWN}:convolutional", "recipe.epochs=2"]
    with pytest.raises(UserError, match="you name it again"):
        resumed_config(compose_checked([more[0]]), [more[0]])
    train(resumed_config(compose_checked(more), more))
    states = [
        read_checkpoint(folder, "last.ckpt").content["state_dict"] for folder in (straight, first)
    ]
    assert all(torch.equal(states[0][key], value) for key, value in states[1].items())


@pytest.mark.filterwarnings("ignore:torchvision.squeezenet1_1")
def test_a_library_s_network_is_loaded_without_a_word_and_its_input_counts(words, tmp_path, capsys):
    network = torchvision.models.squeezenet1_1(num_classes=16)
    save_file(network.state_dict(), tmp_path / "w.safetensors")
    given = ["classifier=torchvision:squeezenet1_1", "layer=features", "num_classes=16"]
    given += [f"weights={tmp_path}/w.safetensors", "model.pseudo_labels=gradcam"]
    given += ["data.mean=[0,0,0]", "levels=[features.4]", "data.batch_size=4", "test=false"]
    given += ["data.crop_size=64", "data.resize_size=64"]
    config = compose_checked([*words, *given])
    with pytest.warns(UserWarning, match=r"data\.mean=\[0, 0, 0\] is used"):
        plan = make_plan(config, named=["data.mean"])
    data = plan.config.data
    assert (data.crop_size, data.resize_size) == (224, 256)
    assert list(data.mean) == [0, 0, 0]
    assert list(data.std) == [0.229, 0.224, 0.225]
    assert "224 pixels" in capsys.readouterr().err
    folder = train(config, [*SIZES, "data.mean"]).folder
    checkpoint = read_checkpoint(folder, "best.ckpt")
    module = load_module(checkpoint)
    assert module.classifier.backbone.channels == [128, 512]
    kept = module.classifier.model.state_dict()
    assert all(torch.equal(kept[key], value) for key, value in network.state_dict().items())


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["model=cam"], "model=cam cannot learn a map for a given network"),
        (
            ["model=calm"],
            "model=calm cannot .*; model=amortized, casm, fcam, rtis and supervised can",
        ),
        (["layer=null"], "layer has no value: name the layer to explain, one of stem, norm"),
        (["layer=lst"], "layer=lst: there is no layer 'lst'; there are, nearest first: last"),
        (["layer=fc"], "layer=fc: "),
        (["levels=[norm]"], r"levels=\['norm'\]: the output of layer 'norm' is overwritten"),
        (["num_classes=7"], "knows 7 classes, but the data set in .* has 16"),
        (["classifier=nowhere:network"], "classifier=nowhere:network: No module named"),
        (["model=casm", "model.thinning=L100"], r"model\.thinning=F"),
        (
            [f"classifier={OWN}:nonlinear"],
            r"model\.pseudo_labels=cam: does not fit .*; choose model\.pseudo_labels=gradcam",
        ),
        (
            [f"classifier={OWN}:transformer", "layer=encoder.ln", "data.crop_size=48"],
            "data.crop_size=48: .* does not take RGB images of this size",
        ),
        (["weights=nowhere.pt"], "weights=nowhere.pt"),
    ],
)
def test_what_does_not_fit_is_told_in_one_sentence(words, tmp_path, given, told):
    base = [f"classifier={OWN}:convolutional", "layer=last"]
    with pytest.raises(UserError, match=told):
        make_plan(compose_checked([*words, *base, *given]), named=[*SIZES, "model.thinning"])
    assert not (tmp_path / "run").exists()


def test_a_checkpoint_cannot_have_own_code_imported_by_the_part_it_names(runs):
    checkpoint = read_checkpoint(runs["fcam"], "best.ckpt")
    with pytest.raises(InstantiationException, match="code of your own"):
        instantiate(checkpoint.model.first_stage.network, num_classes=16)


def test_labels_are_looked_for_among_the_network_s_own_classes(words):
    given = ["classifier=torchvision:squeezenet1_1", "layer=features", "test=false"]
    given += ["model.pseudo_labels=gradcam", "data.crop_size=64", "data.resize_size=64"]
    plan = make_plan(compose_checked([*words, *given]), named=SIZES)
    assert plan.config.data.known_classes[:2] == ["tench", "goldfish"]
    assert plan.data.num_classes == plan.classifier.num_classes == 1000
    with pytest.raises(UserError, match=r"knows 1000 classes, but the data set in .* has 16"):
        make_plan(compose_checked([*words, *given]), named=[*SIZES, "data.known_classes"])
