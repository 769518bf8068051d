import pytest
import torch
from torchmetrics.functional.classification import binary_average_precision

from learned_saliency.metrics import ClassAveragePrecision, average_precision
from tests.support.two_processes import run_on_two


def brute_force(scores, truth):
    """Sum the steps of recall times precision over all cuts, from the highest down."""
    total, before = 0.0, 0.0
    for cut in sorted(set(scores.tolist()), reverse=True):
        told = scores >= cut
        hits = float((told & truth).sum())
        total += (hits - before) / float(truth.sum()) * hits / float(told.sum())
        before = hits
    return total


def draws(count=60):
    generator = torch.Generator().manual_seed(0)
    for k in range(count):
        scores = torch.rand(1 + k % 12, 3, generator=generator, dtype=torch.double)
        if k % 2:
            scores = (3 * scores).round() / 3  # many are equal
        yield scores, torch.rand(scores.shape, generator=generator) < 0.4


def test_by_hand():
    scores = torch.tensor([[0.9], [0.8], [0.8], [0.1]])
    truth = torch.tensor([[True], [False], [True], [True]])
    assert average_precision(scores, truth).tolist() == pytest.approx([1 / 3 + 2 / 9 + 1 / 4])


def test_equals_all_cuts_and_torchmetrics():
    for scores, truth in draws():
        found = average_precision(scores, truth)
        for c in range(3):
            if not truth[:, c].any():
                assert found[c].isnan()
                continue
            assert float(found[c]) == pytest.approx(brute_force(scores[:, c], truth[:, c]))
            peer = binary_average_precision(scores[:, c], truth[:, c].long())
            assert float(found[c]) == pytest.approx(float(peer), abs=1e-6)


def test_only_the_order_of_scores_counts_and_the_best_order_has_1():
    for scores, truth in draws():
        found = average_precision(scores, truth)
        torch.testing.assert_close(average_precision(scores**3 - 5, truth), found, equal_nan=True)
        best = average_precision(truth.double(), truth)
        assert bool((best[~best.isnan()] == 1).all())


def test_counts_add_up_over_batches_and_classes_without_images_are_left_out():
    (scores, truth), *_ = ((s, t) for s, t in draws() if len(s) > 9)
    truth[:, 1] = False
    metric = ClassAveragePrecision()
    for rows in torch.arange(len(scores)).split(3):
        metric.update(scores[rows], truth[rows])
    wanted = average_precision(scores.float(), truth)
    torch.testing.assert_close(metric.per_class(), wanted, equal_nan=True)
    torch.testing.assert_close(metric.compute(), wanted[[0, 2]].mean())
    other = ClassAveragePrecision()
    other.update(scores[:4], truth[:4])
    rest = ClassAveragePrecision()
    rest.update(scores[4:], truth[4:])
    other.merge_state(rest)
    torch.testing.assert_close(other.compute(), metric.compute())
    metric.reset()
    assert len(metric.per_class()) == 0


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_without_images_there_is_no_number():
    assert ClassAveragePrecision().compute().isnan()


def _share(rank, folder):
    torch.distributed.init_process_group("gloo", rank=rank, world_size=2)
    generator = torch.Generator().manual_seed(5)
    scores, truth = torch.rand(7, 3, generator=generator), torch.rand(7, 3, generator=generator)
    truth = truth < 0.5
    for shares in ([7, 0], [2, 5], [0, 0]):
        metric, first = ClassAveragePrecision(), sum(shares[:rank])
        if shares[rank]:
            rows = slice(first, first + shares[rank])
            metric.update(scores[rows], truth[rows])
        wanted = average_precision(scores, truth) if sum(shares) else torch.zeros(0).double()
        torch.testing.assert_close(metric.per_class(), wanted, equal_nan=True)
        torch.testing.assert_close(metric.compute(), wanted.nanmean(), equal_nan=True)
    torch.distributed.destroy_process_group()


def test_two_processes_of_which_one_or_both_may_be_empty(tmp_path):
    run_on_two(_share, tmp_path)


def test_scores_that_do_not_fit_are_refused():
    metric = ClassAveragePrecision()
    with pytest.raises(ValueError, match="expected scores and truth"):
        metric.update(torch.zeros(2, 3), torch.zeros(2, 4, dtype=torch.bool))
    with pytest.raises(ValueError, match="NaN"):
        metric.update(torch.full((1, 2), torch.nan), torch.zeros(1, 2, dtype=torch.bool))
