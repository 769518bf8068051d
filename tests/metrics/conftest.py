import copy
import pickle

import pytest
import torch


def _compute(metric, batches):
    for batch in batches:
        metric.update(*batch)
    return metric.compute()


def _merged(make, first, second):
    """Value on a process that saw ``first``, synchronized with one that saw ``second``."""
    other = make()
    for batch in second:
        other.update(*batch)
    metric = make(distributed_available_fn=lambda: True)
    for batch in first:
        metric.update(*batch)
    remote = iter([getattr(other, name) for name in metric._reductions])
    metric.dist_sync_fn = lambda state, group=None: [state, next(remote)]
    value = metric.compute()
    assert next(remote, None) is None
    return value


@pytest.fixture
def check_metric():
    """Check a metric against its value in total, however the samples are split and ordered.

    ``make(**kwargs)`` builds the metric, ``samples`` is a list with what one image needs,
    ``collate(samples)`` gives the arguments of ``update``, ``expected`` is the value in total.
    """

    def check(make, samples, collate, expected, **tolerance):
        order = torch.randperm(len(samples), generator=torch.Generator().manual_seed(1)).tolist()
        shuffled = [samples[index] for index in order]
        third = max(1, len(samples) // 3)
        whole = [collate(samples)]
        singles = [collate([sample]) for sample in shuffled]
        uneven = [collate(shuffled[:third]), collate(shuffled[third:])]

        before = copy.deepcopy(whole)
        torch.testing.assert_close(_compute(make(), whole), expected, **tolerance)
        torch.testing.assert_close(whole, before, rtol=0, atol=0, equal_nan=True)
        for batches in (singles, uneven):
            torch.testing.assert_close(_compute(make(), batches), expected, **tolerance)
        merged = _merged(make, uneven[:1], uneven[1:])
        torch.testing.assert_close(merged, expected, **tolerance)

        metric = make()
        metric.update(*uneven[0])
        metric.reset()
        torch.testing.assert_close(_compute(metric, uneven), expected, **tolerance)
        restored = pickle.loads(pickle.dumps(metric))
        torch.testing.assert_close(restored.compute(), expected, **tolerance)
        for name in metric._reductions:
            state = getattr(metric, name)
            assert isinstance(state, torch.Tensor)
            assert state.shape == getattr(make(), name).shape

    return check
