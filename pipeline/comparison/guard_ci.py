"""Verdict of a guard as systems of continuous integration show it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree

from learned_saliency.pipeline.cli import printable
from learned_saliency.pipeline.comparison.guard_report import Report, as_text, sentence
from learned_saliency.pipeline.comparison.guard_verdict import Finding
from learned_saliency.storage import write_text

_SUITE = "learned-saliency guard"
_DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>'
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_COMMAND = re.compile(r"##(?=\[|vso\[)")  # GitHub's runner and Azure's agent read these anywhere


def verdict_line(moved: bool, told: str, environment: Mapping[str, str]) -> str:
    """Write the line that a system of continuous integration shows beside a job.

    GitHub Actions takes ``::error title=...::...`` (``::notice`` where all is well), in which ``%``
    and line breaks are escaped, in a title ``:`` and ``,``, too. Azure Pipelines takes
    ``##vso[task.logissue type=error]...`` with an escape of its own for ``%``, and has no command
    for what is well. Elsewhere the line is plain.

    Args:
        moved: Whether evidence moved off the objects.
        told: What there is to say.
        environment: Variables of the process, by which the systems are known.
    """
    plain = f"guard: {'FAILED' if moved else 'passed'}: {harmless(told)}"
    if environment.get("GITHUB_ACTIONS") == "true":
        kind = "error" if moved else "notice"
        title = "Evidence moved off the objects" if moved else "No proof that evidence moved"
        return f"::{kind} title={_github_property(title)}::{_github_data(plain)}"
    if environment.get("TF_BUILD", "").lower() == "true" and moved:
        return f"##vso[task.logissue type=error]{_azure_data(plain)}"
    return plain


def _github_data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _github_property(text: str) -> str:
    return _github_data(text).replace(":", "%3A").replace(",", "%2C")


def _azure_data(text: str) -> str:
    return text.replace("%", "%AZP25").replace("\r", "%0D").replace("\n", "%0A")


def harmless(text: str) -> str:
    """Return a text in which names from a data set give these systems no commands.

    Args:
        text: The text, of several lines, none of which begins with such a name.
    """
    return "\n".join(_COMMAND.sub("# #", printable(line)) for line in text.split("\n"))


def write_summary(markdown: str, environment: Mapping[str, str]) -> None:
    """Append a page to the summary of a job of GitHub Actions, if there is one."""
    if place := environment.get("GITHUB_STEP_SUMMARY"):
        with Path(place).open("a", encoding="utf-8") as file:
            file.write(f"{markdown}\n")


def write_junit(path: Path, report: Report) -> None:
    """Write the verdict as JUnit XML, a test per judged class and one over all images.

    GitLab shows the class name and the text of a failure, Jenkins its message, too. Classes with
    too few images are tests that were skipped.

    Args:
        path: File to write.
        report: Report of a guard.
    """
    verdict, metric = report.verdict, f"guard.{report.pairs.method}.{report.pairs.metric}"
    found = [verdict.overall, *verdict.classes]
    counts = {"tests": len(found) + len(verdict.too_few), "failures": len(verdict.moved)}
    counts |= {"errors": 0, "skipped": len(verdict.too_few), "time": 0}
    told = {name: str(count) for name, count in counts.items()}
    top = ElementTree.Element("testsuites", told)
    suite = ElementTree.SubElement(top, "testsuite", {"name": _SUITE, **told})

    def case(name: str) -> ElementTree.Element:
        attributes = {"classname": _xml(metric), "name": _xml(name), "time": "0"}
        return ElementTree.SubElement(suite, "testcase", attributes)

    for each in found:
        test = case(report.name(each))
        if each.moved:
            _add_failure(test, report, each)
    for label, images in verdict.too_few.items():
        skipped = {"message": f"{images} images are too few to judge"}
        ElementTree.SubElement(case(f"class {report.class_name(label)}"), "skipped", skipped)
    ElementTree.indent(top)
    write_text(path, f"{_DECLARATION}\n{ElementTree.tostring(top, 'unicode')}\n")


def _add_failure(test: ElementTree.Element, report: Report, found: Finding) -> None:
    change = f"{100 * found.old:.1f} -> {100 * found.new:.1f} % ({100 * found.change:+.1f} points)"
    failure = {"message": f"mass on the object {change}", "type": "EvidenceMoved"}
    text = as_text(report) if found.label is None else sentence(report)
    ElementTree.SubElement(test, "failure", failure).text = _xml(text)


def _xml(text: str) -> str:
    return _NO_XML.sub("\ufffd", text)
