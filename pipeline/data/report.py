"""Reports of an examination: on the terminal, as Markdown and as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from learned_saliency.datamodules import Published
from learned_saliency.pipeline.cli import printable
from learned_saliency.pipeline.data.counts import COUNTED, Counts
from learned_saliency.pipeline.data.doctor import Examination
from learned_saliency.pipeline.data.findings import KINDS, Findings, Severity
from learned_saliency.pipeline.reports import escaped, layout, markdown_table
from learned_saliency.storage import write_text

JSON_REPORT, PAGE = "report.json", "report.md"
_SHOWN = 3  # findings of a kind on the terminal
_LISTED = 100  # findings of a kind in the page; the JSON file has all
_MOST_CLASSES = 40  # rows of a table of classes on the terminal; the page has all
_TITLE = "Counts of the splits"
_CLASSES = "Images, boxes and masks of each class"
_LEGEND = f"{_TITLE} (published ones in brackets, ! where they differ)"


def format_examination(examination: Examination) -> str:
    """Write the counts and the first findings of each kind for a terminal."""
    parts = []
    if examination.counts:
        parts.append(f"{_title(examination.counts)}\n{layout(_rows(examination.counts))}")
    if 0 < len(rows := _class_rows(examination)) <= _MOST_CLASSES:
        parts.append(f"{_CLASSES}\n{layout(rows)}")
    for severity in reversed(Severity):
        for kind, found in examination.findings.of(severity).items():
            lines = [f"{severity.word}: {KINDS[kind][0]}: {len(found)}"]
            lines += [f"  {printable(str(finding))}" for finding in found[:_SHOWN]]
            if len(found) > _SHOWN:
                lines.append(f"  and {len(found) - _SHOWN} more")
            parts.append("\n".join(lines))
    parts.append(verdict(examination.findings))
    return "\n\n".join(parts)


def verdict(findings: Findings) -> str:
    """Sum up findings in a sentence."""
    counts = {severity: findings.count(severity) for severity in reversed(Severity)}
    words = [
        f"{count} {severity.word}{'' if count == 1 else 's'}"
        for severity, count in counts.items()
        if count
    ]
    found = f" ({', '.join(words)})" if words else ""
    if counts[Severity.ERROR]:
        return f"Faults would stop a training or falsify its figures{found}."
    return f"Nothing was found that would stop a training or falsify its figures{found}."


def write_reports(examination: Examination, folder: Path) -> list[Path]:
    """Write the page and the JSON file; return their paths.

    Raises:
        OSError: If they cannot be written.
    """
    paths = [folder / PAGE, folder / JSON_REPORT]
    write_text(paths[0], _page(examination))
    write_text(paths[1], json.dumps(_record(examination), indent=1) + "\n")
    return paths


def _title(counts: dict[str, Counts]) -> str:
    stated = any(found.published != Published() for found in counts.values())
    return _LEGEND if stated else _TITLE


def _rows(counts: dict[str, Counts]) -> list[list[str]]:
    """Lay out the counts, a row for each split."""
    rows = [["split", *COUNTED, "ignore masks"]]
    for split, found in counts.items():
        cells = [_cell(getattr(found, w), getattr(found.published, w)) for w in COUNTED]
        rows.append([split, *cells, str(found.ignores)])
    return rows


def _class_rows(examination: Examination) -> list[list[str]]:
    """Lay out the counts of classes, a row for each; no row where images have one class each."""
    counts = examination.class_counts
    labels = sorted({label for found in counts.values() for label in found})
    if not labels:
        return []
    kinds = {
        split: ["images", *(k for k in ("boxes", "masks") if getattr(examination.counts[split], k))]
        for split in counts
    }
    rows = [["class", *(f"{split} {kind}" for split in counts for kind in kinds[split])]]
    for label in labels:
        names = examination.class_names
        name = f"{label} {printable(names[label])}" if 0 <= label < len(names) else str(label)
        cells = [
            str(getattr(counts[split][label], kind) if label in counts[split] else 0)
            for split in counts
            for kind in kinds[split]
        ]
        rows.append([name, *cells])
    return rows


def _cell(count: int, published: int | None) -> str:
    if published is None:
        return str(count)
    return f"{count} ({published}{'' if count == published else ' !'})"


def _page(examination: Examination) -> str:
    """Write the page."""
    parts = [f"# Check of the data set {escaped(examination.name)}", verdict(examination.findings)]
    parts += [
        f"Images: {escaped(examination.root)}<br>\nMetadata: {escaped(examination.metadata)}<br>\n"
        f"Files: {examination.files}, of which {examination.opened} were opened for this check"
    ]
    if examination.counts:
        parts += [_title(examination.counts), markdown_table(_rows(examination.counts))]
    if rows := _class_rows(examination):
        parts += [_CLASSES, markdown_table(rows)]
    for severity in reversed(Severity):
        for kind, found in examination.findings.of(severity).items():
            lines = [f"* {escaped(finding)}" for finding in found[:_LISTED]]
            if len(found) > _LISTED:
                lines.append(f"* and {len(found) - _LISTED} more, in {JSON_REPORT}")
            title = f"## {severity.word.capitalize()}: {KINDS[kind][0]} ({len(found)})"
            parts += [title, "\n".join(lines)]
    return "\n\n".join(parts) + "\n"


def _record(examination: Examination) -> dict[str, Any]:
    """Return the content of the JSON file."""
    findings = examination.findings
    return {
        "data": examination.name,
        "root": str(examination.root),
        "metadata": str(examination.metadata),
        "usable": findings.count(Severity.ERROR) == 0,
        "files": examination.files,
        "opened": examination.opened,
        "counts": {
            split: {**found._asdict(), "published": found.published._asdict()}
            for split, found in examination.counts.items()
        },
        "class_counts": {
            split: {label: found._asdict() for label, found in of_classes.items()}
            for split, of_classes in examination.class_counts.items()
        },
        "findings": [
            {**finding._asdict(), "severity": finding.severity.word} for finding in findings
        ],
    }
