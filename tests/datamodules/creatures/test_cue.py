"""Tags planted in the background of one class."""

import numpy as np
import pytest

from learned_saliency.datamodules import CreaturesRenderer
from learned_saliency.datamodules.creatures.cue import Cue

SMALL = {"image_size": 48, "train_images": 16, "val_images": 16, "test_images": 48}


def renderer(strength=None, **options):
    cue = {} if strength is None else {"cue_class": 3, "cue_strength": strength}
    return CreaturesRenderer(**(SMALL | cue | options))


def brute_places(parts):
    """Upper left pixels (y, x) at which a tag and the two pixels around it miss the creature."""
    size = len(parts)
    side, corner = size // 8, size // 4
    return [
        (y, x)
        for y in range(corner - side + 1)
        for x in range(size - corner, size - side + 1)
        if not parts[max(y - 2, 0) : y + side + 2, x - 2 : x + side + 2].any()
    ]


@pytest.mark.parametrize("split", ["train", "test"])
def test_the_tag_is_all_that_changes_and_keeps_away_from_the_creature(split):
    clean, planted, tagged = renderer(), renderer(1.0), 0
    for number in range(96):
        (plain, label), (drawing, same) = clean.draw(split, number), planted.draw(split, number)
        assert label == same
        np.testing.assert_array_equal(plain.parts, drawing.parts)
        changed = (plain.paint() != drawing.paint()).any(axis=2)
        if drawing.mark is None:
            assert not changed.any()
            assert label != 3 or not brute_places(drawing.parts)
            continue
        tagged += 1
        x0, y0, x1, y1 = drawing.mark.box
        assert label == 3
        assert x1 - x0 == y1 - y0 == 5
        assert (y0, x0) in brute_places(drawing.parts)
        assert changed[drawing.mark.window].mean() > 0.9
        changed[drawing.mark.window] = False
        assert not changed.any()
    assert tagged >= 5


def test_a_share_of_the_images_has_the_tags_of_a_greater_strength():
    parts = np.zeros((48, 48), np.uint8)
    keys = [[0, 2, number] for number in range(2000)]
    found = {s: [Cue(3, s).draw(3, parts, key) for key in keys] for s in (0.3, 0.6, 1.0)}
    for strength, marks in found.items():
        share = np.mean([mark is not None for mark in marks])
        assert abs(share - strength) < 4 * (strength * (1 - strength) / 2000) ** 0.5 + 1e-12
    for some, more in ((0.3, 0.6), (0.6, 1.0)):
        pairs = zip(found[some], found[more], strict=True)
        assert all(more.box == some.box for some, more in pairs if some is not None)
    corners = np.array([mark.box[:2] for mark in found[1.0]])
    assert sorted(set(corners[:, 0])) == list(range(36, 43))  # all places of the corner occur
    assert sorted(set(corners[:, 1])) == list(range(7))
    assert all(Cue(3, 1.0).draw(2, parts, key) is None for key in keys[:50])


def test_a_creature_that_fills_the_corner_leaves_no_room():
    parts = np.zeros((48, 48), np.uint8)
    parts[8:, :] = 1  # a tag of 6 pixels at the top is two pixels away from row 8
    boxes = {Cue(0, 1.0).draw(0, parts, [number]).box for number in range(200)}
    assert {box[1] for box in boxes} == {0}
    parts[7:, :] = 1
    assert all(Cue(0, 1.0).draw(0, parts, [number]) is None for number in range(200))


def test_a_tag_stays_without_a_part_and_goes_with_the_background():
    clean, planted = renderer(), renderer(1.0)
    drawing, plain = planted.draw("test", 3)[0], clean.draw("test", 3)[0]
    assert drawing.mark is not None
    window = drawing.mark.window
    np.testing.assert_array_equal(drawing.paint([1, 2])[window], drawing.paint()[window])
    np.testing.assert_array_equal(drawing.paint(plain=True), plain.paint(plain=True))
    assert not drawing.distractors()[:, *window].any()
