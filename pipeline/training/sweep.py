"""Joint table of the runs of a sweep (`train.py -m`)."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig

from learned_saliency.pipeline.reports import (
    Results,
    SweepRun,
    format_sweep,
    summarize,
    write_sweep,
)
from learned_saliency.storage import write_text

_RUNS = "runs"  # folder of the sweep's folder: a file for each run


def note_run(folder: Path, results: Results) -> None:
    """Note what a run of a sweep came to, in the sweep's folder; other runs are not noted.

    Args:
        folder: The run's folder.
        results: Its metrics by method, fractions.
    """
    hydra = HydraConfig.get()
    if hydra.mode != RunMode.MULTIRUN:
        return
    parsed = OverridesParser.create().parse_overrides(list(hydra.overrides.task))
    words = {each.get_key_element(): each.get_value_element_as_str() for each in parsed}
    record = {"words": words, "folder": str(folder), "results": _without_nan(results)}
    path = Path(hydra.sweep.dir, _RUNS, f"{int(hydra.job.num):04}.json")
    write_text(path, json.dumps(record, indent=2) + "\n")


def _without_nan(results: Results) -> dict[str, dict[str, float]]:
    return {
        method: {name: value for name, value in values.items() if not math.isnan(value)}
        for method, values in results.items()
    }


class SweepTable(Callback):
    """Ends a sweep with a table over all runs, on the terminal and as ``sweep.csv``.

    Runs that differ in nothing but their seed share a row.
    """

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Forget the runs of an earlier sweep in the same folder."""
        for path in Path(config.hydra.sweep.dir, _RUNS).glob("*.json"):
            path.unlink()

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Join the runs."""
        folder = Path(config.hydra.sweep.dir)
        records = [json.loads(p.read_text()) for p in sorted((folder / _RUNS).glob("*.json"))]
        runs = [SweepRun(r["words"], r["results"]) for r in records if r["results"]]
        if not runs:
            return
        rows = summarize(runs)
        write_sweep(folder / "sweep.csv", rows)
        print(f"\n{format_sweep(rows)}\n\n{folder / 'sweep.csv'}")
