"""Table of methods in Markdown and LaTeX, cell by cell."""

from learned_saliency.metrics import Figure
from learned_saliency.pipeline.reports import (
    Interval,
    latex_methods,
    markdown_methods,
    methods_table,
)

FIGURES = {
    "acc": Figure(True),
    "drop_rate": Figure(False, short="D|R"),
    "hidden": Figure(True, headline=False),
    "time": Figure(None, unit="s"),
}
RESULTS = {
    "cam_1": {"acc": 0.5, "drop_rate": 0.25, "hidden": 1.0, "time": 1.5},
    "100% {a}&b": {"acc": 0.50004, "drop_rate": 0.3, "time": 20.0},
    "c": {"acc": 0.1},
    "full_image": {"acc": 0.9, "drop_rate": float("nan")},
}
INTERVALS = {("cam_1", "acc"): Interval(0.5, 0.4, 0.6125, 9)}


def test_markdown_has_the_best_bold_floors_below_and_intervals():
    lines = markdown_methods(methods_table(RESULTS, FIGURES, INTERVALS)).splitlines()
    assert lines == [
        "| method | acc ↑ | D\\|R ↓ | time, s |",
        "| :-- | --: | --: | --: |",
        "| cam_1 | **50.0** (40.0 to 61.3) | **25.0** | 1.5 |",
        "| 100% {a}&amp;b | **50.0** | 30.0 | 20 |",  # as good as the first one as it is shown
        "| c | 10.0 | - | - |",
        "| full_image | 90.0 | - | - |",
    ]


def test_latex_escapes_names_and_rules_the_floors_off():
    text = latex_methods(methods_table(RESULTS, FIGURES, INTERVALS))
    assert text.splitlines()[1:] == [
        r"\begin{tabular}{lrrr}",
        r"\toprule",
        r"method & acc $\uparrow$ & D\textbar{}R $\downarrow$ & time, s \\",
        r"\midrule",
        r"cam\_1 & \textbf{50.0} {\scriptsize [40.0, 61.3]} & \textbf{25.0} & 1.5 \\",
        r"100\% \{a\}\&b & \textbf{50.0} & 30.0 & 20 \\",
        r"c & 10.0 & -- & -- \\",
        r"\midrule",
        r"full\_image & 90.0 & -- & -- \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]


def test_no_value_is_the_best_where_all_are_equal():
    for results in ({"cam": {"acc": 0.5}}, {"cam": {"acc": 0.5}, "liftcam": {"acc": 0.5}}):
        found = methods_table(results, FIGURES, {})
        assert not [value for row in found.methods.values() for value in row if value.best]
