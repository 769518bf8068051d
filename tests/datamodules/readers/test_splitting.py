import numpy as np
import pytest

from learned_saliency.datamodules.readers.splitting import draw_splits, merged_groups

BOTH = {"val": 0.15, "test": 0.15}


def drawn(labels, groups=None, fractions=BOTH, seed=0, **options):
    names = [f"{i:04d}.jpg" for i in range(len(labels))]
    groups = range(len(labels)) if groups is None else groups
    return draw_splits(names, labels, groups, fractions, seed, **options)


def counts(splits, labels):
    """Number of images by split and class."""
    return {
        split: np.bincount(
            [label for label, own in zip(labels, splits, strict=True) if own == split],
            minlength=max(labels) + 1,
        ).tolist()
        for split in ("train", "val", "test")
    }


def test_every_class_gives_its_fraction():
    labels = [0] * 100 + [1] * 40 + [2] * 7
    found = drawn(labels)
    assert counts(found.splits, labels) == {
        "train": [70, 28, 5],
        "val": [15, 6, 1],
        "test": [15, 6, 1],
    }
    assert not found.too_small


def test_the_seed_alone_decides():
    labels = [0, 1] * 30
    same = [drawn(labels, seed=seed).splits for seed in (0, 0, 1, 2)]
    assert same[0] == same[1]
    assert len({tuple(splits) for splits in same}) == 3


def test_further_images_move_few():
    labels = [0, 1] * 100
    before, after = drawn(labels).splits, drawn([*labels, 0, 1, 0, 1]).splits
    moved = sum(old != new for old, new in zip(before, after, strict=False))
    assert moved <= 8


@pytest.mark.parametrize(
    ("images", "expected"), [(1, (1, 0, 0)), (2, (2, 0, 0)), (3, (1, 1, 1)), (4, (2, 1, 1))]
)
def test_classes_that_are_too_small_are_for_training(images, expected):
    labels = [0] * 20 + [1] * images
    found = drawn(labels)
    assert tuple(of_split[1] for of_split in counts(found.splits, labels).values()) == expected
    assert found.too_small == ([1] if images < 3 else [])


def test_groups_stay_whole_over_many_seeds():
    rng = np.random.default_rng(0)
    for seed in range(30):
        labels = rng.integers(0, 3, 90).tolist()
        groups = rng.integers(0, 40, 90).tolist()
        found = drawn(labels, groups, seed=seed)
        whole = {}
        for group, split in zip(groups, found.splits, strict=True):
            assert whole.setdefault(group, split) == split
        assert {"train", "val", "test"} == set(found.splits)


def test_a_group_larger_than_a_split_is_for_training():
    labels = [0] * 60 + [1] * 40
    groups = [0] * 30 + list(range(1, 71))
    found = drawn(labels, groups)
    assert set(found.splits[:30]) == {"train"}
    assert counts(found.splits, labels)["val"] == [9, 6]


def test_a_class_of_one_group_is_for_training_and_told():
    labels = [0] * 20 + [1] * 20
    found = drawn(labels, [0] * 20 + list(range(1, 21)))
    assert set(found.splits[:20]) == {"train"}
    assert found.too_small == [0]


def test_a_class_of_three_large_groups_is_in_all_splits():
    labels = [0] * 30 + [1] * 20
    groups = [0] * 10 + [1] * 10 + [2] * 10 + list(range(3, 23))
    found = drawn(labels, groups)
    assert counts(found.splits, labels)["train"][0] == 10
    assert not found.too_small


def test_images_with_boxes_alone_are_drawn():
    labels = [0] * 40 + [1] * 40 + [2] * 40
    marked = [i % 40 < 4 for i in range(80)] + [False] * 40
    found = drawn(labels, marked=marked)
    assert counts(found.splits, labels)["val"] == counts(found.splits, labels)["test"] == [2, 2, 0]
    assert all(m for m, split in zip(marked, found.splits, strict=True) if split != "train")
    assert (found.too_small, found.unmarked) == ([], [2])


def test_more_boxes_than_fractions_ask_for_stay_in_training():
    labels = [0] * 40 + [1] * 40
    found = drawn(labels, marked=[True] * 80)
    assert counts(found.splits, labels) == {"train": [28, 28], "val": [6, 6], "test": [6, 6]}


def test_known_splits_are_kept_and_their_groups_follow():
    labels = [0, 1] * 30
    before = drawn(labels).splits
    names = [f"{i:04d}.jpg" for i in range(60)]
    known = dict(zip(names, before, strict=True))
    groups = [*range(60), 1, 0, 60, 61]  # two copies, two new ones
    after = drawn([*labels, 1, 0, 0, 1], groups, seed=7, known=known).splits
    assert after[:60] == before
    assert after[60:62] == [before[1], before[0]]
    assert counts(after, [*labels, 1, 0, 0, 1])["val"] == [5, 5]  # 15 % of 32, with the new ones


def test_groups_are_joined_over_their_common_images():
    first = np.array([0, 0, 1, 2, 3, 4])
    second = np.array([5, 6, 6, 7, 7, 9])
    assert merged_groups(first, second).tolist() == [0, 0, 0, 3, 3, 5]
    assert merged_groups(np.array([], np.int64)).tolist() == []
