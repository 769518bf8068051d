"""Maps that tell no more than a box in the middle of each image."""

import math

from learned_saliency.pipeline.reports import Interval, told_below_floors
from learned_saliency.pipeline.reports.floors import below_floors, list_below_floors
from learned_saliency.trainers import TEST_FIGURES

FLOORS = {
    "full_image": {"max_box_acc": 0.5, "pxap": 0.3},
    "centered_box": {"max_box_acc": 0.6, "pxap": 0.4},
}


def found(native, intervals=None, floors=FLOORS):
    named = {("native", metric): Interval(*of, 9) for metric, of in (intervals or {}).items()}
    return below_floors({"native": native} | floors, TEST_FIGURES, named)


def metrics(*arguments, **options):
    return [below.metric for below in found(*arguments, **options).get("native", [])]


def test_without_an_interval_the_value_itself_has_to_be_above_the_higher_floor():
    assert metrics({"max_box_acc": 0.55, "pxap": 0.41}) == ["max_box_acc"]
    assert metrics({"max_box_acc": 0.6, "pxap": 0.4}) == ["max_box_acc", "pxap"]
    (below,) = found({"max_box_acc": 0.55})["native"]
    assert (below.floor, below.level, below.interval) == ("centered_box", 0.6, None)


def test_with_an_interval_all_of_it_has_to_be():
    value = {"max_box_acc": 0.63}
    assert metrics(value, {"max_box_acc": (0.63, 0.59, 0.67)}) == ["max_box_acc"]
    assert metrics(value, {"max_box_acc": (0.63, 0.61, 0.65)}) == []
    # corrected for its bias an interval may lie off its value
    assert metrics({"max_box_acc": 0.6}, {"max_box_acc": (0.6, 0.61, 0.65)}) == ["max_box_acc"]


def test_what_has_no_floor_or_no_value_is_left_out():
    assert metrics({"le": 0.0, "accuracy": 0.1, "pxap": math.nan, "undeclared": 0.0}) == []
    assert metrics({"pxap": 0.1}, floors={}) == []
    assert metrics({"pxap": 0.1}, floors={"full_image": {"max_box_acc": 0.2}}) == []
    assert not below_floors(FLOORS, TEST_FIGURES, {})


def test_words_name_methods_and_metrics():
    results = {"native": {"pxap": 0.9}, "cam": {"pxap": 0.35, "max_box_acc": 0.1}} | FLOORS
    interval = {("cam", "pxap"): Interval(0.35, 0.3, 0.4, 9)}
    assert told_below_floors(results, TEST_FIGURES, interval) == (
        "this map tells no more than a box in the middle of each image (centered_box), as far as "
        "the tested images show: cam in pxap, max_box_acc."
    )
    assert list_below_floors(results, TEST_FIGURES, interval) == [
        "cam: its map tells no more than a box in the middle of each image, as far as these images "
        "show: pxap 35.0 (30.0 to 40.0) against 40.0 of centered_box; max_box_acc 10.0 against "
        "60.0 of centered_box."
    ]
    both = results | {"native": {"pxap": 0.1}}
    assert "these maps tell no more" in told_below_floors(both, TEST_FIGURES, {})
    assert told_below_floors({"native": {"pxap": 0.9}} | FLOORS, TEST_FIGURES, {}) == ""
