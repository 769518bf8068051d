"""Supersets of classes and CAM summed over them."""

import csv

import numpy as np
import pytest
import torch
from torch import nn

from learned_saliency.attribution import (
    CAM,
    GradCAM,
    SupersetAggregation,
    normalize,
    resize,
    superset_members,
)
from learned_saliency.attribution import supersets as room
from tests.support.paths import GOLDEN as FOLDER

GOLDEN = FOLDER / "calm.npz"
# Tab. 4 against WordNet 3.0, where the paper's tree puts a class elsewhere.
LARGER = {
    "n02083346": 130,
    "n01503061": 59,
    "n02913152": 14,
    "n02778669": 10,
    "n02120997": 13,
    "n02686568": 4,
    "n03953020": 9,
    "n04490091": 8,
    "n04338517": 8,
    "n04194289": 6,
    "n03932670": 5,
}


class ClassMaps(nn.Module):
    """A classifier whose activations are its class maps."""

    def __init__(self, maps=None):
        super().__init__()
        self.maps = maps

    def features(self, images):
        return images if self.maps is None else self.maps

    def head(self, features):
        return features.mean(dim=(2, 3))

    def forward(self, images):
        return self.head(self.features(images))


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays.files}


@pytest.fixture(scope="module")
def table():
    with room._TABLE.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_table_has_the_papers_nodes_and_counts(table):
    listed = {row["superset"]: row for row in table if row["listed"]}
    assert len(listed) == 118  # 120 lines of Tab. 4, two of them twice
    counts = {node: len(row["classes"].split()) for node, row in listed.items()}
    assert {n: c for n, c in counts.items() if c != int(listed[n]["listed"])} == LARGER
    assert (listed["n02083346"]["name"], listed["n02083346"]["listed"]) == ("canine", "116")


def test_the_table_covers_each_imagenet_class(table):
    classes = {name for row in table for name in row["classes"].split()}
    assert len(classes) == 1000
    assert (min(classes), max(classes)) == ("n01440764", "n15075141")
    for row in table:
        if not row["listed"]:
            assert row["classes"] == row["superset"]


def test_wordnet_supersets_of_imagenet(table):
    members = superset_members("wordnet", 1000)
    assert members.diagonal().all()
    assert (members.sum(1) > 1).sum() == 702
    chihuahua, ox, sorrel, tench_free = 151, 345, 339, 999  # usual ILSVRC labels
    assert members[chihuahua].sum() == 130
    assert torch.equal(members[chihuahua], members[269])  # timber wolf
    assert members[ox].sum() == 9  # the bovids, not all ungulates
    assert members[sorrel].sum() == 17
    assert members[sorrel, ox]
    assert members[tench_free].sum() == 1  # toilet tissue


def test_wordnet_supersets_of_named_classes():
    ids = ["n02085620 Chihuahua", "n01440764", "n02114367 timber wolf", "n07749582 lemon"]
    members = superset_members("wordnet", 4, ids)
    expected = torch.eye(4, dtype=torch.bool)
    expected[0, 2] = expected[2, 0] = True
    assert torch.equal(members, expected)


def test_all_and_single_classes():
    assert superset_members("all", 3).all()
    assert torch.equal(superset_members("class", 3), torch.eye(3, dtype=torch.bool))


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("birds", 3), "superset must be one of"),
        (("wordnet", 3), "needs the WordNet ids of the 3 classes"),
        (("wordnet", 2, ["n02085620", "dog"]), "got 'dog'"),
        (("wordnet", 2, ["n02085620"]), "got 1 texts"),
    ],
)
def test_what_does_not_name_supersets_is_refused(arguments, told):
    with pytest.raises(ValueError, match=told):
        superset_members(*arguments)


def test_sums_of_normalized_maps_equal_the_released_codes(golden, monkeypatch):
    classifier = ClassMaps(golden["f"].double()).eval()
    images, labels = torch.zeros(4, 3, 10, 10, dtype=torch.float64), golden["labels"]
    groups = golden["superclass"]
    cases = {
        "all": golden["vanilla_saliency"],
        "wordnet": golden["vanilla_superclass"],  # stands for the file's own groups
    }
    monkeypatch.setattr(
        room, "_wordnet_members", lambda *_: groups[:, None] == groups, raising=True
    )
    for superset, expected in cases.items():
        method = SupersetAggregation(CAM(), superset)
        raw = method.raw_maps(classifier, images, labels)
        # The released accumulator is float32.
        torch.testing.assert_close(raw, expected.double(), rtol=0, atol=1e-6)
        wanted = normalize(resize(expected.double(), (10, 10)))
        torch.testing.assert_close(method(classifier, images, labels), wanted, rtol=0, atol=1e-5)


def test_single_classes_give_the_methods_own_map():
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(3, 5, 4, 4, generator=generator)
    classifier, labels = ClassMaps().eval(), torch.tensor([4, 0, 2])
    for method in (CAM(), GradCAM()):
        found = SupersetAggregation(method, "class")(classifier, images, labels)
        torch.testing.assert_close(found, method(classifier, images, labels))


def test_all_classes_cost_one_pass_of_the_backbone():
    passes = []

    class Counting(ClassMaps):
        def features(self, images):
            passes.append(len(images))
            return images

    images = torch.randn(3, 5, 4, 4, generator=torch.Generator().manual_seed(0))
    SupersetAggregation(CAM(), "all")(Counting().eval(), images)
    assert passes == [3]
