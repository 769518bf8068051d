"""The page of an evaluation: parsed, against the files that it is made of."""

import base64
import hashlib
import itertools
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch

from learned_saliency.metrics import Localization, PxAP, rank_correlation
from learned_saliency.pipeline.reports import (
    Gallery,
    Section,
    read_image_scores,
    read_intervals,
    read_results,
    render_page,
    write_report,
    write_report_files,
    write_results,
)
from learned_saliency.pipeline.reports.page.curves_section import test_charts as draw_test_charts
from learned_saliency.pipeline.reports.page.curves_section import training_charts
from learned_saliency.trainers import TEST_FIGURES
from tests.support.drawn import Drawn

METHODS = ["native", "</script><script>alert(1)</script>", "שלום \u202e'\"" + "x" * 300]
CLASSES = ["<img src=x onerror=alert(1)>", 'a "quoted" & <b>', "قطة"]
IDS = [f"images/{name}.png" for name in ("<u>one</u>", "two 'x'", "3", "4", "5", "6")]


class Reader(HTMLParser):
    """Elements with their attributes, texts of tables, and texts of scripts and styles."""

    def __init__(self, path):
        super().__init__()
        self.elements, self.tables, self.inline = [], {}, []
        self._label = self._cell = self._open = None
        self.feed(path if isinstance(path, str) else path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.elements.append((tag, attributes))
        if tag in ("script", "style"):
            self.inline.append([tag, attributes, ""])
            self._open = True
        if attributes.get("role") == "group":
            self._label = attributes["aria-label"]
            self.tables[self._label] = []
        if self._label is None:
            return
        if tag == "tr":
            self.tables[self._label].append([])
        if tag in ("td", "th"):
            self.tables[self._label][-1].append("")
            self._cell = True

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self._cell = None
        if tag in ("script", "style"):
            self._open = False
        if tag == "table":
            self._label = None

    def handle_data(self, data):
        if self._cell:
            self.tables[self._label][-1][-1] += data
        elif self._open:
            self.inline[-1][2] += data


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    return Drawn(tmp_path_factory.mktemp("evaluation"), METHODS, IDS, CLASSES)


@pytest.fixture(scope="module")
def page(drawn):
    return Reader(write_report(drawn.folder))


def shown(name):
    """A name without the sign that turns its direction."""
    return name.replace("\u202e", "\ufffd")


def test_every_value_of_the_tables_is_that_of_the_results(drawn, page):
    results, intervals = read_results(drawn.folder), read_intervals(drawn.folder)
    head, *rows = page.tables["Metrics by method"]
    assert [row[0] for row in rows] == [*map(shown, METHODS), "Floors", "full_image"]
    assert head[1].startswith("max_box_acc")
    assert "higher is better" in head[1]
    names = ["max_box_acc", "max_box_acc_v2", "pxap"]
    values = dict(zip(results, [row for row in rows if row[0] != "Floors"], strict=True))
    best = {name: max(results[m][name] for m in METHODS) for name in names}
    for (method, row), (k, name) in itertools.product(values.items(), enumerate(names, 1)):
        figure, value = TEST_FIGURES[name], results[method][name]
        text = figure.shown(value)
        if method in METHODS and figure.shown(value) == figure.shown(best[name]):
            text += " (best)"
        if found := intervals.get((method, name)):
            text += f"{figure.shown(found.low)} to {figure.shown(found.high)}"
        assert row[k] == text
    head, *rows = page.tables["All metrics"]
    assert [row[0] for row in rows] == list(results["native"])
    for name, _, *cells in rows:
        for method, cell in zip(results, cells, strict=True):
            value = results[method].get(name)
            assert cell.startswith("-" if value is None else f"{value:.6g}")


def test_nothing_outside_is_referred_to_and_only_the_own_script_may_run(page):
    for tag, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on") or name == "style"]
        for name in ("src", "href", "xlink:href", "srcset", "action", "poster", "data"):
            value = attributes.get(name, "#")
            assert value.startswith(("#", "data:image/", "data:,")), (tag, name, value[:50])
    assert {tag for tag, _ in page.elements} & {"iframe", "object", "embed", "base"} == set()
    (policy,) = [a["content"] for t, a in page.elements if t == "meta" and "http-equiv" in a]
    data, script = [part for part in page.inline if part[0] == "script"]
    (style,) = [part for part in page.inline if part[0] == "style"]
    assert data[1]["type"] == "application/json"
    for kind, (_, _, text) in (("script-src", script), ("style-src", style)):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{kind} 'sha256-{digest}';" in policy
        assert not re.search(r"url\(|@import|https?:|fetch|XMLHttp|WebSocket", text)
    assert policy.startswith("default-src 'none'; ")


def test_names_are_shown_as_they_are_and_paths_of_the_machine_are_not(drawn, page):
    assert not [1 for tag, _ in page.elements if tag in ("u", "b")]
    assert [a.get("src", "")[:5] for t, a in page.elements if t == "img"] == []
    labels = [a["aria-label"] for _, a in page.elements if "aria-label" in a]
    for method, image_id in itertools.product(METHODS, IDS):
        assert any(label.startswith(f"Map of {shown(method)} over {image_id}") for label in labels)
    html = (drawn.folder / "report.html").read_text(encoding="utf-8")
    assert "secret" not in html
    assert "limit=6" in html


def test_failures_come_first_and_each_number_to_sort_by_is_the_images_own(drawn, page):
    order = sorted(range(len(IDS)), key=lambda i: drawn.ious["native"][i])
    labels = [a["aria-label"] for _, a in page.elements if "aria-label" in a]
    assert [label for label in labels if label.startswith("Image ")] == [
        f"Image {IDS[i]}, with true box and outline of the true mask" for i in order
    ]
    told = json.loads(next(text for tag, _, text in page.inline if tag == "script" and text))
    keys = [tuple(key[:2]) for key in told["keys"]]
    assert keys[:2] == [
        ("disagreement between methods", ""),
        ("probability of the explained class", ""),
    ]
    for values, i in zip(told["values"], order, strict=True):
        found = dict(zip(keys, values, strict=True))
        maps = [(drawn.maps[m][i] * 255).round() for m in METHODS]
        pairs = [rank_correlation(a[None], b[None]) for a, b in itertools.combinations(maps, 2)]
        expected = 1 - float(torch.cat(pairs).mean())
        assert found["disagreement between methods", ""] == pytest.approx(expected, abs=1e-6)
        for method in METHODS:
            assert found["iou", method] == pytest.approx(drawn.ious[method][i], abs=1e-4)
            assert found["average_drop", method] == i / 10


def test_curves_are_those_of_the_metrics(drawn):
    charts = draw_test_charts(read_image_scores(drawn.folder), drawn.results)
    boxes, pixels = charts
    assert boxes.levels == {"full_image": 25.0}
    for line, name in zip(boxes.lines, METHODS, strict=True):
        metric = Localization()
        metric.update(drawn.maps[name], drawn.boxes)
        found = [y for _, y in line.points]
        assert found == (100 * metric.curves()["largest_contour_50"]).tolist()
        assert max(found) == 100 * drawn.results[name]["max_box_acc"]
    for line, name in zip(pixels.lines, METHODS, strict=True):
        metric = PxAP()
        metric.update(drawn.maps[name], drawn.masks)
        curve = metric.curve()
        np.testing.assert_array_equal([p[0] for p in line.points], 100 * curve.recall)
        np.testing.assert_array_equal([p[1] for p in line.points], 100 * curve.precision)


def test_parts_of_the_gradient_are_curves_by_step_in_percent(tmp_path):
    rows = ["step,epoch,train/gradient_share/seeds,train/gradient_share/size"]
    rows += ["0,0,0.75,0.25", "5,0,,", "10,1,0.5,0.5"]
    (tmp_path / "metrics.csv").write_text("\n".join(rows) + "\n")
    (chart,) = training_charts(tmp_path)
    assert chart.title == "Parts of the gradient"
    assert {line.name: list(line.points) for line in chart.lines} == {
        "seeds": [(0, 75), (10, 50)],
        "size": [(0, 25), (10, 50)],
    }


def test_studies_alone_and_maps_alone_have_a_page_too(tmp_path):
    figures = {"wobble": {**TEST_FIGURES["le"]._asdict(), "short": "wob", "needs": []}}
    write_results(tmp_path, {"cam": {"wobble": 0.25}}, {"figures": figures})
    (tmp_path / "wobble.csv").write_text("class,value\n<b>,1\nlong,2,3\n")
    page = Reader(write_report(tmp_path))
    head, row = page.tables["Metrics by method"]
    assert head[1].startswith("wob ↓, lower is better")
    assert row == ["cam", "25.0"]
    assert page.tables["Rows of wobble.csv"] == [
        ["class", "value", ""],
        ["<b>", "1", ""],
        ["long", "2", "3"],
    ]
    assert "controls" not in [a.get("id") for _, a in page.elements]


def test_a_damaged_folder_costs_the_page_alone(drawn, tmp_path):
    write_results(tmp_path, drawn.results, {})
    before = (tmp_path / "results.json").read_bytes()
    (tmp_path / "images.csv").write_text("image_id,method,iou\na,native,wide\n")
    with pytest.warns(UserWarning, match=r"report.html was not written"):
        assert write_report_files(tmp_path) == []
    assert (tmp_path / "results.json").read_bytes() == before


def test_a_page_has_one_gallery():
    with pytest.raises(ValueError, match="one gallery, got 2"):
        render_page("x", [Section("a", [Gallery([], "first"), Gallery([], "first")])])


def test_markup_style_and_script_are_part_of_the_package():
    folder = Path(__file__).parents[3] / "pipeline/reports/page"
    kinds = {path.suffix for path in folder.iterdir() if path.suffix not in (".py", "")}
    assert kinds == {".css", ".html", ".js"}
