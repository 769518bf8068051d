"""Sentences, table and pictures of the study ``shortcuts``."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from learned_saliency.pipeline.evaluation.studies.shortcut_features import COARSE, COLUMNS
from learned_saliency.pipeline.evaluation.studies.shortcut_findings import (
    NOWHERE,
    ClassFinding,
    Cluster,
    Findings,
    accused,
    flagged,
)
from learned_saliency.pipeline.evaluation.studies.shortcut_tests import PLACES
from learned_saliency.storage import write_bytes, write_csv
from learned_saliency.visualization import (
    DEFAULT_COLORMAP,
    Picture,
    colorize,
    encode_png,
    grid,
    overlay,
)

_TEXT = ("method", "class", "name", "cluster", "images", "share", "place")
_PLACE = ("in_cell", "others_in_cell")
_TESTS = ("level", "p_off_object", "p_place")
_LAST = ("off_object", "in_place", "flagged", "remark")


def sentence(name: str, finding: ClassFinding) -> str:
    """Say in words why a class is flagged, with means over the images of the accused clusters."""
    test, found = finding.test, accused(finding)
    sizes = [len(cluster.images) for cluster in found]
    number = "one cluster" if len(found) == 1 else f"{len(found)} clusters"
    images = f"in {sum(sizes)} of its {test.images + test.flat} images, {number}"
    count = {PLACES[test.place]: 0}
    if test.off_object is not None:
        count = dict.fromkeys((cluster.place for cluster in found), 0)
        for cluster, size in zip(found, sizes, strict=True):
            count[cluster.place] += size
    place = max(count, key=lambda key: count[key])
    if place == NOWHERE:
        share = np.average([cluster.means["on_object"] for cluster in found], weights=sizes)
        level = np.average([cluster.level for cluster in found], weights=sizes)
        mostly = "mostly " if len(count) > 1 else ""
        where = f"on the object (other classes: {level:.0%}), the rest {mostly}in {NOWHERE}"
    else:
        at = PLACES.index(place)
        share = np.average([cluster.grid[at] for cluster in found], weights=sizes)
        where = f"in the {place} (other classes: {finding.of_others[at]:.0%})"
        where += "" if test.off_object is None else ", off the object"
    about = f"{images}, on average {share:.0%} of the evidence lies {where}"
    return f"class {name!r}: {about} (p = {test.chance:.2g})"


def told(findings: Findings, names: Sequence[str]) -> list[str]:
    """Say in words what was found, a line or more per method."""
    lines = []
    for method, classes in findings.items():
        tests = [finding.test for finding in classes.values()]
        chosen = flagged(classes)
        lines += [f"{method}: {sentence(names[label], classes[label])}" for label in chosen]
        tested, flat = sum(test.tested for test in tests), sum(test.flat for test in tests)
        rest = f"{len(chosen)} of {tested} tested classes flagged"
        if tested < len(tests):
            rest += f", {len(tests) - tested} with too few maps to be tested"
        if flat:
            rest += f", {flat} of {flat + sum(test.images for test in tests)} maps are flat"
        lines.append(f"{method}: {rest}")
    return lines


def write_shortcuts(path: Path, findings: Findings, names: Sequence[str]) -> None:
    """Write one row per method, class and cluster as CSV, and one for the flat maps of a class."""
    rows = []
    for method, classes in findings.items():
        for label, finding in classes.items():
            about = {"method": method, "class": str(label), "name": names[label]}
            rows += [about | row for row in _rows(finding)]
    write_csv(path, [*_TEXT, *_PLACE, *COLUMNS, *_TESTS, *_LAST], rows)


def _rows(finding: ClassFinding) -> Iterator[dict[str, str]]:
    test, chosen = finding.test, accused(finding)
    tests = {"p_off_object": _number(test.p_object), "p_place": _number(test.p_place)}
    remark = "" if test.tested else "too few maps to be tested"
    for number, cluster in enumerate(finding.clusters, 1):
        yield {
            "cluster": str(number),
            "images": str(len(cluster.images)),
            "share": _number(cluster.share),
            "place": cluster.place,
            **_in_cell(finding, cluster),
            **{name: _number(value) for name, value in cluster.means.items()},
            "level": _number(cluster.level),
            **tests,
            "off_object": "" if test.off_object is None else _yes(test.off_object),
            "in_place": _yes(test.in_place),
            "flagged": _yes(any(cluster is one for one in chosen)),
            "remark": remark,
        }
    if test.flat:
        flat = {"cluster": "flat", "images": str(test.flat), "flagged": _yes(False)}
        yield flat | {"remark": "the maps are constant"}


def _in_cell(finding: ClassFinding, cluster: Cluster) -> dict[str, str]:
    if cluster.place == NOWHERE:
        return {}
    at = PLACES.index(cluster.place)
    shares = (cluster.grid[at], finding.of_others[at])
    return {key: _number(share) for key, share in zip(_PLACE, shares, strict=True)}


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.6g}"


def draw_class(
    path: Path, finding: ClassFinding, examples: Sequence[Sequence[tuple[Picture, Any]]]
) -> None:
    """Draw the clusters of a class as PNG: the mean evidence, and images under their maps.

    Args:
        path: The file.
        finding: The class.
        examples: Images uint8 (H, W, 3) and maps (H, W) in [0, 1] of each cluster, in its order.
    """
    most = max(map(len, examples))
    chosen, rows, captions = accused(finding), [], []
    for number, (cluster, shown) in enumerate(zip(finding.clusters, examples, strict=True), 1):
        height, width = shown[0][0].shape[:2]
        blank = np.full((height, width, 3), 255, np.uint8)
        down, across = (np.arange(side) * COARSE // side for side in (height, width))
        mean = colorize(cluster.evidence[down][:, across] / cluster.evidence.max())
        cells = [overlay(image, saliency) for image, saliency in shown]
        rows.append([mean, *cells, *[blank] * (most - len(cells))])
        about = [f"{number}: {cluster.share:.0%} of the maps", cluster.place]
        if not math.isnan(cluster.level):
            inside, level = cluster.means["on_object"], cluster.level
            about += [f"on the object {inside:.0%},", f"others' {level:.0%}"]
        about.append("flagged" if any(cluster is one for one in chosen) else "")
        captions.append([about, *[[]] * most])
    titles = ["mean evidence", *[f"image {i + 1}" for i in range(most)]]
    picture = grid(rows, titles, captions=captions, colormap=DEFAULT_COLORMAP)
    write_bytes(path, encode_png(picture))
