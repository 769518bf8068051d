"""The table of the terminal: which figures, in which order, under which names."""

from learned_saliency.metrics import Figure
from learned_saliency.pipeline.reports import format_table, table_rows
from learned_saliency.trainers import TEST_FIGURES


def test_the_table_of_a_whole_test_shows_the_headlines_in_order():
    results = {"native": dict.fromkeys(TEST_FIGURES, 0.5), "full_image": {"pxap": 0.25}}
    head, native, floor = table_rows(results)
    assert head[1:] == [
        *("max_box_acc", "max_box_acc_v2", "pxap", "top1_loc", "top5_loc", "le", "f1", "om"),
        *("le_seen", "f1_seen", "om_seen", "le_unseen", "f1_unseen", "om_unseen"),
        *("map_mean", "accuracy", "AD", "AI", "AG", "ADD"),
        *("insertion", "insertion_zero", "deletion", "ins_perc", "del_perc"),
    ]
    assert native == ["native", *["50.0"] * 25]
    assert floor == ["full_image", "-", "-", "25.0", *["-"] * 22]


def test_figures_of_a_study_are_shown_as_it_declares_them():
    figures = {
        "accuracy": Figure(True),
        "wobble": Figure(False, short="wob"),
        "wobble_10": Figure(False, headline=False),
        "first": Figure(True, leads=True),
    }
    results = {"cam": {"wobble": 0.1, "wobble_10": 0.2, "unknown": 0.3, "first": 0.4}}
    assert table_rows(results, figures) == [["", "first", "wob"], ["cam", "40.0", "10.0"]]
    assert format_table(results, figures).splitlines() == [
        "     first   wob",
        "----------------",
        "cam   40.0  10.0",
    ]
