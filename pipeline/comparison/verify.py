"""The work of ``learned-saliency verify``: bundles are recomputed without the network."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

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
from learned_saliency.pipeline.reports import bundle_results
from learned_saliency.pipeline.runs import Bundle, Fault, find_faults
from learned_saliency.storage import sha256
from learned_saliency.trainers import FIGURES

_UNLIKE, _NO_BUNDLE = 1, 2  # exit codes


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
        of_studies: Rows and columns of studies, of which nothing was recomputed.
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
    differences, counts, others = list(found.differences), [0, 0], _Others()
    told = {"split": split, "box_threshold": record.get("box_threshold")}
    for name, value in told.items():
        wanted = getattr(bundle.facts, name)
        if value != wanted:
            differences.append(Difference(f"results.json, {name}", repr(value), repr(wanted)))
    differences += _figures(results, found, counts, others)
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
    )


class _Others:
    """Names of values that cannot be recomputed, in the order in which they were found."""

    def __init__(self) -> None:
        self.of_network: dict[str, None] = {}
        self.of_studies: dict[str, None] = {}


def _figures(
    stored: Mapping[str, Mapping[str, float]], found: Recomputed, counts: list[int], others: _Others
) -> Iterator[Difference]:
    """Compare all metrics; count those that are recomputed, and those that are equal exactly."""
    for method, values in found.results.items():
        known = stored.get(method, {})
        for name, value in values.items():
            counts[0] += 1
            counts[1] += _same(known.get(name, math.nan), value) and name in known
            if name not in known:
                yield Difference(f"{method}, {name}", "nothing", repr(value))
            elif not _near(name, known[name], value):
                yield Difference(f"{method}, {name}", repr(known[name]), repr(value))
    for method, values in stored.items():
        recomputed = found.results.get(method, {})
        if not recomputed:
            others.of_studies[method] = None
            continue
        for name in (name for name in values if name not in recomputed):
            mean = found.means.get((method, name))
            if name not in FIGURES:
                others.of_studies[f"{method} {name}"] = None
                continue
            others.of_network[name] = None
            if mean is None or abs(mean.value - values[name]) > _slack(mean):
                told = "no terms" if mean is None else f"{mean.value!r}, the mean of images.csv"
                yield Difference(f"{method}, {name}", repr(values[name]), told)


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
    if found.of_network:
        yield (
            "  not verified, because they need the network (means of images.csv alone): "
            f"{', '.join(found.of_network)}"
        )
    if found.of_studies:
        yield f"  not verified, because studies wrote them: {', '.join(found.of_studies)}"
    yield "  not verified: the photographs, the network, and that its maps are these"


def _listed(lines: list[str], shown: int) -> Iterator[str]:
    yield from (f"  {line}" for line in lines[:shown])
    if len(lines) > shown:
        yield f"  and {len(lines) - shown} more; shown=N names N"
