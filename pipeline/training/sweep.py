"""Joint table of the runs of a sweep (`train.py -m`)."""

from __future__ import annotations

import json
import math
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import OmegaConf

from learned_saliency.pipeline.cli import SWEEP_RUNS
from learned_saliency.pipeline.reports import (
    Results,
    SweepRun,
    format_sweep,
    summarize,
    write_sweep,
)
from learned_saliency.storage import write_text


def note_run(folder: Path, results: Results) -> None:
    """Note what a run of a sweep came to, in the sweep's folder; other runs are not noted.

    Args:
        folder: The run's folder.
        results: Its metrics by method, fractions.
    """
    hydra = HydraConfig.get()
    if hydra.mode != RunMode.MULTIRUN:
        return
    given = OmegaConf.to_container(hydra.overrides.task)  # references as they were written
    parsed = OverridesParser.create().parse_overrides(given)
    words = {each.get_key_element().lstrip("+"): each.get_value_element_as_str() for each in parsed}
    words.pop("output_dir", None)  # differs between the runs by its place alone
    record = {"words": words, "folder": str(folder), "results": _without_nan(results)}
    path = Path(hydra.sweep.dir, SWEEP_RUNS, f"{int(hydra.job.num):04}.json")
    write_text(path, json.dumps(record, indent=2) + "\n")


def _without_nan(results: Results) -> dict[str, dict[str, float]]:
    return {
        method: {name: value for name, value in values.items() if not math.isnan(value)}
        for method, values in results.items()
    }


def join_runs(folder: Path) -> None:
    """Print a table over the runs of a sweep, and write it as ``sweep.csv``.

    Runs that differ in nothing but their seed share a row.

    Args:
        folder: The sweep's folder.
    """
    records = [json.loads(p.read_text()) for p in sorted((folder / SWEEP_RUNS).glob("*.json"))]
    runs = [SweepRun(r["words"], r["results"]) for r in records if r["results"]]
    if not runs:
        return
    rows = summarize(runs)
    write_sweep(folder / "sweep.csv", rows)
    print(f"\n{format_sweep(rows)}\n\n{folder / 'sweep.csv'}")
