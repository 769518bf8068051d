"""The work of ``learned-saliency search``, and what it prints."""

from __future__ import annotations

import json
import shlex

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from learned_saliency.pipeline.cli import printable
from learned_saliency.pipeline.reports import layout
from learned_saliency.pipeline.search.record import RECORD, TABLE, record_rows
from learned_saliency.pipeline.search.result import SearchResult, check_choice
from learned_saliency.pipeline.search.search import search
from learned_saliency.pipeline.search.trial import TRAINED
from learned_saliency.pipeline.search.words import typed, value_word


def run(config: DictConfig) -> None:
    """Search; print the table, the paths of its files and the words that use the chosen value."""
    result = search(config, OmegaConf.to_container(HydraConfig.get().overrides.task))
    print(f"\n{format_search(result)}\n")
    print("\n".join(printable(str(result.folder / name)) for name in (TABLE, RECORD)))
    check_choice(result)
    chosen = result.trials[result.chosen]
    word = value_word(result.key, chosen.value)
    print(f"\nchosen: {word}")
    print(f"test this run:  python train.py {shlex.quote(f'resume={chosen.folder}')} test=true")
    print(f"train another:  python train.py {typed([*result.words, word])}")


def format_search(result: SearchResult) -> str:
    """Write the table of a search for the terminal, with a heading that says its unit."""
    metric = result.rule.metric if result.rule else "metric"
    table = [["", result.key, metric, "epoch", "run"]]
    rows = record_rows(result)
    for row, score in zip(rows, result.scores(), strict=True):
        cell = row["status"] if row["status"] != TRAINED else "-"
        shown = cell if score is None else f"{100 * score:.1f}"
        epoch = "-" if row["epoch"] is None else str(row["epoch"])
        mark = "*" if row["chosen"] else ""
        table.append([mark, json.dumps(row["value"]), shown, epoch, row["run"]])
    return f"{_heading(result)}\n{layout(table, fixed=2)}"


def _heading(result: SearchResult) -> str:
    if result.rule is None:
        return f"Search of {result.key}"
    metric, higher, target = result.rule
    better = f"nearest to {100 * target:.1f}" if target is not None else "highest"
    better = "lowest" if higher is False else better
    return f"Search of {result.key} by {metric} on val, percent; * is chosen, the {better}"
