"""Names of the classes of networks that are not of this project."""

import pytest

from learned_saliency.pipeline.cli import compose_checked
from learned_saliency.pipeline.prediction.loading import build_model
from learned_saliency.pipeline.runs import library_class_names


@pytest.mark.parametrize(
    "classifier", ["torchvision:squeezenet1_0", "timm:resnet18", "timm:resnet50.a1_in1k"]
)
def test_imagenet_s_names_are_known_and_unique(classifier):
    names = library_class_names(classifier)
    assert len(names) == len(set(names)) == 1000
    assert names[0] == "tench"
    assert names[134] != names[517]  # the bird and the machine
    assert all("crane" in names[label] for label in (134, 517))


def test_a_name_that_occurs_twice_has_its_number_behind_it():
    names = library_class_names("timm:resnet18")
    assert names[134] == "crane (134)"
    assert names[517] == "crane (517)"


def test_other_sets_of_classes_and_networks_of_one_s_own():
    assert len(library_class_names("timm:vit_tiny_patch16_224.augreg_in21k")) == 21843
    assert library_class_names("mine:network") is None


@pytest.mark.filterwarnings("ignore:torchvision.squeezenet1_0 has random weights")
@pytest.mark.parametrize(("classes", "first"), [("null", "tench"), ("1000", "tench"), ("7", "0")])
def test_a_foreign_network_shows_the_names_where_the_number_of_classes_agrees(classes, first):
    words = ["classifier=torchvision:squeezenet1_0", "layer=features", "input.size=64"]
    config = compose_checked([*words, f"num_classes={classes}"], "predict", complete=False)
    assert build_model(config).class_names[0] == first


@pytest.mark.filterwarnings("ignore:torchvision.squeezenet1_0 has random weights")
def test_given_names_come_first(tmp_path):
    (tmp_path / "names.txt").write_text("\n".join(f"class {i}" for i in range(1000)))
    words = ["classifier=torchvision:squeezenet1_0", "layer=features", "input.size=64"]
    words += [f"class_names={tmp_path}/names.txt"]
    config = compose_checked(words, "predict", complete=False)
    assert build_model(config).class_names[0] == "class 0"
