"""Journals of several processes, one after the other in this one."""

import pytest
import torch
from torchmetrics import MeanMetric, SumMetric

from learned_saliency.trainers import FIGURES, FaithfulnessScores, Journal, Sums
from learned_saliency.trainers.callbacks import journal as journals
from learned_saliency.trainers.scores import SplitScores
from learned_saliency.trainers.strategies import Place

VALUES = torch.arange(1, 13, dtype=torch.float32)


@pytest.fixture
def process(tmp_path, monkeypatch):
    """Opens the journal of one process; gives it, its metrics and the places that are done."""

    def open_as(rank, world):
        monkeypatch.setattr(journals, "place", lambda: Place(rank, world))
        monkeypatch.setattr(journals, "meet", lambda: None)
        journal, metrics = Journal(tmp_path), {"mean": MeanMetric(), "of": {"all": SumMetric()}}
        done = journal.read()
        journal.restore({"sums": Sums(metrics)})
        return journal, metrics, done

    return open_as


def count(journal, metrics, places):
    values = VALUES[places]
    metrics["mean"].update(values)
    metrics["of"]["all"].update(values)
    journal.done(torch.tensor(places))


def test_any_number_of_processes_goes_on_with_the_work_of_any_other(process, tmp_path):
    for rank, places in enumerate(([0, 3], [1], [2])):  # three, each ended after a batch
        journal, metrics, done = process(rank, 3)
        count(journal, metrics, places)
        metrics["mean"].update(99.0)  # an interrupted batch
        journal.save()
    journal, metrics, done = process(0, 1)
    assert done == {0, 1, 2, 3}
    assert float(metrics["of"]["all"].compute()) == float(VALUES[:4].sum())
    assert [path.name for path in tmp_path.iterdir()] == ["0.state"]
    count(journal, metrics, [4, 5])
    journal.save()
    journal, metrics, done = process(1, 2)  # has nothing of before
    assert done == set(range(6))
    count(journal, metrics, [7])
    journal.save()
    _, metrics, done = process(0, 1)
    assert done == {*range(6), 7}
    assert float(metrics["mean"].compute()) == float(VALUES[[0, 1, 2, 3, 4, 5, 7]].mean())


def test_what_was_taken_over_does_not_count_twice(process, monkeypatch):
    for rank in (0, 1):
        journal, metrics, _ = process(rank, 2)
        count(journal, metrics, [rank])
        journal.save()

    def killed(journal, names):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "_remove", killed)  # before the files that were taken over are gone
        patch.setattr(Journal, "_clean", lambda journal: None)
        with pytest.raises(KeyboardInterrupt):
            process(0, 1)
    _, metrics, done = process(0, 1)
    assert done == {0, 1}
    assert float(metrics["of"]["all"].compute()) == 3.0


def test_a_damaged_file_is_done_again(process, tmp_path):
    journal, metrics, _ = process(0, 1)
    count(journal, metrics, [0, 1])
    journal.save()
    whole = (tmp_path / "0.state").read_bytes()
    (tmp_path / "0.state").write_bytes(whole[: len(whole) // 2])
    _, metrics, done = process(0, 1)
    assert done == set()
    assert float(metrics["of"]["all"].compute()) == 0.0


def test_every_metric_of_a_test_is_a_sum_or_a_list():
    """Else earlier states could not be added."""
    scores = {"split": SplitScores(["cam"], floors=True, tested=True)}
    scores["faithfulness"] = FaithfulnessScores(["cam"], list(FIGURES))
    for name, metric in Sums(scores).metrics.items():
        for state, reduce in metric._reductions.items():
            assert reduce is not None, (name, state)
            joined = isinstance(metric._defaults[state], list)
            wanted = "dim_zero_cat" if joined else "dim_zero_sum"
            assert reduce.__name__ == wanted, (name, state)
