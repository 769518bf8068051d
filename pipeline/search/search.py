"""Search for the value of a key that is best on ``val``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from learned_saliency.datamodules import WSOLDataModule
from learned_saliency.errors import Stopped
from learned_saliency.pipeline.cli import Trials, read_trials, with_value
from learned_saliency.pipeline.runs import (
    FIRST_STAGE,
    build_data,
    create_data,
    make_data,
    with_class_files,
)
from learned_saliency.pipeline.search.choice import Rule, choose, given_rule, own_rule
from learned_saliency.pipeline.search.launching import TrialLauncher
from learned_saliency.pipeline.search.record import check_folder_of_search, write_record
from learned_saliency.pipeline.search.result import SearchResult
from learned_saliency.pipeline.search.trial import Trial, make_trials
from learned_saliency.pipeline.search.words import common_words, trial_words, value_word
from learned_saliency.pipeline.training import ground_truth


def search(config: DictConfig, words: Sequence[str]) -> SearchResult:
    """Train a run with each value, and choose.

    Runs that have an outcome are not repeated, and one that was interrupted goes on.

    Args:
        config: The composed configuration.
        words: The words of the command line that it was composed of.

    Raises:
        UserError: If a value, the metric or the folder is wrong, before any training; or if no run
            can be chosen.
        DataError: If the data set is wrong.
    """
    trials = read_trials(config)
    folder = Path(config.output_dir).expanduser().absolute()
    common = common_words(words)
    check_folder_of_search(folder, trials.key, common)
    rule = given_rule(config, trials, ground_truth(_data(config)))
    runs = make_trials(trials.values, folder / "runs")
    launcher = TrialLauncher(folder)
    shares = shares_classifier(config, trials)
    pending = [each for each in runs if each.outcome() is None]
    result = _state(folder, trials.key, common, rule, runs)
    write_record(result)
    while pending:
        classifier = _classifier(runs) if shares else None
        one = launcher.sequential or (shares and classifier is None)
        batch, pending = (pending[:1], pending[1:]) if one else (pending, [])
        _launch(launcher, batch, result, classifier)
        result = _state(folder, trials.key, common, rule, runs)
        write_record(result)
    return result


def _data(config: DictConfig) -> WSOLDataModule:
    """Build the data set once, before several jobs would make it.

    What a reader makes is made as a whole, so that the chosen run can be tested when it has ended;
    only the splits of the training are read.
    """
    named = with_class_files(config)
    whole = create_data(named)
    if whole.reader is not None and not whole.read_only:
        make_data(whole, None)
    return build_data(named, "fit")


def _state(
    folder: Path, key: str, words: list[str], rule: Rule | None, trials: list[Trial]
) -> SearchResult:
    """Read the outcomes that there are, and choose among them."""
    outcomes = [trial.outcome() for trial in trials]
    monitors = [each.monitor for each in outcomes if each is not None and each.monitor]
    if rule is None and monitors:
        rule = own_rule(monitors[0])
    state = SearchResult(folder, key, words, rule, trials, outcomes, None)
    return state if rule is None else state._replace(chosen=choose(state.scores(), rule))


def _launch(
    launcher: TrialLauncher, batch: list[Trial], search: SearchResult, classifier: Path | None
) -> None:
    for trial in batch:
        place = f"run {search.trials.index(trial) + 1} of {len(search.trials)}"
        print(f"{place}: {value_word(search.key, trial.value)}", file=sys.stderr)
    jobs = [trial_words(search.words, search.key, trial, classifier) for trial in batch]
    try:
        launcher.launch(jobs, search.trials.index(batch[0]))
    except Stopped as stopped:
        advice = f"to go on: the same words with output_dir={search.folder}"
        raise Stopped(stopped.signal, advice) from None


def shares_classifier(config: DictConfig, trials: Trials) -> bool:
    """Tell whether all runs would train the same classifier as their first stage.

    They do if no value changes anything but the model behind the classifier.
    """
    first = config.model.get(FIRST_STAGE)
    if first is None or config.classifier is not None or not first.epochs:
        return False
    below = [_below_model(with_value(config, trials.key, value)) for value in trials.values]
    return all(each == below[0] for each in below)


def _below_model(config: DictConfig) -> dict[str, Any]:
    """Return what the training of a classifier reads of a configuration, and maybe more."""
    plain = OmegaConf.to_container(config, resolve=True)
    model = plain.pop("model")
    del plain["recipe"], plain["search"]  # read through the keys of the others
    return {**plain, FIRST_STAGE: model[FIRST_STAGE]}


def _classifier(trials: Sequence[Trial]) -> Path | None:
    """Find the classifier of the first run that has trained one to its end."""
    ended = (each.classifier for each in trials if each.outcome() is not None)
    return next((path for path in ended if path.is_file()), None)
