"""Images that two evaluations have in common, and what does not belong together."""

import numpy as np
import pytest

from learned_saliency.pipeline.cli import UserError
from learned_saliency.pipeline.comparison.guard_pairs import pair
from learned_saliency.pipeline.reports import read_saved
from tests.support.guarded import Told, write_evaluation

IMAGES = {f"{i}.jpg": Told(i % 3, 0.1 * i) for i in range(8)}


@pytest.fixture
def saved(tmp_path):
    """Function that writes an evaluation and reads it back."""
    return lambda name, images=IMAGES, **kwargs: read_saved(
        write_evaluation(tmp_path / name, images, **kwargs)
    )


def test_images_are_matched_by_name_and_the_others_counted(saved):
    new = dict(reversed(IMAGES.items()))
    del new["0.jpg"]
    new |= {"3.jpg": Told(0, None), "9.jpg": Told(0, 0.5), "8.jpg": Told(0, 0.5)}
    found = pair(saved("old"), saved("new", new), None, "auto")
    assert found.image_ids == [f"{i}.jpg" for i in (1, 2, 4, 5, 6, 7)]
    np.testing.assert_allclose(found.old, [0.1, 0.2, 0.4, 0.5, 0.6, 0.7])
    np.testing.assert_array_equal(found.old, found.new)
    np.testing.assert_array_equal(found.labels, [1, 2, 1, 2, 0, 1])
    assert found.left_out == {
        "only in OLD": 1,
        "only in NEW": 2,
        "without an object of the truth": 1,
    }
    assert (found.method, found.metric) == ("native", "energy_pointing_game")


@pytest.mark.parametrize(
    ("old", "new", "asked", "method"),
    [
        (("cam", "native"), ("native", "cam"), None, "native"),
        (("cam", "gradcam"), ("gradcam", "cam", "native"), None, "cam"),
        (("cam", "gradcam"), ("gradcam", "cam"), "gradcam", "gradcam"),
    ],
)
def test_the_method_is_native_or_the_first_common_one(saved, old, new, asked, method):
    evaluations = saved("old", methods=old), saved("new", methods=new)
    assert pair(*evaluations, asked, "auto").method == method


@pytest.mark.parametrize(
    ("new", "asked", "told"),
    [
        ({"split": "val"}, {}, r"old is of the split test and .*new of val; evaluate both"),
        ({"explained": "predicted"}, {}, "old explains the class 'label' and .* 'predicted'"),
        ({"methods": ("cam",)}, {}, "no method in common, but native and cam; evaluate both"),
        ({}, {"method": "lift"}, "method=lift: .*old has no maps of it; it has native"),
        ({"metric": "iou"}, {}, "metric=auto: not both have relevance_mass_accuracy or energy_p"),
        ({}, {"metric": "relevance_mass_accuracy"}, "metric=relevance_mass_accuracy: not both"),
        ({"images": {"4.jpg": Told(1, 0.4)}}, {}, "have 1 images with energy_pointing_game in co"),
        (
            {"images": IMAGES | {"4.jpg": Told(2, 0.4), "5.jpg": Told(0, 0.4)}},
            {},
            "2 of 8 images have other labels in NEW than in OLD, 4.jpg first",
        ),
    ],
)
def test_what_does_not_belong_together_is_refused(saved, new, asked, told):
    old = saved("old", explained="label")
    other = saved("new", **{"explained": "label", **new})
    with pytest.raises(UserError, match=told):
        pair(old, other, asked.get("method"), asked.get("metric", "auto"))
