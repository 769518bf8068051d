"""Places to which mass moved: maps whose mass is known."""

import numpy as np
import pytest
import torch

from learned_saliency.metrics import RelevanceMassAccuracy
from learned_saliency.pipeline.cli import UserError
from learned_saliency.pipeline.comparison.guard_places import gains, look, object_region
from learned_saliency.pipeline.reports import read_saved
from learned_saliency.trainers.callbacks.gallery_images import _outlines
from tests.support.guarded import Told, picture, write_evaluation


def looked(tmp_path, old, new, masks=False):
    places = [
        write_evaluation(tmp_path / name, maps) for name, maps in (("old", old), ("new", new))
    ]
    return look(*map(read_saved, places), "native", masks)


def dots(*points, side=12):
    values = np.zeros((side, side), np.uint8)
    for y, x in points:
        values[y, x] = 100
    return values


def test_mass_that_moved_into_a_corner_is_found_there(tmp_path):
    # two dots on the object; then one of them in the corner of an image, and both in another's
    old = {name: Told(0, 1.0, dots((3, 3), (4, 4))) for name in ("a", "b", "c")}
    new = {
        "a": Told(0, 0.5, dots((3, 3), (0, 11))),
        "b": Told(0, 0.0, dots((0, 11), (2, 9))),
        "d": Told(0, 0.0, dots((0, 11))),
    }
    seen = looked(tmp_path, old, new)
    assert seen.image_ids == ["a", "b"]
    assert seen.areas == pytest.approx([16 / 144] * 2)
    found = {gain.place: gain for gain in gains(seen, ["a", "b", "unpictured"], 0.95)}
    assert (found["upper right corner"].old, found["upper right corner"].new) == (0, 0.75)
    assert (found["frame"].old, found["frame"].new) == (0, 0.5)
    assert found["center"].change == 0
    assert next(iter(found)) == "upper right corner"
    assert gains(seen, ["a"], 0.95) == []


def test_each_cell_and_the_object_have_their_own_mass(tmp_path):
    for at, place in (
        ((0, 0), "upper left corner"),
        ((1, 6), "upper middle"),
        ((6, 1), "left middle"),
        ((7, 7), "center"),
        ((5, 11), "right middle"),
        ((11, 0), "lower left corner"),
        ((11, 5), "lower middle"),
        ((8, 8), "lower right corner"),
    ):
        folder = tmp_path / place
        folder.mkdir()
        old = {name: Told(0, 1.0, dots((3, 3))) for name in "ab"}
        new = {name: Told(0, 0.0, dots(at)) for name in "ab"}
        found = gains(looked(folder, old, new), ["a", "b"], 0.95)
        assert [gain.place for gain in found if gain.change == 1 and gain.place != "frame"] == [
            place
        ]


def test_what_lies_in_no_cell_is_what_the_metric_counts(tmp_path):
    random = np.random.default_rng(0)
    maps = {str(i): random.integers(0, 256, (20, 26), dtype=np.uint8) for i in range(4)}
    images = {name: Told(0, 0.5, values, (3, 4, 17, 11)) for name, values in maps.items()}
    seen = looked(tmp_path, images, images, masks=True)
    mask = torch.zeros(20, 26, dtype=torch.uint8)
    mask[4:12, 3:18] = 1
    metric = RelevanceMassAccuracy()
    for values, off in zip(maps.values(), seen.old[:, :9].sum(1), strict=True):
        metric.reset()
        metric.update(torch.tensor(values)[None] / 255, mask[None])
        assert 1 - off == pytest.approx(float(metric.compute()), abs=1e-6)


def test_an_outlined_mask_with_a_hole_is_drawn_as_it_was():
    mask = np.zeros((30, 40), np.uint8)
    mask[5:25, 8:30] = 1
    mask[10:18, 14:22] = 0
    image = picture(0, "a", Told(0, 0.5, mask))._replace(regions=_outlines(torch.tensor(mask)))
    drawn = object_region(image, masks=True)
    # the outline of a hole runs on the object, so that its rim counts for the hole
    assert (drawn != mask).sum() <= 2 * (8 + 8) + 4
    assert drawn[14, 18] == 0
    assert drawn[6, 9] == 1
    assert drawn[0, 0] == 0


def test_boxes_that_differ_are_refused_and_those_of_another_size_are_not(tmp_path):
    old = {name: Told(0, 0.5, dots(side=12)) for name in "ab"}
    for name, told in {
        "double": Told(0, 0.5, dots(side=24), (4, 4, 11, 11)),
        "shifted": Told(0, 0.5, dots(side=24), (4, 8, 11, 15)),
        "other": Told(0, 0.5, dots(side=12), (2, 2, 5, 6)),
    }.items():
        folder = tmp_path / name
        folder.mkdir()
        if name == "double":
            assert looked(folder, old, {"a": told, "b": told}).image_ids == ["a", "b"]
        else:
            with pytest.raises(UserError, match="a has other true boxes in NEW than in OLD"):
                looked(folder, old, {"a": told, "b": told})
