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
        return {row["superset"]: row for row in csv.DictReader(file)}


def test_the_table_has_the_papers_nodes_and_counts(table):
    assert len(table) == 118  # 120 lines of Tab. 4, two of them twice
    counts = {node: len(classes) for node, classes in room._listed_nodes().items()}
    assert {n: c for n, c in counts.items() if c != int(table[n]["listed"])} == LARGER
    assert (table["n02083346"]["name"], table["n02083346"]["listed"]) == ("canine", "116")


def test_670_classes_of_the_paper_and_702_differ_by_the_places_in_wordnet(table):
    """The paper's 670 are its counts, less those of nodes below another one of the table."""
    nodes = room._listed_nodes()
    listed = {node: int(row["listed"]) for node, row in table.items()}
    swine, bovid = "n02395003", "n02401031"
    assert sum(listed.values()) - listed[swine] - listed[bovid] == 670
    more = sum(len(nodes[node]) - count for node, count in listed.items())
    assert more == 37
    every = [name for node in nodes if node not in (swine, bovid) for name in nodes[node]]
    assert len(every) - len(set(every)) == 5  # minivan, 2 warships, 2 pianos: twice in the table
    assert len(set(every)) == 670 + more - 5 == 702


def test_the_hierarchy_ends_in_the_imagenet_classes_and_begins_at_one_root():
    classes = room._imagenet()
    assert len(classes) == 1000
    assert (classes[0], classes[-1]) == ("n01440764", "n15075141")
    assert (classes[151], classes[999]) == ("n02085620", "n15075141")
    roots = [name for name, above in room._hypernyms().items() if not above]
    assert roots == ["n00001740"]  # entity
    assert all(name in room._hypernyms() for above in room._hypernyms().values() for name in above)
    assert max(len(room._path(name)) for name in classes) == 19


@pytest.mark.parametrize(
    ("depth", "groups", "largest"), [(0, 1, 1000), (5, 34, 410), (9, 500, 218), (18, 1000, 1)]
)
def test_depths_of_the_hierarchy_part_the_classes(depth, groups, largest):
    """Counts from WordNet's file data.noun, by a program of its own."""
    members = superset_members(f"wordnet:{depth}", 1000)
    assert torch.equal(members, members.T)
    assert len(members.unique(dim=0)) == groups
    assert members.sum(1).max() == largest


def test_dogs_are_one_group_at_the_depth_of_canines():
    chihuahua, timber_wolf, tabby, ox = 151, 269, 281, 345
    members = superset_members("wordnet:12", 1000)
    assert room._path("n02085620")[12] == "n02083346"
    assert members[chihuahua].sum() == 130
    assert members[chihuahua, timber_wolf]
    assert not members[chihuahua, tabby]
    assert not members[chihuahua, ox]


def test_groups_by_name():
    members = superset_members(["cat", "dog", "cat"], 3)
    assert members.tolist() == [[True, False, True], [False, True, False], [True, False, True]]


def test_wordnet_supersets_of_imagenet():
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
        (("wordnet:5", 1, ["n00000000"]), "n00000000 is none of ILSVRC's classes"),
        (("wordnet:x", 3), "wordnet:DEPTH or a list of groups"),
        ((["cat"], 2), "1 groups for 2 classes"),
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
