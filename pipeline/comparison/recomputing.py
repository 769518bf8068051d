"""Second test of the maps in a bundle, compared with what the first one has written."""

from __future__ import annotations

import csv
import io
import math
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch

from learned_saliency.pipeline.cli import UserError
from learned_saliency.pipeline.comparison.stored_states import StoredStates, Unlike
from learned_saliency.pipeline.reports import TABLE_FILE
from learned_saliency.pipeline.runs import Bundle, BundleError, BundleImage
from learned_saliency.trainers import FIGURES, STATES_FILE, TestOutput, image_rows

TOLERANCE = 1e-12  # means may add their terms in another order
#: Metrics whose terms are float32 logarithms, which differ between machines in their last bits.
COARSE = {"complexity": 1e-5}
_NOT_TOLD = ("place", "states")  # keys of a row that the table does not have
_MOST_VALUES = 2**26  # in the maps and masks of a batch
_SECONDS = 20.0  # between lines of progress


class Difference(NamedTuple):
    """Value that is not as it is recomputed.

    Attributes:
        where: The value: file or method, metric, image.
        stored: As the bundle has it.
        recomputed: As it should be; empty where the values are too large to be shown.
    """

    where: str
    stored: str
    recomputed: str

    def told(self) -> str:
        """Tell it in a line."""
        if not self.recomputed:
            return f"{self.where}: stored {self.stored} than those recomputed"
        return f"{self.where}: stored {self.stored}, recomputed {self.recomputed}"


class Mean(NamedTuple):
    """Mean of the terms of a metric in the rows of a table, which are rounded to six digits.

    Attributes:
        value: The mean.
        error: Largest error that the rounding may have made.
    """

    value: float
    error: float


class Recomputed(NamedTuple):
    """Result of a second test.

    Attributes:
        results: Metrics by method, of maps alone.
        means: Means of the terms of further metrics, by method and metric.
        differences: Single images that differ.
        rows: Number of rows of the table that were compared.
    """

    results: Mapping[str, Mapping[str, float]]
    means: Mapping[tuple[str, str], Mean]
    differences: list[Difference]
    rows: int


def recompute(bundle: Bundle) -> Recomputed:
    """Test the maps of a bundle; compare each image with the first test's table and states.

    Raises:
        BundleError: If something is damaged.
        UserError: If no metric takes the truth or the logits.
    """
    module, states = bundle.module(), StoredStates(bundle)
    table = _Table(bundle)
    differences = [_state_difference(found, []) for found in states.open()]
    shown = time.monotonic()
    for images in _batches(bundle):
        maps, logits, batch = bundle.batch(images)
        try:
            with torch.no_grad():
                output = module.test_recorded(maps, logits, batch)
            rows = list(image_rows(output, batch, module))
        except (ValueError, IndexError, RuntimeError) as error:
            raise UserError(
                f"{bundle.path}: holds truth or logits of which nothing can be measured ({error})."
            ) from None
        differences += table.compare(rows, output)
        differences += _unlike(states, output, batch["image_id"])
        if time.monotonic() > shown + _SECONDS:
            shown = time.monotonic()
            print(f"verify: {table.rows} of {table.expected} rows", file=sys.stderr)
    differences += table.close()
    differences += [_state_difference(found, []) for found in states.close()]
    return Recomputed(module.test_results(), table.means(), differences, table.rows)


def _batches(bundle: Bundle) -> Iterator[list[BundleImage]]:
    """Part the images as the evaluation did, as far as the memory is bounded."""
    height, width = bundle.facts.input_size
    values = height * width * (len(bundle.facts.methods) + bundle.facts.masks)
    size = min(bundle.facts.batch_size, max(1, _MOST_VALUES // values))
    for start in range(0, len(bundle.images), size):
        yield bundle.images[start : start + size]


def _unlike(states: StoredStates, output: TestOutput, image_ids: list[str]) -> list[Difference]:
    return [_state_difference(found, image_ids) for found in states.compare(output.states)]


def _state_difference(found: Unlike, image_ids: list[str]) -> Difference:
    parts = [STATES_FILE, found.state]
    parts += [] if found.row is None else [f"image {image_ids[found.row]}"]
    parts += [] if found.method is None else [found.method]
    return Difference(", ".join(parts), "other bytes", "")


class _Table:
    """Reader of ``images.csv`` of a bundle, row after row.

    Attributes:
        rows: Number of rows that were compared.
        expected: Number of rows that there should be.
    """

    def __init__(self, bundle: Bundle) -> None:
        self.rows, self.expected = 0, len(bundle.images) * len(bundle.facts.methods)
        self._bundle = bundle
        text = io.TextIOWrapper(bundle.region(TABLE_FILE), encoding="utf-8", newline="")
        self._reader = csv.DictReader(text, strict=True)
        self._sums: dict[tuple[str, str], list[float]] = defaultdict(lambda: [0.0, 0.0, 0.0])

    def compare(self, rows: list[dict[str, Any]], output: TestOutput) -> Iterator[Difference]:
        """Compare the next rows with those that are recomputed, and the terms before rounding."""
        for number, row in enumerate(rows):
            terms = output.terms[row["method"]]
            stored = self._next()
            self.rows += 1
            where = f"{TABLE_FILE}, image {row['image_id']}, {row['method']}"
            if stored is None:
                yield Difference(where, "no row", "a row")
                continue
            for name in (key for key in row if key not in _NOT_TOLD):
                value, wanted = stored.get(name) or "", str(row[name])
                image = number // len(output.maps)
                term = float(terms[name][image]) if name in terms else math.nan
                if not _agrees(value, wanted, name, term):
                    yield Difference(f"{where}, {name}", value or "nothing", wanted or "nothing")
            yield from self._further(where, stored, row)

    def close(self) -> Iterator[Difference]:
        """Tell of rows that are left."""
        if self._next() is not None:
            yield Difference(TABLE_FILE, "more rows", f"{self.expected} rows")

    def means(self) -> dict[tuple[str, str], Mean]:
        """Compute the means of the terms of metrics that need the network."""
        return {
            key: Mean(total / count, error / count)
            for key, (total, error, count) in self._sums.items()
        }

    def _further(
        self, where: str, stored: Mapping[str, Any], row: Mapping[str, Any]
    ) -> Iterator[Difference]:
        """Add the terms that are not recomputed; tell what nobody knows."""
        for name, text in stored.items():
            if name in row or not text:
                continue
            value = _number(text) if name in FIGURES else None
            if value is None:
                yield Difference(f"{where}, {name}", str(text), "nothing")
                continue
            sums = self._sums[row["method"], name]
            sums[0], sums[1], sums[2] = sums[0] + value, sums[1] + _rounding(value), sums[2] + 1

    def _next(self) -> dict[str, Any] | None:
        try:
            return next(self._reader, None)
        except (csv.Error, ValueError) as error:
            raise BundleError(self._bundle.path, TABLE_FILE, f"is no table ({error})") from None


def _number(text: Any) -> float | None:
    try:
        value = float(text)
    except (TypeError, ValueError):
        return None
    return value if math.isfinite(value) else None


def _rounding(value: float) -> float:
    """Compute the largest error of a value that was rounded to six significant digits."""
    return 0.5 * 10.0 ** (math.floor(math.log10(abs(value))) - 5) if value else 0.0


def _agrees(stored: str, recomputed: str, name: str, term: float) -> bool:
    """Tell whether a cell is as it is recomputed; a term may lie beside an edge of rounding."""
    tolerance = max(TOLERANCE, COARSE.get(name, 0.0) * abs(term))
    near = (f"{term + change:.6g}" for change in (-tolerance, tolerance))  # nan for no term
    return stored == recomputed or stored in near
