from itertools import chain, pairwise

import numpy as np
import pytest

from learned_saliency.datamodules import sampler as module
from learned_saliency.datamodules.orders import LANES, run_starts, windowed_order
from learned_saliency.datamodules.sampler import (
    EpochLength,
    ResumableLoader,
    TrainBatches,
    TrainSampler,
)


def files(*counts):
    """Names of the files of images in a list, given numbers of images in each."""
    return [f"{k}.tar" for k, count in enumerate(counts) for _ in range(count)]


def test_runs_begin_where_the_file_changes():
    assert run_starts(files(3, 1, 2)).tolist() == [0, 3, 4]
    assert run_starts(["a", "b", "a"]).tolist() == [0, 1, 2]
    assert run_starts([]).tolist() == []


@pytest.mark.parametrize("counts", [(1,), (5,), (7, 1, 30), (40,) * 9, (3,) * 200])
@pytest.mark.parametrize("window", [1, 10, 1000])
def test_an_order_is_a_permutation_that_depends_on_its_generator(counts, window):
    starts = run_starts(files(*counts))
    orders = [
        windowed_order(sum(counts), starts, window, np.random.default_rng(seed)).tolist()
        for seed in (0, 0, 1)
    ]
    assert sorted(orders[0]) == list(range(sum(counts)))
    assert orders[0] == orders[1]
    assert sum(counts) < 10 or orders[0] != orders[2]


def test_files_are_read_side_by_side_in_lanes_and_each_nearly_in_one_go():
    counts, window = (50,) * 64, 320
    starts = run_starts(files(*counts))
    order = windowed_order(sum(counts), starts, window, np.random.default_rng(0))
    for lane in range(LANES):
        of_lane = order[lane::LANES] // 50
        assert len(np.unique(of_lane)) == 4  # files, none of which another lane reads
        spans = [np.flatnonzero(of_lane == file) for file in np.unique(of_lane)]
        assert max(np.ptp(span) for span in spans) < 50 + 2 * window // LANES
    assert any(b - a != 1 for a, b in pairwise(order[::LANES].tolist()))  # and yet mixed


def epoch(monkeypatch, processes, count, starts, number, skip=0, **options):
    """Pairs of each process in an epoch."""
    shares = []
    for rank in range(processes):
        process = {"rank": rank, "num_replicas": processes}
        monkeypatch.setattr(module, "_process", lambda process=process: process)
        sampler = TrainSampler(count, seed=3, starts=starts, **options)
        sampler.set_epoch(number)
        sampler.skip(skip)
        shares.append(list(sampler))
    return shares


@pytest.mark.parametrize("processes", [1, 2, 3, 4, 7])
def test_processes_together_see_every_image_once_and_what_one_process_sees(monkeypatch, processes):
    counts = (13, 20, 9, 42)
    starts = run_starts(files(*counts))
    (whole,) = epoch(monkeypatch, 1, 84, starts, 2, window=24)
    shares = epoch(monkeypatch, processes, 84, starts, 2, window=24)
    together = [pair for group in zip(*shares, strict=True) for pair in group]
    assert together == whole  # 84 divides by all of them
    assert sorted(index for index, _ in together) == list(range(84))
    resumed = epoch(monkeypatch, processes, 84, starts, 2, skip=5, window=24)
    assert resumed == [share[5:] for share in shares]


def test_processes_of_a_power_of_two_read_files_of_their_own(monkeypatch):
    starts = run_starts(files(*(20,) * 32))
    for processes in (2, 4, 8):
        shares = epoch(monkeypatch, processes, 640, starts, 0, window=64)
        read = [{index // 20 for index, _ in share} for share in shares]
        assert sum(map(len, read)) == len(set.union(*read)) == 32


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_workers_bring_the_same_order_and_a_resumed_loader_the_rest_of_it(workers):
    class Indices:
        def __len__(self):
            return 30

        def __getitems__(self, items):
            return [index for index, _ in items]

    def loader():
        sampler = TrainSampler(30, window=8, starts=run_starts(files(10, 10, 10)))
        options = {"batch_size": 4, "collate_fn": list, "num_workers": workers}
        return ResumableLoader(Indices(), sampler=sampler, **options)

    whole = list(loader())
    assert sorted(chain(*whole)) == list(range(30))
    sampler = TrainSampler(30, window=8, starts=run_starts(files(10, 10, 10)))
    assert list(chain(*whole)) == [index for index, _ in sampler]
    resumed = loader()
    resumed.load_state_dict({"epoch": 0, "batches": 3})
    assert list(resumed) == whole[3:]


def test_a_window_of_no_image_is_refused():
    with pytest.raises(ValueError, match="window of 1 image or more, got 0"):
        TrainSampler(4, window=0)


def test_each_pass_of_an_epoch_reads_the_files_in_a_window():
    starts = run_starts(files(10, 10, 10))
    batches = TrainBatches(TrainSampler(30, window=8, starts=starts), 4, EpochLength(20))
    order = [index for batch in batches for index, _ in batch]
    passes = [order[:30], order[30:60], order[60:]]
    assert all(sorted(of_pass) == list(range(30)) for of_pass in passes)
    assert len(set(map(tuple, passes))) == 3
