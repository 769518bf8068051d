"""Result of a search."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from learned_saliency.pipeline.cli import UserError
from learned_saliency.pipeline.search.choice import Rule
from learned_saliency.pipeline.search.trial import Outcome, Trial


class SearchResult(NamedTuple):
    """Result of a search, or its state before the end.

    Attributes:
        folder: The search's folder.
        key: The searched key.
        words: The words of a training that all runs have in common, as Hydra wants them.
        rule: What chooses; None as long as no run tells the monitor of its checkpoints.
        trials: The runs.
        outcomes: The outcome of each run; None for one that has none yet.
        chosen: Index of the chosen run; None if there is none.
    """

    folder: Path
    key: str
    words: list[str]
    rule: Rule | None
    trials: list[Trial]
    outcomes: list[Outcome | None]
    chosen: int | None

    def scores(self) -> list[float | None]:
        """List what the runs are compared by; None for those that lack it."""
        name = self.rule.metric if self.rule else ""
        return [None if each is None else each.val.get(name) for each in self.outcomes]


def check_choice(result: SearchResult) -> None:
    """Check that there is a run to choose.

    Raises:
        UserError: If there is none; the message says why, by the first of them.
    """
    if result.chosen is not None:
        return
    reasons = [each.reason for each in result.outcomes if each is not None and each.reason]
    if reasons:
        raise UserError(
            f"search.key={result.key}: no value gave a run to choose; the first: {reasons[0]}"
        )
    metric = result.rule.metric if result.rule else "a metric"
    raise UserError(
        f"search.key={result.key}: no run has {metric} of `val`, so that nothing can be chosen; "
        "let the runs be validated (trainer.check_val_every_n_epoch)."
    )
