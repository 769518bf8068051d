"""Images set aside as `val`: as many of each class, by seed, and only where enough are there."""

import numpy as np
import pytest

from learned_saliency.datamodules import DataError
from learned_saliency.datamodules.readers.holdout import check_draw, draw_val

LABELS = np.array([2, 0, 1, 0, 2, 1, 0, 1, 2, 0])  # four, three and three images


def test_as_many_of_each_class_are_drawn_from_the_given_rows():
    rows = np.array([0, 1, 2, 3, 4, 5, 6, 7, 8])
    drawn = {tuple(draw_val(LABELS, rows, 2, seed)) for seed in range(20)}
    assert len(drawn) > 10
    for found in map(np.array, drawn):
        assert set(found) <= set(rows)
        assert sorted(LABELS[found]) == [0, 0, 1, 1, 2, 2]
        assert (np.diff(found) > 0).all()
    assert tuple(draw_val(LABELS, rows, 2, 5)) == tuple(draw_val(LABELS, rows, 2, 5))


def test_a_class_keeps_what_must_be_left_over():
    rows = np.arange(10)
    with pytest.raises(DataError, match=r"class 1 has 3 training images, too few to set 3 of them"):
        draw_val(LABELS, rows, 3, 0)
    assert len(draw_val(LABELS, rows, 3, 0, left_over=0)) == 9
    with pytest.raises(DataError, match="class 0 has 0 annotated images, too few to set 1"):
        draw_val(LABELS, np.flatnonzero(LABELS), 1, 0, what="annotated images", left_over=0)


@pytest.mark.parametrize(("options", "told"), [((0, 0), "val_per_class"), ((1, -1), "seed")])
def test_options_out_of_range_are_refused(options, told):
    with pytest.raises(ValueError, match=told):
        check_draw(*options)
