"""Report of a guard: as a sentence, as tables and as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from learned_saliency.pipeline.cli import printable
from learned_saliency.pipeline.comparison.guard_pairs import Pairs
from learned_saliency.pipeline.comparison.guard_places import PLACES, Gain, Seen, gains
from learned_saliency.pipeline.comparison.guard_verdict import Finding, Limits, Verdict
from learned_saliency.pipeline.reports import escaped, layout, markdown_table

_SHOWN = 20  # classes in tables, beside those that raise the alarm
_NAMED = 3  # classes in the sentence
_WORST = 10  # images of a finding
_HOW = (
    "Intervals are those of each row alone; p is adjusted for all rows, and an alarm is a p of at "
    "most 1 - level for a loss beyond what is allowed."
)


class Report(NamedTuple):
    """Outcome of a guard with what it rests on.

    Attributes:
        old: Folder of OLD.
        new: Folder of NEW.
        pairs: Compared images.
        limits: Limits of what is allowed.
        verdict: Findings.
        seen: Pictured images.
    """

    old: str
    new: str
    pairs: Pairs
    limits: Limits
    verdict: Verdict
    seen: Seen

    def name(self, found: Finding) -> str:
        """Name what a finding is about."""
        return "all images" if found.label is None else f"class {self.class_name(found.label)}"

    def class_name(self, label: int) -> str:
        """Name a class; its number where its name is unknown."""
        names = self.seen.class_names
        return printable(str(names[label])) if label < len(names) else str(label)

    def images(self, found: Finding) -> list[str]:
        """List the images of a finding, those that lost most first."""
        change = self.pairs.new - self.pairs.old
        counted = np.ones(len(change), bool)
        if found.label is not None:
            counted = self.pairs.labels == found.label
        order = np.argsort(change, kind="stable")
        return [self.pairs.image_ids[i] for i in order if counted[i]]

    def losses(self, found: Finding) -> list[tuple[str, float, float]]:
        """List the images of a finding that lost, most first, with the shares of OLD and NEW."""
        shares = zip(self.pairs.old.tolist(), self.pairs.new.tolist(), strict=True)
        known = dict(zip(self.pairs.image_ids, shares, strict=True))
        rows = [(image, *known[image]) for image in self.images(found)]
        return [row for row in rows if row[2] < row[1]]

    def gains(self, found: Finding) -> list[Gain]:
        """List the places by the mass that they gained off the object on a finding's images."""
        return gains(self.seen, self.images(found), self.limits.level)

    def to_show(self) -> list[Finding]:
        """List the findings of the tables: all images, alarms, and classes that lost most."""
        classes = self.verdict.classes
        rest = [found for place, found in enumerate(classes) if found.moved or place < _SHOWN]
        return [self.verdict.overall, *rest]


def sentence(report: Report) -> str:
    """Say in a line whether evidence moved, by how much, in which classes and to where."""
    overall, limits, pairs = report.verdict.overall, report.limits, report.pairs
    share = f"{pairs.method}'s mass on the objects ({pairs.metric})"
    allowed = f"{100 * limits.tolerance:g} points"
    if not report.verdict.moved:
        number = len(report.verdict.classes)
        classes = f", nor beyond {100 * limits.class_tolerance:g} in any of {number} classes"
        return (
            f"no proof that evidence moved: {share} {_means(overall)} on {overall.images} images; "
            f"no loss beyond {allowed}{classes * bool(number)} with {100 * limits.level:g} % "
            "confidence"
        )
    parts = []
    if overall.moved:
        parts.append(f"{share} {_means(overall)} on {overall.images} images, beyond {allowed}")
    classes = [found for found in report.verdict.moved if found.label is not None]
    if classes:
        shown = "; ".join(f"{report.name(each)} {_means(each)}" for each in classes[:_NAMED])
        more = f" and {len(classes) - _NAMED} more" if len(classes) > _NAMED else ""
        beyond = f"beyond {100 * limits.class_tolerance:g} points in {len(classes)} of "
        parts.append(f"{beyond}{len(report.verdict.classes)} classes: {shown}{more}")
        if not overall.moved:
            parts[-1] = f"{share} {parts[-1]}"
    where = _where(report, classes[0] if classes else overall)
    return f"evidence moved off the objects: {'; '.join([*parts, where])}"


def _points(change: float) -> str:
    """Write a difference of shares in points of percent; a zero has no minus."""
    return f"{round(100 * change, 1) + 0.0:+.1f}"


def _means(found: Finding) -> str:
    return (
        f"{100 * found.old:.1f} -> {100 * found.new:.1f} % ({_points(found.change)} points "
        f"[{_points(found.low)}, {_points(found.high)}])"
    )


def _where(report: Report, found: Finding) -> str:
    listed = report.gains(found)
    if not listed:
        return "no pictures of both say where to"
    gained = [gain for gain in listed if gain.low > 0]
    if not gained:
        return f"{report.name(found)}: no place gained for certain"
    return f"{report.name(found)}: {_gain(gained[0])}"


def _gain(gain: Gain) -> str:
    return (
        f"{_points(gain.change)} points in the {gain.place} ({100 * gain.old:.1f} -> "
        f"{100 * gain.new:.1f} %)"
    )


def as_text(report: Report) -> str:
    """Lay the report out for a terminal."""
    parts = [f"{_title(report)}\n{layout(_findings(report))}"]
    for found in _explained(report):
        lines = [f"{report.name(found)}, off the object, {len(_pictured(report, found))} pictures:"]
        lines += [f"  {_gain(gain)}{_doubt(gain)}" for gain in report.gains(found)[:3]]
        lines += [f"  {line}" for line in _worst(report, found)[:5]]
        parts.append("\n".join(lines))
    return "\n\n".join([*parts, "\n".join(_notes(report))])


def _title(report: Report) -> str:
    pairs = report.pairs
    return f"{pairs.metric} of {pairs.method}'s maps, percent, {len(pairs.image_ids)} images"


def _findings(report: Report) -> list[list[str]]:
    rows = [["", "images", "OLD", "NEW", "change", "interval", "p", "verdict"]]
    for found in report.to_show():
        limits = report.limits
        allowed = limits.tolerance if found.label is None else limits.class_tolerance
        rows.append(
            [report.name(found), str(found.images)]
            + [f"{100 * value:.1f}" for value in (found.old, found.new)]
            + [f"{_points(found.change)}", f"{_points(found.low)} to {_points(found.high)}"]
            + [f"{found.p_value:.2g}", f"beyond -{100 * allowed:g}" if found.moved else "fine"]
        )
    return rows


def _explained(report: Report) -> list[Finding]:
    """List the findings whose images and places are shown: the alarms, else all images."""
    return report.verdict.moved[: 1 + _NAMED] or [report.verdict.overall]


def _pictured(report: Report, found: Finding) -> list[str]:
    seen = set(report.seen.image_ids)
    return [image for image in report.images(found) if image in seen]


def _doubt(gain: Gain) -> str:
    return "" if gain.low > 0 else ", within chance"


def _worst(report: Report, found: Finding) -> list[str]:
    return [
        f"worst: {printable(image)} {100 * old:.1f} -> {100 * new:.1f} %"
        for image, old, new in report.losses(found)[:_WORST]
    ]


def _notes(report: Report) -> Iterator[str]:
    pairs, verdict = report.pairs, report.verdict
    if len(report.seen.areas):
        area = 100 * report.seen.areas.mean()
        yield f"A map that is the same everywhere would have {area:.1f} % on the objects."
    old, new = pairs.sparseness
    if not math.isnan(old + new):
        yield (
            f"Sparseness of the maps: {100 * old:.1f} -> {100 * new:.1f} %; less sparse maps have "
            "less of their mass on the objects wherever their maxima lie."
        )
    left = [f"{count} {reason}" for reason, count in pairs.left_out.items() if count]
    if left:
        yield f"Images left out: {', '.join(left)}."
    if pairs.other_targets:
        yield f"The maps of {pairs.other_targets} images explain another class in NEW than in OLD."
    if verdict.too_few:
        names = [f"{report.class_name(k)} ({n})" for k, n in verdict.too_few.items()]
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        yield f"Classes with too few images to judge: {', '.join(names[:_SHOWN])}{more}."


def as_markdown(report: Report, verdict: str) -> str:
    """Write the report as a page.

    Args:
        report: The report.
        verdict: Its first line.
    """
    folders = [["", "folder"], ["OLD", report.old], ["NEW", report.new]]
    parts = ["# Guard", f"**{verdict}:** {escaped(sentence(report))}.", markdown_table(folders)]
    parts += [f"## {escaped(_title(report))}", markdown_table(_findings(report))]
    for found in _explained(report):
        parts.append(f"## Where: {escaped(report.name(found))}")
        if places := _places(report, found):
            parts += [f"Mass off the object, percent, {places[0]} pictures", places[1]]
        parts.append(_bullets(_worst(report, found) or ["no image lost"]))
    if len(rows := _class_places(report)) > 1:
        parts += ["## The ninth of the image that gained most, by class", markdown_table(rows)]
    return "\n\n".join([*parts, "## Notes", _bullets([*_notes(report), _HOW])]) + "\n"


def _places(report: Report, found: Finding) -> tuple[int, str] | None:
    """Count the pictures of a finding, and lay out the places by what they gained."""
    rows = [["place", "OLD", "NEW", "change", "interval"]]
    for gain in report.gains(found):
        shares = [f"{100 * value:.1f}" for value in (gain.old, gain.new)]
        ends = f"{_points(gain.low)} to {_points(gain.high)}"
        rows.append([gain.place, *shares, f"{_points(gain.change)}", ends])
    return (len(_pictured(report, found)), markdown_table(rows)) if len(rows) > 1 else None


def _class_places(report: Report) -> list[list[str]]:
    """List the ninth of the image that gained most off the object in each class."""
    found = []
    for each in report.verdict.classes:
        if listed := [gain for gain in report.gains(each) if gain.place != PLACES[-1]]:
            found.append((each, listed[0]))
    rows = [["", "pictures", "place", "OLD", "NEW", "change", "interval"]]
    for each, gain in sorted(found, key=lambda pair: -pair[1].change)[:_SHOWN]:
        shares = [f"{100 * value:.1f}" for value in (gain.old, gain.new)]
        ends = f"{_points(gain.low)} to {_points(gain.high)}"
        pictures = str(len(_pictured(report, each)))
        rows.append([report.name(each), pictures, gain.place, *shares, _points(gain.change), ends])
    return rows


def _bullets(lines: Iterable[str]) -> str:
    return "\n".join(f"- {escaped(line)}" for line in lines)


def as_json(report: Report) -> str:
    """Write the whole report as JSON, all judged classes with their places and images."""
    pairs, verdict = report.pairs, report.verdict
    content: dict[str, Any] = {
        "moved": bool(verdict.moved),
        "sentence": sentence(report),
        "old": report.old,
        "new": report.new,
        "method": pairs.method,
        "metric": pairs.metric,
        **report.limits._asdict(),
        "images": len(pairs.image_ids),
        "left_out": dict(pairs.left_out),
        "other_targets": pairs.other_targets,
        "object_area": float(report.seen.areas.mean()) if len(report.seen.areas) else None,
        "overall": _told(report, verdict.overall),
        "classes": [_told(report, found) for found in verdict.classes],
        "too_few": {report.class_name(label): n for label, n in verdict.too_few.items()},
    }
    return json.dumps(content, indent=2) + "\n"


def _told(report: Report, found: Finding) -> dict[str, Any]:
    told: dict[str, Any] = found._asdict()
    if found.label is not None:
        told["name"] = report.class_name(found.label)
    told["worst"] = [
        {"image_id": image, "old": old, "new": new}
        for image, old, new in report.losses(found)[:_WORST]
    ]
    told["pictured"] = len(_pictured(report, found))
    told["places"] = [gain._asdict() for gain in report.gains(found)]
    return told
