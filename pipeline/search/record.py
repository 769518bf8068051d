"""Files of a search: ``search.json`` and ``search.csv``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from learned_saliency.pipeline.cli import UserError
from learned_saliency.pipeline.search.result import SearchResult
from learned_saliency.pipeline.search.words import typed
from learned_saliency.storage import read_json, write_csv, write_text

RECORD, TABLE = "search.json", "search.csv"
WAITING = "waiting"  # status of a run without an outcome


def check_folder_of_search(folder: Path, key: str, words: list[str]) -> None:
    """Check that a folder is new, or holds this very search.

    Args:
        folder: The folder.
        key: The searched key.
        words: The words that all runs have in common.

    Raises:
        UserError: If it holds anything else.
    """
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    try:
        found = read_json(folder / RECORD)
        known = found["key"], sorted(found["words"])
    except FileNotFoundError:
        raise UserError(
            f"output_dir={folder}: the folder holds other files (it has no {RECORD}); choose a new "
            "one."
        ) from None
    except (OSError, ValueError, TypeError, KeyError):
        raise UserError(
            f"{folder / RECORD}: is damaged, so that the search cannot go on; start it anew."
        ) from None
    if known != (key, sorted(words)):
        given = typed([f"search.key={known[0]}", *found["words"]])
        raise UserError(
            f"output_dir={folder}: holds the search of other words ({given}); give these, or "
            "choose a new folder."
        )


def write_record(search: SearchResult) -> None:
    """Write the state of a search as ``search.json``, and its table as ``search.csv``."""
    search.folder.mkdir(parents=True, exist_ok=True)
    rows = record_rows(search)
    rule, chosen = search.rule, search.chosen
    record = {
        "key": search.key,
        "words": search.words,
        "metric": rule and rule.metric,
        "higher_is_better": rule and rule.higher_is_better,
        "target": rule and rule.target,
        "chosen": None if chosen is None else search.trials[chosen].value,
        "chosen_run": None if chosen is None else rows[chosen]["run"],
        "runs": [
            {**row, "val": outcome.val if outcome else {}}
            for row, outcome in zip(rows, search.outcomes, strict=True)
        ],
    }
    write_text(search.folder / RECORD, json.dumps(record, indent=2) + "\n", durable=True)
    metrics = dict.fromkeys(name for each in search.outcomes if each for name in each.val)
    table = [
        {**row, "value": json.dumps(row["value"]), **(outcome.val if outcome else {})}
        for row, outcome in zip(rows, search.outcomes, strict=True)
    ]
    write_csv(search.folder / TABLE, [*rows[0], *metrics], table)


def record_rows(search: SearchResult) -> list[dict[str, Any]]:
    """List the runs with their state, without their metrics."""
    return [
        {
            "value": trial.value,
            "chosen": index == search.chosen,
            "status": outcome.status if outcome else WAITING,
            "reason": outcome.reason if outcome else "",
            "epoch": outcome.epoch if outcome else None,
            "run": str(trial.folder.relative_to(search.folder)),
        }
        for index, (trial, outcome) in enumerate(zip(search.trials, search.outcomes, strict=True))
    ]
