"""Labels of a data set in the classes of a classifier, and images without a label."""

from dataclasses import replace

import numpy as np
import pytest
import torchvision

from learned_saliency.datamodules import UNKNOWN, DataError, WSOLDataModule
from learned_saliency.datamodules.classes import check_labels, find_classes
from learned_saliency.datamodules.known_classes import match_classes
from learned_saliency.datamodules.metadata import SplitMetadata, read_split


@pytest.mark.parametrize(
    ("names", "known", "labels"),
    [
        (["Dog", "cat"], ["cat", "dog"], [1, 0]),
        (["black_footed-Ferret"], ["ferret", "black-footed ferret"], [1]),
        (["a mouse"], ["cat", "dog"], [UNKNOWN]),
        (["Tinca tinca, tench"], ["goldfish", "tench"], [1]),
        (["tinca tinca"], ["goldfish", "tench, Tinca tinca"], [1]),
        (["crane"], ["crane, bird", "crane, machine"], [UNKNOWN]),  # nobody can tell which
        (["crane"], ["crane, bird", "crane"], [1]),  # a whole name comes before its parts
        (["0", "1"], ["cat", "dog"], [0, 1]),  # equally many, and names for one of both alone
        (["cat", "dog"], ["0", "1"], [0, 1]),
        (["0", "1"], ["cat", "dog", "mouse"], [UNKNOWN, UNKNOWN]),
        (["0", "1"], ["0", "1", "2"], [0, 1]),
        (["crane", "crane"], ["crane, bird", "crane"], [0, 1]),  # equally many, each in its place
    ],
)
def test_labels_are_found_by_name(names, known, labels):
    assert match_classes(names, known).known.tolist() == labels


def test_classes_of_imagenet_are_found_by_wordnet_ids_and_all_synonyms():
    categories = torchvision.models.get_model_weights("squeezenet1_0").DEFAULT.meta["categories"]
    names = ["n01440764_tench", "n01496331", "Carassius auratus", "crane", "n02012849", "n99999999"]
    found = match_classes(names, categories).known.tolist()
    assert found == [0, 5, 1, 517, 134, UNKNOWN]
    assert (categories[134], categories[517]) == ("crane bird", "crane")


def test_what_a_classifier_knows_is_told():
    matched = match_classes(["cat", "mouse", "rat"], ["cat", "dog"])
    assert matched.told(9, 3) == (
        "the classifier knows 1 of the 3 classes of the data set, 3 of 9 images; unknown to it: "
        "mouse and 1 more, whose images count as unlabeled"
    )
    assert matched.told(9, 3).startswith("the classifier knows 1 of the 3 classes")
    every = match_classes(["dog", "cat"], ["cat", "dog"])
    assert every.told(4, 4).endswith("2 of the 2 classes of the data set, 4 of 4 images")


def test_a_data_set_takes_over_the_classes_of_a_classifier(tiny):
    root = tiny()
    (root / "metadata" / "class_names.txt").write_text("0,cat\n1,dog\n2,mouse\n")
    known = ["fish", "Mouse", "cat", "bird"]
    data = WSOLDataModule(root, root / "metadata", known_classes=known, crop_size=8, resize_size=8)
    data.setup("fit")
    data.setup("test")
    assert (data.num_classes, data.class_names) == (4, known)
    (batch,) = data.dataloader("test")
    assert batch["label"].tolist() == [2, UNKNOWN, 1, 2, UNKNOWN, 1, 2]
    assert data.num_labeled("test") == 5
    assert "2 of the 3 classes of the data set, 15 of 23 images" in data.told_classes()
    assert next(iter(data.train_dataloader()))["label"].min() == UNKNOWN


def test_a_quick_look_counts_its_own_images_alone(tiny):
    root = tiny()
    (root / "metadata" / "class_names.txt").write_text("0,cat\n1,dog\n2,mouse\n")
    data = WSOLDataModule(root, root / "metadata", known_classes=["dog", "cat", "mouse"], limit=3)
    data.setup("test")
    assert data.told_classes().endswith("3 of 3 images")
    assert data.num_labeled("test") == 3


def test_labels_that_keep_their_meaning_are_not_told_of(tiny):
    root = tiny()
    data = WSOLDataModule(root, root / "metadata", known_classes=["cat", "dog", "mouse"])
    data.setup("test")
    assert data.class_names == ["cat", "dog", "mouse"]
    assert data.num_labeled("test") == 7
    assert data.told_classes() == ""


def test_part_labels_belong_to_the_classes_of_the_data_set(tiny):
    root = tiny()
    (root / "metadata" / "class_names.txt").write_text("0,cat\n1,dog\n2,mouse\n")
    data = WSOLDataModule(root, root / "metadata", known_classes=["dog"], parts=lambda *_: None)
    data.setup("test")
    with pytest.raises(DataError, match="trained on other classes than those whose parts"):
        data.parts()


def test_unknown_labels_are_allowed_and_counted_as_no_class(tiny):
    root = tiny()
    labels = root / "metadata" / "train" / "class_labels.txt"
    labels.write_text("".join(f"train/{i}.png,{(-1, 0, 1)[i % 3]}\n" for i in range(11)))
    split = read_split(labels.parent, localization=False)
    check_labels(split, 2)
    assert find_classes(root / "metadata", {"train": split}) == (2, ["0", "1"])
    labels.write_text("".join(f"train/{i}.png,-1\n" for i in range(11)))
    split = read_split(labels.parent, localization=False)
    assert find_classes(root / "metadata", {"train": split}) == (1, ["0"])
    assert find_classes(root / "metadata", {"val": split}) == (1, ["0"])
    assert np.all(split.labels == UNKNOWN)


def test_no_class_is_missed_where_no_label_is_known(tiny, recwarn):
    root = tiny()
    for split, count in (("train", 11), ("val", 5), ("test", 7)):
        lines = "".join(f"{split}/{i}.png,-1\n" for i in range(count))
        (root / "metadata" / split / "class_labels.txt").write_text(lines)
    data = WSOLDataModule(root, root / "metadata")
    data.setup("fit")
    assert not [w for w in recwarn if "no image of class" in str(w.message)]
    assert data.num_labeled("val") == 0


def test_an_image_of_several_classes_has_the_first_that_is_known(tmp_path):
    presence = np.array([[True, True, False], [False, True, True], [True, False, False]])
    split = SplitMetadata(tmp_path, ["a", "b", "c"], np.array([0, 1, 0]), presence=presence)
    found = match_classes(["mouse", "cat", "dog"], ["dog", "cat"]).apply(split)
    assert found.presence.tolist() == [[False, True], [True, True], [False, False]]
    assert found.labels.tolist() == [1, 0, -1]
    samples = replace(split, sources=["a", "a", "c"])  # each of which has the class of its label
    found = match_classes(["mouse", "cat", "dog"], ["dog", "cat"]).apply(samples)
    assert found.labels.tolist() == [-1, 1, -1]
