"""Splits of images with several classes, and boxes in whole pixels."""

from collections import Counter

import numpy as np
import pytest

from learned_saliency.datamodules import DataError
from learned_saliency.datamodules.readers.manylabels import (
    covering_box,
    draw_shares,
    share_sizes,
    truncated_box,
)


def drawn(generator, count=400, classes=6):
    """Draw labels of images: rare and frequent classes, some images with none."""
    rates = np.geomspace(0.02, 0.5, classes)
    names = [f"{k:04}.jpg" for k in range(count)]
    return names, [np.flatnonzero(generator.random(classes) < rates).tolist() for _ in names]


@pytest.mark.parametrize("part", [0.1, 0.25, 0.5, 1.0])
def test_each_share_has_its_part_of_all_images_and_of_each_class(part):
    names, labels = drawn(np.random.default_rng(0))
    shares = draw_shares(names, labels, names, {"val": part, "test": 1 - part}, 3)
    counts = Counter(shares)
    assert {split: counts[split] for split in ("val", "test")} == share_sizes(400, part)
    for label in range(6):
        whole = sum(label in own for own in labels)
        own = sum(label in own for own, share in zip(labels, shares, strict=True) if share == "val")
        assert abs(own - part * whole) <= 2


def test_groups_stay_together_and_what_is_known_stays_where_it_is():
    names, labels = drawn(np.random.default_rng(1))
    groups = [k // 3 for k in range(len(names))]
    parts = {"train": 0.7, "val": 0.15, "test": 0.15}
    shares = draw_shares(names, labels, groups, parts, 0)
    assert all(len({shares[k] for k in range(g, min(g + 3, 400))}) == 1 for g in range(0, 400, 3))
    assert abs(shares.count("val") - 60) <= 6
    known = dict(zip(names[:200], shares[:200], strict=True))
    again = draw_shares(names, labels, groups, parts, 99, known)
    assert again[:200] == shares[:200]
    assert again[200] == shares[199]  # in one group with what is known
    assert again[201:] != shares[201:]
    assert abs(again.count("val") - 60) <= 6


def test_the_draw_depends_on_the_seed_and_not_on_the_order():
    names, labels = drawn(np.random.default_rng(2), count=60)
    parts = {"train": 0.8, "val": 0.2}
    first = dict(zip(names, draw_shares(names, labels, names, parts, 0), strict=True))
    order = np.random.default_rng(3).permutation(60)
    mixed = [names[k] for k in order]
    again = draw_shares(mixed, [labels[k] for k in order], mixed, parts, 0)
    assert dict(zip(mixed, again, strict=True)) == first
    assert draw_shares(names, labels, names, parts, 1) != list(first.values())


def test_no_share_of_nothing():
    assert set(draw_shares(["a", "b"], [[], [0]], [0, 0], {"val": 1, "test": 0}, 0)) == {"val"}
    assert draw_shares([], [], [], {"val": 0.5, "test": 0.5}, 0) == []


def test_a_box_between_pixels_becomes_the_pixels_that_it_touches():
    assert covering_box((4.5, 6, 15.75, 24), (40, 30), "a") == (4, 6, 15, 23)
    assert covering_box((0, 0, 40, 30), (40, 30), "a") == (0, 0, 39, 29)
    assert covering_box((-3, 2, 50.5, 2), (40, 30), "a") == (0, 2, 39, 2)
    with pytest.raises(DataError, match="a: the box 40,0,41,5 lies outside of its image of 40x30"):
        covering_box((40, 0, 41, 5), (40, 30), "a")


def test_a_box_of_pixels_loses_its_fractions():
    assert truncated_box((31.7, 6, 40, 25.4), (40, 30), "a", first=1) == (30, 5, 39, 24)
    assert truncated_box((0, 0, 45.9, 29.2), (40, 30), "a") == (0, 0, 39, 29)
    with pytest.raises(DataError, match="a: the box 41,6,42,7 lies outside of its image of 40x30"):
        truncated_box((41, 6, 42, 7), (40, 30), "a", first=1)
