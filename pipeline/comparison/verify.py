"""The work of ``learned-saliency verify``: bundles are recomputed without the network."""

from __future__ import annotations

import math
import reprlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import DictConfig

from learned_saliency.pipeline.cli import UserError, printable
from learned_saliency.pipeline.comparison.recomputing import (
    COARSE,
    TOLERANCE,
    Difference,
    Mean,
    Recomputed,
    recompute,
)
from learned_saliency.pipeline.reports import GALLERY_FILE, bundle_results
from learned_saliency.pipeline.runs import Bundle, Fault, find_faults
from learned_saliency.storage import sha256
from learned_saliency.trainers import FIGURES, TEST_FIGURES

_UNLIKE, _NO_BUNDLE = 1, 2  # exit codes
_RESULTS = "results.json"
_OF_MAPS = TEST_FIGURES.keys() - FIGURES.keys()  # metrics that need no network
_COMPARED = ("box_threshold", "explained", "versions", "figures")  # keys beside the metrics
_MOST_NAMES, _LONGEST = 40, 100  # names in a line, and their characters


class Verification(NamedTuple):
    """Result of the verification of a bundle.

    Attributes:
        sha256: SHA-256 of the file.
        members: Number of its members.
        faults: Damaged members; with any the rest is not looked at.
        differences: Values that are not as they are recomputed.
        figures: Number of metrics that were recomputed.
        exact: Number of those that are equal to the last bit.
        rows: Number of rows of ``images.csv`` that were recomputed.
        methods: Number of methods.
        of_network: Names of metrics that need the network: their means alone were recomputed.
        of_studies: Rows and columns that the record declares as studies'.
        unknown: Metrics of methods without maps, and those that nobody knows or declares.
        record: Keys of ``results.json`` that nothing was compared with.
        gallery: Whether there are pictures.
    """

    sha256: str
    members: int
    faults: list[Fault]
    differences: list[Difference]
    figures: int = 0
    exact: int = 0
    rows: int = 0
    methods: int = 0
    of_network: tuple[str, ...] = ()
    of_studies: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    record: tuple[str, ...] = ()
    gallery: bool = False

    @property
    def agrees(self) -> bool:
        """Tell whether all is as it should be."""
        return not self.faults and not self.differences


def verify(path: Path) -> Verification:
    """Recompute what a bundle says, without the network and without unpacking anything.

    Raises:
        UserError: If there is no bundle.
    """
    faults = find_faults(path)
    digest = sha256(path)
    if faults:
        return Verification(digest, 0, faults, [])
    bundle = Bundle(path)
    split, results, record = bundle_results(bundle)
    found = recompute(bundle)
    counts, others = [0, 0], _Others()
    differences = [
        *found.differences,
        *_facts(bundle, split, record),
        *_figures(results, found, counts),
        *_further(results, found, record, others),
    ]
    return Verification(
        sha256=digest,
        members=1 + len(bundle.facts.members),
        faults=[],
        differences=differences,
        figures=counts[0],
        exact=counts[1],
        rows=found.rows,
        methods=len(bundle.facts.methods),
        of_network=tuple(others.of_network),
        of_studies=tuple(others.of_studies),
        unknown=tuple(others.unknown),
        record=tuple(key for key in record if key not in _COMPARED),
        gallery=GALLERY_FILE in bundle,
    )


class _Others:
    """Names of values that cannot be recomputed, in the order in which they were found."""

    def __init__(self) -> None:
        self.of_network: dict[str, None] = {}
        self.of_studies: dict[str, None] = {}
        self.unknown: dict[str, None] = {}


def _facts(bundle: Bundle, split: str, record: Mapping[str, Any]) -> Iterator[Difference]:
    """Compare what ``results.json`` says of the test with what the bundle is of."""
    facts = bundle.facts
    explained = facts.explained if any(i.label >= 0 for i in bundle.images) else "predicted"
    allowed = {
        "split": (split, [facts.split]),
        "box_threshold": (record.get("box_threshold"), [facts.box_threshold]),
        "explained": (record.get("explained"), [facts.explained, explained]),
    }
    for name, (value, wanted) in allowed.items():
        if value not in wanted:
            yield Difference(f"{_RESULTS}, {name}", _short(value), _short(wanted[0]))
    versions = record.get("versions")
    if not isinstance(versions, dict) or not versions.items() <= facts.versions.items():
        told = _short(dict(facts.versions))
        yield Difference(f"{_RESULTS}, versions", _short(versions), told)


def _figures(
    stored: Mapping[str, Mapping[str, float]], found: Recomputed, counts: list[int]
) -> Iterator[Difference]:
    """Compare the metrics that are recomputed; count them, and those that are equal exactly."""
    for method, values in found.results.items():
        known = stored.get(method, {})
        for name, value in values.items():
            counts[0] += 1
            counts[1] += _same(known.get(name, math.nan), value) and name in known
            if name not in known:
                yield Difference(f"{method}, {name}", "nothing", repr(value))
            elif not _near(name, known[name], value):
                yield Difference(f"{method}, {name}", repr(known[name]), repr(value))


def _further(
    stored: Mapping[str, Mapping[str, float]],
    found: Recomputed,
    record: Mapping[str, Any],
    others: _Others,
) -> Iterator[Difference]:
    """Judge the metrics that are not recomputed."""
    declared = record.get("figures")
    of_studies = declared if isinstance(declared, dict) else {}
    for method, values in stored.items():
        recomputed = found.results.get(method, {})
        for name in (name for name in values if name not in recomputed):
            where, value = f"{method}, {name}", repr(values[name])
            if name in _OF_MAPS:
                yield Difference(where, value, "nothing" if recomputed else "nothing, without maps")
            elif name in FIGURES and recomputed:
                others.of_network[name] = None
                mean = found.means.get((method, name))
                if mean is None or abs(mean.value - values[name]) > _slack(mean):
                    told = "no terms" if mean is None else f"{mean.value!r}, the mean of images.csv"
                    yield Difference(where, value, told)
            elif name in of_studies:
                others.of_studies[f"{method} {name}" if recomputed else method] = None
            else:
                others.unknown[f"{method} {name}"] = None


def _slack(mean: Mean) -> float:
    return mean.error + TOLERANCE * max(1.0, abs(mean.value))


def _same(one: float, other: float) -> bool:
    return one == other or (math.isnan(one) and math.isnan(other))


def _near(name: str, stored: float, recomputed: float) -> bool:
    slack = max(TOLERANCE, COARSE.get(name, 0.0)) * max(1.0, abs(recomputed))
    return _same(stored, recomputed) or abs(stored - recomputed) <= slack


def run(config: DictConfig) -> None:
    """Verify bundles; print what was found, and end with the exit code that says it."""
    code = 0
    for name in config.bundles:
        try:
            found = verify(Path(name).expanduser())
        except UserError as error:
            print(f"verify: {printable(str(error))}", file=sys.stderr)
            code = _NO_BUNDLE
            continue
        print("\n".join(printable(line) for line in described(name, found, config.shown)))
        code = code if found.agrees else max(code, _UNLIKE)
    if code:
        sys.exit(code)


def described(name: str, found: Verification, shown: int) -> Iterator[str]:
    """Say what was found in a bundle.

    Args:
        name: Its file.
        found: What was found.
        shown: Number of faults and of differences that are named.
    """
    yield f"{name}: {'agrees' if found.agrees else 'DOES NOT AGREE'}"
    yield f"  sha256 {found.sha256}"
    if found.faults:
        yield from _listed([f"{fault.member} {fault.what}" for fault in found.faults], shown)
        yield "  nothing was recomputed, because the file is damaged"
        return
    yield f"  {found.members} members, each with the content of its digest"
    yield (
        f"  {found.figures} metrics of {found.methods} methods and the floors recomputed, of which "
        f"{found.exact} are equal to the last bit; {found.rows} rows of images.csv"
    )
    yield from _listed([unlike.told() for unlike in found.differences], shown)
    reasons = {
        "they need the network (means of images.csv alone)": found.of_network,
        "the record declares them as those of studies": found.of_studies,
        "they have no maps or are no known metrics": found.unknown,
    }
    for reason, names in reasons.items():
        if names:
            yield f"  not verified, because {reason}: {_names(names)}"
    more = f", {GALLERY_FILE}" if found.gallery else ""
    record = f"the record in {_RESULTS} ({_names(found.record)}), " if found.record else ""
    yield f"  not verified: {record}config.yaml, names of classes{more}"
    yield "  not verified: the photographs, the network, and that its maps are these"


def _names(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return ", ".join(name[:_LONGEST] for name in names[:_MOST_NAMES]) + more


def _short(value: Any) -> str:
    """Write a value of anyone's JSON, however long or deep it is."""
    return reprlib.repr(value)


def _listed(lines: list[str], shown: int) -> Iterator[str]:
    yield from (f"  {line}" for line in lines[:shown])
    if len(lines) > shown:
        yield f"  and {len(lines) - shown} more; shown=N names N"
