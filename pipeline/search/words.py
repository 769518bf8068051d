"""Words of command lines: those of the runs of a search, and those that a user types."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser

from learned_saliency.pipeline.cli import hydra_words
from learned_saliency.pipeline.search.trial import Trial

_OWN = {"search", "output_dir", "test", "resume"}  # first names of words that are not the runs'


def common_words(words: Sequence[str]) -> list[str]:
    """Select the words of a search's command line that are those of a training."""
    parsed = OverridesParser.create().parse_overrides(list(words))
    names = [word.key_or_group.partition(".")[0] for word in parsed]
    return [word for word, name in zip(words, names, strict=True) if name not in _OWN]


def value_word(key: str, value: Any) -> str:
    """Write the word that gives a key a value."""
    return f"{key}={json.dumps(value, separators=(',', ':'))}"


def trial_words(
    common: Sequence[str], key: str, trial: Trial, classifier: Path | None
) -> list[str]:
    """Write the words of a run's training as Hydra wants them.

    Args:
        common: The words that all runs have in common.
        key: The searched key.
        trial: The run.
        classifier: Checkpoint of the classifier that it takes; None if it trains one, or has none.
    """
    own = [value_word(key, trial.value), f"output_dir={trial.folder}", "test=false"]
    if classifier is not None:
        own.append(f"classifier={classifier}")
    return [*common, *hydra_words(own)]


def typed(words: Sequence[str]) -> str:
    """Write words as one types them in a shell.

    Hydra's quotes and signs are left out of those that get them again from `hydra_words`.
    """
    return " ".join(shlex.quote(_as_typed(word)) for word in words)


def _as_typed(word: str) -> str:
    plain = word.lstrip("+")
    key, _, value = plain.partition("=")
    for shorter in (f"{key}={value[1:-1]}", plain):
        if hydra_words([shorter]) == [word]:
            return shorter
    return word
