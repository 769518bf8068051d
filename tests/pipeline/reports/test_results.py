"""The table of the terminal: which figures, in which order, under which names."""

import csv
import io
import sys

import pytest

from learned_saliency.metrics import Figure
from learned_saliency.pipeline.reports import (
    SweepRun,
    format_sweep,
    format_table,
    layout,
    summarize,
    table_rows,
    write_sweep,
)
from learned_saliency.trainers import TEST_FIGURES


def test_the_table_of_a_whole_test_shows_the_headlines_in_order():
    results = {"native": dict.fromkeys(TEST_FIGURES, 0.5), "full_image": {"pxap": 0.25}}
    head, native, floor = table_rows(results)
    assert head[1:] == [
        *("max_box_acc", "max_box_acc_v2", "pxap", "top1_loc", "top5_loc", "le", "f1", "om"),
        *("le_seen", "f1_seen", "om_seen", "le_unseen", "f1_unseen", "om_unseen"),
        *("map_mean", "accuracy", "mAP", "r2", "MAE, units", "AD", "AI", "AG", "ADD"),
        *("insertion", "insertion_zero", "deletion", "ins_perc", "del_perc"),
        *("AOPC", "ROAD", "MoRF", "LeRF", "infidelity", "SM, nats"),
        *("MS", "coherency", "l1_complexity", "ADCC", "ARCC"),
    ]
    in_nats = head.index("SM, nats")
    assert native.pop(in_nats) == "0.5"
    assert native.pop(head.index("MAE, units")) == "0.5"
    assert native == ["native", *["50.0"] * 37]
    assert floor == ["full_image", "-", "-", "25.0", *["-"] * 36]


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
        "     first ↑  wob ↓",
        "-------------------",
        "cam     40.0   10.0",
    ]
    heading = format_table(results, figures, "Split val").splitlines()[0]
    assert heading == "Split val, percent (↑ higher is better, ↓ lower is better)"


def test_signs_are_those_that_the_terminal_can_show(monkeypatch):
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    table = format_table({"cam": {"le": 0.5, "f1": 0.5}}, title="Test split")
    table.encode("ascii")
    assert table.splitlines()[1].split() == ["le", "v", "f1", "^"]


def test_a_wide_table_goes_on_in_further_blocks():
    results = {"native": dict.fromkeys(TEST_FIGURES, 0.5), "a long name of a method": {"pxap": 0.1}}
    table = format_table(results)
    assert max(map(len, table.splitlines())) <= 120
    blocks = table.split("\n\n")
    assert len(blocks) > 1
    heads = [head for block in blocks for head in block.splitlines()[0].strip().split("  ")]
    heads = [head.strip(" ↑↓") for head in heads if head.strip()]
    assert heads == table_rows(results)[0][1:]
    for block in blocks:
        shown = [line.split("  ")[0] for line in block.splitlines()[2:]]
        assert shown == (list(results) if block is blocks[0] else ["native"])


def test_seeds_of_a_sweep_are_joined(tmp_path):
    """By hand: 0.2, 0.4, 0.6 have mean 0.4 and sample standard deviation 0.2."""
    runs = [
        SweepRun(
            {"data": "cub", "model": model, "seed": str(seed)},
            {"native": {"pxap": value + shift, "best_threshold": 0.5}, "full_image": {"pxap": 0.1}},
        )
        for model, shift in (("cam", 0.0), ("calm", 0.1))
        for seed, value in enumerate((0.2, 0.4, 0.6))
    ]
    runs.append(SweepRun({"data": "cub", "model": "fcam", "seed": "0"}, {"native": {"pxap": 0.3}}))
    rows = summarize(runs)
    assert [(row.words, row.method, row.runs) for row in rows] == [
        ({"model": "cam"}, "native", 3),
        ({"model": "cam"}, "full_image", 3),
        ({"model": "calm"}, "native", 3),
        ({"model": "calm"}, "full_image", 3),
        ({"model": "fcam"}, "native", 1),
    ]
    assert rows[0].mean["pxap"] == pytest.approx(0.4)
    assert rows[0].std["pxap"] == pytest.approx(0.2)
    heading, head, _, first, *_, last = format_sweep(rows).splitlines()
    assert "mean ± standard deviation over seeds, percent" in heading
    assert head.split() == ["model", "method", "runs", "pxap", "↑"]
    assert first.split() == ["cam", "native", "3", "40.0", "±", "20.0"]
    assert last.split() == ["fcam", "native", "1", "30.0"]
    write_sweep(tmp_path / "sweep.csv", rows)
    with (tmp_path / "sweep.csv").open() as file:
        written = list(csv.DictReader(file))
    assert float(written[2]["pxap_mean"]) == pytest.approx(0.5)
    assert float(written[2]["best_threshold_std"]) == pytest.approx(0)
    assert written[4]["pxap_std"] == ""


def test_a_block_of_columns_has_the_rows_that_say_something_there():
    rows = [
        ["", "first column", "second column"],
        ["both", "1", "2"],
        ["floor", "3", "-"],
        ["of a study", "-", "4"],
        ["nothing", "-", "-"],
    ]
    whole = layout(rows).splitlines()
    assert [line.split("  ")[0] for line in whole[2:]] == ["both", "floor", "of a study", "nothing"]
    first, second = (block.splitlines() for block in layout(rows, width=26).split("\n\n"))
    assert [line.rsplit(maxsplit=1) for line in first[2:]] == [
        ["both", "1"],
        ["floor", "3"],
        ["nothing", "-"],
    ]
    assert [line.rsplit(maxsplit=1) for line in second[2:]] == [["both", "2"], ["of a study", "4"]]
