"""Samplers of the images, order and random draws of each process; the resumable loader."""

from collections.abc import Iterator, Set
from typing import Any

import numpy as np
import torch.distributed as dist
from numpy.typing import NDArray
from torch.utils.data import BatchSampler, DataLoader, DistributedSampler

from learned_saliency.datamodules.orders import windowed_order


def _process() -> dict[str, int]:
    """Return rank and number of processes as keyword arguments of a ``DistributedSampler``."""
    if dist.is_available() and dist.is_initialized():
        return {"rank": dist.get_rank(), "num_replicas": dist.get_world_size()}
    return {"rank": 0, "num_replicas": 1}


class TrainSampler(DistributedSampler):
    """Sampler of pairs ``(index, draw)`` in an order that depends on seed and epoch alone.

    ``draw`` is a random integer in [0, 2^63) from which the augmentation of the image is computed.
    It depends on seed, epoch and index, so neither workers nor resumption nor the number of
    processes changes what an image looks like in an epoch. Process r of R takes every R-th image of
    one common order, from the r-th on, and the order wraps round until all have equally many: R
    processes with batches of B see together the batches that one process with R * B would see.

    The class is a ``DistributedSampler`` so that Lightning leaves it in place.

    Args:
        num_images: Images N of the split, 1 or more.
        seed: Seed of orders and draws, 0 or more.
        fraction: Part of the images seen in an epoch, in (0, 1], rounded to at least one image; a
            new random part in each epoch.
        window: Window of `windowed_order`, 1 or more, which reads the files that hold the images
            nearly in one go; None for a wholly random order.
        starts: Where the images of each file begin, for the window.

    Raises:
        ValueError: If an argument is out of range.
    """

    def __init__(
        self,
        num_images: int,
        *,
        seed: int = 0,
        fraction: float = 1.0,
        window: int | None = None,
        starts: NDArray[np.int64] | None = None,
    ) -> None:
        if num_images < 1:
            raise ValueError(f"expected at least 1 image, got {num_images}")
        if seed < 0:
            raise ValueError(f"expected a seed of 0 or more, got {seed}")
        if not 0 < fraction <= 1:
            raise ValueError(f"expected a fraction in (0, 1], got {fraction}")
        if window is not None and window < 1:
            raise ValueError(f"expected a window of 1 image or more, got {window}")
        super().__init__(range(num_images), seed=seed, **_process())
        self._window = window
        self._starts = np.zeros(1, np.int64) if starts is None else starts
        self._num_drawn = max(1, round(fraction * num_images))
        self.num_samples = -(-self._num_drawn // self.num_replicas)
        self.total_size = self.num_samples * self.num_replicas
        self._skip = 0

    def skip(self, num_images: int) -> None:
        """Leave out this process's first ``num_images`` in the next iteration only."""
        self._skip = num_images

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Yield (image index, draw) pairs of this process."""
        order_seed, draw_seed = np.random.SeedSequence([self.seed, self.epoch]).spawn(2)
        order = self._order(np.random.default_rng(order_seed))[: self._num_drawn]
        draws = np.random.default_rng(draw_seed).integers(0, 2**63 - 1, len(self.dataset))
        mine = np.resize(order, self.total_size)[self.rank :: self.num_replicas]
        start, self._skip = self._skip, 0
        for index in mine[start:]:
            yield int(index), int(draws[index])

    def _order(self, generator: np.random.Generator) -> NDArray[np.int64]:
        if self._window is None:
            return generator.permutation(len(self.dataset))
        return windowed_order(len(self.dataset), self._starts, self._window, generator)


class EvaluationSampler(DistributedSampler):
    """Sampler of every image exactly once over all processes, without padding.

    Process r of R takes the images r, r + R, ...: the shares differ by at most one image, and
    metrics that sum over processes have the same value as on one process.

    Args:
        num_images: Images of the split.
        leave_out: Indices of images that are not wanted; the shares of the others stay as they are.
    """

    def __init__(self, num_images: int, leave_out: Set[int] = frozenset()) -> None:
        super().__init__(range(num_images), shuffle=False, **_process())
        share = self.dataset[self.rank :: self.num_replicas]
        self._share = [index for index in share if index not in leave_out]
        self.num_samples = len(self._share)
        self.total_size = num_images

    def __iter__(self) -> Iterator[int]:
        """Yield the image indices of this process."""
        return iter(self._share)


class EvaluationBatches(BatchSampler):
    """Sampler of the batches of an `EvaluationSampler`, at least one for each process.

    A process without an image gets one empty batch: Lightning would leave out the end of its epoch,
    where the others wait for its share of the metrics.

    Args:
        sampler: Images of this process.
        batch_size: Most images in a batch.
    """

    def __init__(self, sampler: EvaluationSampler, batch_size: int) -> None:
        super().__init__(sampler, batch_size, drop_last=False)

    def __iter__(self) -> Iterator[list[int]]:
        """Yield lists of image indices."""
        return super().__iter__() if len(self.sampler) else iter([[]])

    def __len__(self) -> int:
        """Return the number of batches."""
        return max(super().__len__(), 1)


class ResumableLoader(DataLoader):
    """Training loader whose position, epoch and number of batches, goes into checkpoints.

    Lightning saves and restores the position through ``state_dict`` and ``load_state_dict``. After
    a restart the loader goes on with the batch after the last one delivered, without loading the
    batches before. Iteration begins only when the first batch is asked for: Lightning asks loaders
    for their iterator before it tells samplers the epoch, and workers would begin with a wrong
    order.

    Args:
        *args: Arguments of ``DataLoader``.
        **kwargs: Arguments of ``DataLoader``, with a ``TrainSampler`` as ``sampler`` and a
            ``batch_size``.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._position = {"epoch": 0, "batches": 0}
        self._resume = {"epoch": 0, "batches": 0}
        super().__init__(*args, **kwargs)

    def state_dict(self) -> dict[str, int]:
        """Return the epoch last iterated and the number of batches delivered in it."""
        return dict(self._position)

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Go on from ``state_dict`` if the next iteration belongs to the epoch that it names."""
        self._position, self._resume = dict(state_dict), dict(state_dict)

    def __iter__(self) -> Iterator[Any]:
        """Yield batches, after a restart only those not delivered yet."""
        resume, self._resume = self._resume, {"epoch": 0, "batches": 0}
        epoch = getattr(self.sampler, "epoch", 0)
        done = resume["batches"] if resume["epoch"] == epoch else 0
        if done:
            self.sampler.skip(done * self.batch_size)
        self._position = {"epoch": epoch, "batches": done}
        for batch in super().__iter__():
            self._position["batches"] += 1
            yield batch
