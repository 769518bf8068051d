from itertools import chain

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

from learned_saliency.datamodules import sampler as module
from learned_saliency.datamodules.sampler import (
    EpochLength,
    EvaluationSampler,
    ResumableLoader,
    TrainBatches,
    TrainSampler,
)


class _Indices(Dataset):
    def __getitems__(self, items):
        return items

    def __len__(self):
        return 10


def _shares(monkeypatch, world_size, make):
    shares = []
    for rank in range(world_size):
        process = {"rank": rank, "num_replicas": world_size}
        monkeypatch.setattr(module, "_process", lambda process=process: process)
        shares.append(list(make()))
    return shares


def test_one_epoch_visits_every_image_once_in_random_order():
    sampler = TrainSampler(50, seed=1)
    order = [index for index, _ in sampler]
    assert sorted(order) == list(range(50))
    assert order != list(range(50))
    assert len(sampler) == 50


def test_order_and_draws_change_with_epoch_and_seed_only():
    sampler = TrainSampler(50, seed=1)
    first, again = list(sampler), list(sampler)
    sampler.set_epoch(1)
    other_epoch = list(sampler)
    assert first == again
    assert [index for index, _ in first] != [index for index, _ in other_epoch]
    assert dict(first) != dict(other_epoch)
    assert dict(first) != dict(TrainSampler(50, seed=2))
    sampler.set_epoch(0)
    assert list(sampler) == first


def test_draws_fill_63_bits_evenly():
    draws = np.array([draw for _, draw in TrainSampler(4000, seed=0)])
    assert draws.min() >= 0
    assert len(np.unique(draws)) == 4000
    bits = draws[:, None] >> np.arange(63) & 1
    # the mean of 4000 fair bits has a standard deviation of 0.008
    assert np.abs(bits.mean(0) - 0.5).max() < 0.04


def test_processes_share_the_order_of_one_process_and_wrap_round(monkeypatch):
    whole = list(TrainSampler(10, seed=3))
    shares = _shares(monkeypatch, 4, lambda: TrainSampler(10, seed=3))
    assert [len(share) for share in shares] == [3, 3, 3, 3]
    interleaved = [item for step in zip(*shares, strict=True) for item in step]
    assert interleaved == whole + whole[:2]


def test_more_processes_than_images_still_share_evenly(monkeypatch):
    shares = _shares(monkeypatch, 7, lambda: TrainSampler(3, seed=3))
    assert [len(share) for share in shares] == [1] * 7
    assert {index for share in shares for index, _ in share} == {0, 1, 2}


def test_fraction_draws_another_part_each_epoch():
    sampler = TrainSampler(100, seed=0, fraction=0.25)
    parts = []
    for epoch in range(20):
        sampler.set_epoch(epoch)
        parts.append({index for index, _ in sampler})
    assert {len(part) for part in parts} == {25} == {len(sampler)}
    assert parts[0] != parts[1]
    # an image is missed in 20 epochs with probability 0.003
    assert len(set().union(*parts)) > 90
    assert len(list(TrainSampler(100, fraction=1e-9))) == 1


@pytest.mark.parametrize(
    "options", [{"num_images": 0}, {"seed": -1}, {"fraction": 0.0}, {"fraction": 1.1}]
)
def test_train_sampler_refuses_values_out_of_range(options):
    with pytest.raises(ValueError, match="expected"):
        TrainSampler(**({"num_images": 5} | options))


def test_evaluation_shares_have_no_padding_and_no_doubles(monkeypatch):
    shares = _shares(monkeypatch, 3, lambda: EvaluationSampler(10))
    assert sorted(index for share in shares for index in share) == list(range(10))
    assert [len(share) for share in shares] == [4, 3, 3]
    assert [len(share) for share in _shares(monkeypatch, 3, lambda: EvaluationSampler(2))] == [
        1,
        1,
        0,
    ]
    assert list(EvaluationSampler(3)) != []
    monkeypatch.setattr(module, "_process", lambda: {"rank": 2, "num_replicas": 3})
    assert len(EvaluationSampler(10)) == 3


def _loader(workers=0, steps=None):
    options = {"batch_size": 3, "sampler": TrainSampler(10, seed=0)}
    if steps is not None:
        options = {"batch_sampler": TrainBatches(TrainSampler(10, seed=0), 3, EpochLength(steps))}
    return ResumableLoader(
        _Indices(),
        **options,
        collate_fn=lambda batch: batch,
        num_workers=workers,
        persistent_workers=workers > 0,
    )


def _set_epoch(loader, epoch):
    loader.batch_sampler.sampler.set_epoch(epoch)


@pytest.mark.parametrize("workers", [0, 2])
def test_resumed_loader_gives_the_batches_after_those_delivered(workers):
    loader = _loader()
    _set_epoch(loader, 2)
    batches = list(loader)

    interrupted = iter(loader)
    assert [next(interrupted), next(interrupted)] == batches[:2]
    state = loader.state_dict()
    assert state == {"epoch": 2, "batches": 2}

    resumed = _loader(workers)
    resumed.load_state_dict(state)
    iterator = iter(resumed)
    _set_epoch(resumed, 2)  # as Lightning does, after it has asked for the iterator
    assert list(iterator) == batches[2:]
    assert len(resumed) == 4
    assert resumed.state_dict() == {"epoch": 2, "batches": 4}
    assert list(resumed) == batches


def test_state_of_a_finished_epoch_starts_the_next_one_from_its_beginning():
    loader = _loader()
    list(loader)
    resumed = _loader()
    resumed.load_state_dict(loader.state_dict())
    assert resumed.state_dict() == {"epoch": 0, "batches": 4}
    _set_epoch(resumed, 1)
    _set_epoch(loader, 1)
    assert list(resumed) == list(loader)


def test_epoch_set_after_the_iterator_was_asked_for_counts_with_workers():
    loader, expected = _loader(workers=2), _loader()
    iterator = iter(loader)
    _set_epoch(loader, 5)
    _set_epoch(expected, 5)
    assert list(iterator) == list(expected)
    torch.testing.assert_close(loader.batch_sampler.sampler.epoch, 5)


@pytest.mark.parametrize(
    ("batches", "length", "passes"),
    [
        (10, EpochLength(), 1),
        (10, EpochLength(10), 1),
        (10, EpochLength(11), 2),
        (10, EpochLength(300), 30),
        (10, EpochLength(75, batches_per_step=4), 30),  # 297 batches are 75 steps, 29 passes 73
        (3, EpochLength(2, batches_per_step=4), 2),  # 5 batches wanted
        (1, EpochLength(1, batches_per_step=8), 1),
    ],
)
def test_passes_are_as_few_as_reach_the_steps(batches, length, passes):
    assert length.passes(batches) == passes
    steps = [-(-n * batches // length.batches_per_step) for n in (passes - 1, passes)]
    assert steps[0] < length.steps <= steps[1]


def test_each_pass_of_an_epoch_has_every_image_once_in_an_order_and_with_draws_of_its_own():
    sampler = TrainSampler(10, seed=3)
    first = list(sampler)
    batches = TrainBatches(sampler, 4, EpochLength(8))
    found = list(batches)
    assert len(batches) == len(found) == 9
    assert len(sampler) == 30
    assert [len(batch) for batch in found] == 3 * [4, 4, 2]
    passes = [list(chain(*found[i : i + 3])) for i in (0, 3, 6)]
    assert passes[0] == first  # as where an epoch is one pass
    assert all(sorted(dict(of_pass)) == list(range(10)) for of_pass in passes)
    assert len({tuple(dict(of_pass)) for of_pass in passes}) == 3
    assert len({draw for of_pass in passes for _, draw in of_pass}) == 30
    sampler.set_epoch(1)
    assert not {draw for batch in batches for _, draw in batch} & {
        draw for of_pass in passes for _, draw in of_pass
    }


def test_processes_share_each_pass_as_they_share_an_epoch_of_one(monkeypatch):
    def make():
        return TrainBatches(TrainSampler(10, seed=3), 2, EpochLength(5))

    whole = list(TrainBatches(TrainSampler(10, seed=3), 8, EpochLength(5)))
    shares = _shares(monkeypatch, 4, make)
    assert [len(share) for share in shares] == 4 * [6]  # passes of 3 images, in 2 batches
    for number in range(3):
        of_pass = [list(chain(*share[2 * number : 2 * number + 2])) for share in shares]
        mixed = [item for step in zip(*of_pass, strict=True) for item in step]
        alone = list(chain(*whole[2 * number : 2 * number + 2]))
        assert mixed == alone + alone[:2]  # wrapped round


@pytest.mark.parametrize(("delivered", "workers"), [(3, 0), (6, 0), (10, 0), (12, 0), (7, 2)])
def test_a_loader_goes_on_within_any_pass(delivered, workers):
    loader = _loader(steps=11)
    _set_epoch(loader, 4)
    batches = list(loader)
    assert len(batches) == 12
    interrupted = iter(loader)
    assert [next(interrupted) for _ in range(delivered)] == batches[:delivered]
    resumed = _loader(workers, steps=11)
    resumed.load_state_dict(loader.state_dict())
    _set_epoch(resumed, 4)
    assert list(resumed) == batches[delivered:]
    assert list(resumed) == batches
