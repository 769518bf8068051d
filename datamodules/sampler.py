"""Samplers of the images, order and random draws of each process; the resumable loader."""

from collections.abc import Iterator, Set
from itertools import islice
from typing import Any, NamedTuple

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


class EpochLength(NamedTuple):
    """Least length of an epoch, which passes over the training images as often as that takes.

    Attributes:
        steps: Least number of optimizer steps, 1 or more; 1 is one pass over any images.
        batches_per_step: Number of batches whose gradients make one step, 1 or more; the last step
            of an epoch has what is left.
    """

    steps: int = 1
    batches_per_step: int = 1

    def passes(self, batches: int) -> int:
        """Find the smallest number of passes, 1 or more, that has so many steps.

        Args:
            batches: Number of batches of one pass, 1 or more.
        """
        wanted = (self.steps - 1) * self.batches_per_step + 1
        return max(1, -(-wanted // batches))


_ONE_PASS = EpochLength()


class TrainSampler(DistributedSampler):
    """Sampler of pairs ``(index, draw)`` in an order that depends on seed, epoch and pass alone.

    ``draw`` is a random integer in [0, 2^63) from which the augmentation of the image is computed.
    It depends on seed, epoch, pass and index, so neither workers nor resumption nor the number of
    processes changes what an image looks like in a pass. Process r of R takes every R-th image of
    one common order, from the r-th on, and the order wraps round until all have equally many: R
    processes with batches of B see together the batches that one process with R * B would see.

    An epoch is one pass over the images, or ``passes`` of them, each in an order of its own with
    every image once. The first pass is that of an epoch of one.

    The class is a ``DistributedSampler`` so that Lightning leaves it in place.

    Args:
        num_images: Images N of the split, 1 or more.
        seed: Seed of orders and draws, 0 or more.
        fraction: Part of the images seen in a pass, in (0, 1], rounded to at least one image; a
            new random part in each pass.
        window: Window of `windowed_order`, 1 or more, which reads the files that hold the images
            nearly in one go; None for a wholly random order.
        starts: Where the images of each file begin, for the window.

    Attributes:
        passes: Number of passes of an epoch, see `set_passes`.
        pass_images: Number of images of a pass, of all processes together.
        pass_share: Number of images of a pass that this process takes.

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
        self.pass_images = max(1, round(fraction * num_images))
        self.pass_share = -(-self.pass_images // self.num_replicas)
        self._skip = 0
        self.set_passes(1)

    def set_passes(self, passes: int) -> None:
        """Set the number of passes of an epoch, 1 or more."""
        self.passes = passes
        self.num_samples = passes * self.pass_share
        self.total_size = self.num_samples * self.num_replicas

    def skip(self, num_images: int) -> None:
        """Leave out this process's first ``num_images`` in the next iteration only."""
        self._skip = num_images

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Yield (image index, draw) pairs of this process, one pass after the other."""
        first, start = divmod(self._skip, self.pass_share)
        self._skip = 0
        for number in range(first, self.passes):
            yield from self._pass(number, start)
            start = 0

    def _pass(self, number: int, start: int) -> Iterator[tuple[int, int]]:
        """Yield the pairs of a pass from the ``start``-th on; passes are counted from 0."""
        further = [number] if number else []  # the first is that of before there were others
        sequence = np.random.SeedSequence([self.seed, self.epoch, *further])
        order_seed, draw_seed = sequence.spawn(2)
        order = self._order(np.random.default_rng(order_seed))[: self.pass_images]
        draws = np.random.default_rng(draw_seed).integers(0, 2**63 - 1, len(self.dataset))
        mine = np.resize(order, self.pass_share * self.num_replicas)
        for index in mine[self.rank :: self.num_replicas][start:]:
            yield int(index), int(draws[index])

    def _order(self, generator: np.random.Generator) -> NDArray[np.int64]:
        if self._window is None:
            return generator.permutation(len(self.dataset))
        return windowed_order(len(self.dataset), self._starts, self._window, generator)


class TrainBatches(BatchSampler):
    """Sampler of the batches of a `TrainSampler`, of which each belongs to one pass.

    The last batch of a pass may be smaller, as it is where an epoch is one pass: an epoch of P
    passes has the batches that P such epochs have.

    Args:
        sampler: Images of this process; gets its number of passes.
        batch_size: Most images in a batch.
        length: Least length of an epoch.

    Attributes:
        length: Least length of an epoch.
        pass_batches: Number of batches of one pass.
    """

    sampler: TrainSampler

    def __init__(
        self, sampler: TrainSampler, batch_size: int, length: EpochLength = _ONE_PASS
    ) -> None:
        super().__init__(sampler, batch_size, drop_last=False)
        self.pass_batches = -(-sampler.pass_share // batch_size)
        self.length, self._skip = length, 0
        sampler.set_passes(length.passes(self.pass_batches))

    def skip(self, batches: int) -> None:
        """Leave out the first ``batches`` in the next iteration only, without loading them."""
        self._skip = batches

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        """Yield lists of (image index, draw) pairs."""
        first, self._skip = self._skip, 0
        passes, within = divmod(first, self.pass_batches)
        self.sampler.skip(passes * self.sampler.pass_share + within * self.batch_size)
        images = iter(self.sampler)
        for number in range(first, len(self)):
            before = number % self.pass_batches * self.batch_size
            yield list(islice(images, min(self.batch_size, self.sampler.pass_share - before)))

    def __len__(self) -> int:
        """Return the number of batches of an epoch."""
        return self.sampler.passes * self.pass_batches


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
        **kwargs: Arguments of ``DataLoader``, with `TrainBatches` as ``batch_sampler``; or, for
            epochs of one pass, with a ``TrainSampler`` as ``sampler`` and a ``batch_size``, whose
            sampler Lightning can replace.
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
        epoch = getattr(self.batch_sampler.sampler, "epoch", 0)
        done = resume["batches"] if resume["epoch"] == epoch else 0
        if done and isinstance(self.batch_sampler, TrainBatches):
            self.batch_sampler.skip(done)
        elif done:
            self.sampler.skip(done * self.batch_size)
        self._position = {"epoch": epoch, "batches": done}
        for batch in super().__iter__():
            self._position["batches"] += 1
            yield batch
