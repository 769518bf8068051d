"""Tests of the command: cells of its tables, files, and the page."""

import csv
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from learned_saliency.pipeline.comparison.estimates import Estimate, Interval, Trainings
from learned_saliency.pipeline.comparison.pairing import Contender
from learned_saliency.pipeline.comparison.rows import Row
from learned_saliency.pipeline.comparison.tables import latex_table, star_told, table_cells
from learned_saliency.pipeline.reports import Signs
from tests.support.bundles import evaluate_bundle
from tests.support.commands import run_command
from tests.support.evaluations import made_maps, made_truth, write_evaluation
from tests.support.untrained import untrained_run

SIGNS = Signs("↑", "↓", "±")
TRUTH = made_truth(20)
NOISE = {"a_b": 0.3, "<i>&": 1.5}  # names that Markdown, LaTeX and HTML take for something else


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """Compare two evaluations, of each of whose first images there is a picture."""
    folder = tmp_path_factory.mktemp("compared")
    maps = {name: made_maps(TRUTH, noise, k) for k, (name, noise) in enumerate(NOISE.items())}
    for (name, found), pictures in zip(maps.items(), (8, 6), strict=True):
        threshold = {"box_threshold": pictures / 10}
        write_evaluation(folder / name, TRUTH, {"native": found}, pictures=pictures, **threshold)
    places = [str(folder / name) for name in NOISE]
    words = ["resamples=200", "page.images=4", f"output_dir={folder / 'out'}"]
    done = run_command("compare", *places, *words)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def contender(name):
    return Contender(0, "native", name)


def row(name, value, difference=None, metric="pxap"):
    reference = contender("a") if difference else None
    return Row(metric, "native", contender(name), reference, 20, 3, True, value, difference)


def test_cells_are_percent_with_the_better_direction_and_a_star_where_all_intervals_are_apart():
    spread = Trainings(0.02, Interval(0.05, 0.15), Interval(-0.01, 0.21), Interval(0.06, 0.14))
    apart = Estimate(0.1, Interval(0.0804, 0.1196), spread)
    near = Estimate(-0.0001, Interval(-0.01, 0.01), spread)
    seeds_differ = Estimate(0.1, Interval(0.08, 0.12), spread._replace(mean=Interval(-1, 1)))
    value = Estimate(0.5, Interval(0.45, 0.55), spread)
    rows = [row("a", value), *(row("b", value, each) for each in (apart, near, seeds_differ))]
    head, first, *others = table_cells([*rows, row("b", value, apart, "le")], SIGNS)
    assert head == [
        *("metric", "run", "value", "over images", "spread of seeds"),
        *("difference", "over images", "over seeds", "one more seed", "seeds and images"),
    ]
    assert first == ["pxap ↑", "a", "50.0", "[45.0, 55.0]", "±2.0", *["-"] * 5]
    over = ["[5.0, 15.0]", "[-1.0, 21.0]", "[6.0, 14.0]"]
    assert others[0][5:] == ["+10.0*", "[8.0, 12.0]", *over]
    assert others[1][5:] == ["0.0", "[-1.0, 1.0]", *over]
    assert others[2][5:7] == ["+10.0", "[8.0, 12.0]"]
    assert others[3][0] == "le ↓"


def test_a_table_of_single_runs_has_no_columns_of_seeds():
    value = Estimate(0.5, Interval(0.45, 0.55), None)
    apart = Estimate(-0.1, Interval(-0.2, 0.0), None)
    head, _, second = table_cells([row("a", value), row("b", value, apart)], SIGNS)
    assert head[-2:] == ["difference", "over images"]
    assert second[-2:] == ["-10.0", "[-20.0, 0.0]"]


def test_beside_a_single_run_a_star_is_of_images_alone_and_columns_of_seeds_are_left_out():
    spread = Trainings(0.02, Interval(0.05, 0.15), Interval(-0.01, 0.21), Interval(0.06, 0.14))
    sweep = Estimate(0.5, Interval(0.45, 0.55), spread)
    alone, apart = sweep._replace(trainings=None), Estimate(0.1, Interval(0.01, 0.2), None)
    rows = [row("a", alone), row("b", sweep, apart)]
    head, _, second = table_cells(rows, SIGNS)
    assert head[-3:] == ["spread of seeds", "difference", "over images"]
    assert second[-3:] == ["±2.0", "+10.0*", "[1.0, 20.0]"]
    images = "*: 0 lies outside the interval over images"
    assert star_told(rows) == f"{images} (a single run beside a sweep has none over seeds)"
    both = row("c", sweep, apart._replace(trainings=spread))
    assert star_told([*rows, both]) == f"{images} and, except beside a single run, over seeds"
    assert star_told([both]).endswith("the intervals over images and over seeds")
    assert star_told([rows[0]]) == images


def test_a_latex_table_escapes_names_and_sets_minus_signs():
    cells = [["metric", "run", "value"], ["max_box ↑", "50%-run & {x}", "[-1.0, 2.0]"]]
    lines = latex_table(cells, "caption").splitlines()
    assert lines[1] == r"\begin{tabular}{llr}"
    assert lines[5] == r"max\_box $\uparrow$ & 50\%-run \& \{x\} & [$-$1.0, 2.0] \\"


def test_files_hold_the_metrics_of_both_and_their_difference(compared):
    folder, _ = compared
    results = [
        json.loads((folder / name / "results.json").read_text())["test"]["native"] for name in NOISE
    ]
    content = json.loads((folder / "out/compare.json").read_text())
    assert (content["images"], content["resamples"], content["level"]) == (20, 200, 0.95)
    assert [side["name"] for side in content["sides"]] == list(NOISE)
    with (folder / "out/compare.csv").open() as file:
        table = list(csv.DictReader(file))
    assert len(table) == len(content["rows"]) > 20
    by_metric = {}
    for found, line in zip(content["rows"], table, strict=True):
        by_metric.setdefault(found["metric"], []).append(found)
        assert line["value"] == str(found["value"])
        assert found["value_seeds_low"] is None
    for name, (first, second) in by_metric.items():
        if name in results[0]:
            expected = [values[name] for values in results]
            assert [first["value"], second["value"]] == pytest.approx(expected, abs=1e-6)
            assert second["difference"] == pytest.approx(expected[1] - expected[0], abs=1e-6)
        assert first["difference"] is None
        assert second["compared_to"] == "a_b"
    low, high = (by_metric["pxap"][1][f"difference_images_{end}"] for end in ("low", "high"))
    assert low < by_metric["pxap"][1]["difference"] < high < 0


def test_terminal_markdown_and_latex_have_the_same_cells(compared):
    folder, printed = compared
    markdown = (folder / "out/compare.md").read_text()
    rows = [re.split(r" *(?<!\\)\| *", line)[1:-1] for line in markdown.splitlines() if "|" in line]
    assert rows[0][:2] == ["metric", "run"]
    value = rows[0].index("value")
    tex, lines = (folder / "out/compare.tex").read_text(), printed.splitlines()
    for cells in rows[2:]:
        numbers = [cell.replace("\\", "") for cell in cells[value:]]
        assert any(" ".join(line.split()).endswith(" ".join(numbers)) for line in lines)
        assert " & ".join(re.sub(r"-(?=\d)", "$-$", each) for each in numbers) in tex
    assert {cells[rows[0].index("run")] for cells in rows[2:]} == {"a_b", "&lt;i&gt;&amp;"}
    assert "* the threshold of single boxes differs: a_b: 0.800; &lt;i&gt;&amp;: 0.600" in markdown
    assert "differs: a_b: 0.800; <i>&: 0.600" in printed
    assert printed.rstrip().endswith("compare.html")


def test_the_only_method_and_those_left_out_are_named_everywhere(tmp_path):
    maps = {name: made_maps(TRUTH, 0.5, k) for k, name in enumerate(("native", "cam"))}
    write_evaluation(tmp_path / "a", TRUTH, {"native": maps["native"]})
    write_evaluation(tmp_path / "b", TRUTH, maps)
    words = ["resamples=100", f"output_dir={tmp_path / 'out'}"]
    done = run_command("compare", str(tmp_path / "a"), str(tmp_path / "b"), *words)
    assert done.returncode == 0, done.stderr
    texts = [done.stdout, *((tmp_path / f"out/compare.{e}").read_text() for e in ("html", "md"))]
    for text in texts:
        assert "the method cam of b is left out: a lacks it" in text
    for text in (*texts, (tmp_path / "out/compare.tex").read_text()):
        assert "method native" in text


class Page(HTMLParser):
    """Elements of a page, and its text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.links, self.text = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.links += [v for k, v in attrs if k in ("href", "src") and v]

    def handle_data(self, data):
        self.text += data


def test_the_page_shows_listed_images_with_any_picture_first_and_names_those_without(compared):
    folder, _ = compared
    text = (folder / "out/compare.html").read_text()
    page = Page(text)
    assert all(link.startswith(("#", "data:")) for link in page.links)
    assert ("i", {}) not in page.tags
    cards = [attrs for tag, attrs in page.tags if tag == "li" and attrs.get("class") == "card"]
    listed = page.text.split("Images that differ most in iou")[-1].split("Pictures")[0]
    listed = [found for found in re.findall(r"images/\d+.png", listed) if found[7:10] < "008"]
    titles = re.findall(r"<h3 [^>]*><bdi>(.*?)</bdi>", text)
    assert len(titles) == len(cards) <= 12
    assert titles[: len(listed)] == listed != titles
    layers = [attrs for tag, attrs in page.tags if attrs.get("class") == "layer"]
    unkept = [title for title in titles if title[7:10] >= "006"]
    assert len(layers) == 2 * len(cards) - len(unkept)
    assert page.text.count("its test kept no picture") == len(unkept) == 1
    for place, image in enumerate(TRUTH["image_id"]):
        assert (image in page.text.partition("without a picture in any")[2]) == (place >= 8)
    scores = {name: iou_of(folder / name) for name in NOISE}
    apart = scores["<i>&"] - scores["a_b"]
    furthest = TRUTH["image_id"][int(np.argmin(apart))]
    named = page.text.split("Images that differ most in iou")[-1].split("Pictures")[0]
    assert furthest in named


def iou_of(folder):
    with (folder / "images.csv").open() as file:
        return np.array([float(line["iou"]) for line in csv.DictReader(file)])


def test_a_metric_without_terms_of_images_is_refused_for_the_page(compared):
    folder, _ = compared
    done = run_command("compare", *(str(folder / name) for name in NOISE), "page.metric=pxap")
    assert done.returncode == 2
    assert "page.metric=pxap: no metric with terms of single images" in done.stderr


def test_a_bundle_compares_like_the_folder_that_it_was_made_of(creatures, tmp_path):
    model = untrained_run(creatures, tmp_path / "model", "model=cam")
    found = evaluate_bundle(model, tmp_path / "out", "pictures.gallery=0")
    words = ["resamples=100", f"output_dir={tmp_path / 'compared'}"]
    done = run_command("compare", str(found.folder), str(found.bundle.path), *words)
    assert done.returncode == 0, done.stderr
    content = json.loads((tmp_path / "compared/compare.json").read_text())
    assert content["notes"] == []
    assert {row["method"] for row in content["rows"]} == {"native", "gradcam"}
    results = json.loads((found.folder / "results.json").read_text())["test"]
    for row in content["rows"]:
        if row["metric"] in results[row["method"]]:
            expected = results[row["method"]][row["metric"]]
            assert row["value"] == pytest.approx(expected, abs=1e-6)
        if row["compared_to"]:
            ends = (row["difference_images_low"], row["difference_images_high"])
            assert (row["difference"], *ends) == (0, 0, 0)
