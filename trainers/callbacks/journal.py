"""Journal of a pass over a split on disk, by which an evaluation that was ended goes on."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from operator import methodcaller
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from learned_saliency.storage import WeightsError, read_weights, replacing
from learned_saliency.trainers.strategies.processes import meet, place

_SECONDS = 10.0  # between two writings of a journal
_SHARE = 0.05  # largest part of the time that writing may take

State = Tensor | list[Tensor]
MetricTree = nn.Module | Mapping[str, "MetricTree"]


class Kept(ABC):
    """Part of a pass that a journal keeps: something that grows with each batch."""

    @abstractmethod
    def kept(self) -> Any:
        """Return what was gathered so far, in tensors and plain values that do not change later."""

    @abstractmethod
    def take(self, kept: Any) -> None:
        """Add what this or another process had gathered before the evaluation was ended."""

    def forget(self, kept: Iterable[Any]) -> None:  # noqa: B027
        """Remove files of an earlier evaluation but for those that ``kept`` refers to.

        Args:
            kept: What each process of the earlier evaluation had gathered.
        """

    def sync(self) -> None:  # noqa: B027
        """Bring files that ``kept`` refers to onto the disk."""


class Sums(Kept):
    """States of metrics, all of which are sums over images, or lists of tensors of images.

    Args:
        metrics: Metrics by name, nested as one likes, or modules that hold metrics.
    """

    def __init__(self, metrics: MetricTree) -> None:
        self.metrics = dict(_named_metrics(metrics))

    def kept(self) -> dict[str, dict[str, State]]:
        """Return copies of all states by metric and name; lists are joined to one tensor."""
        return {
            name: {key: _joined(value) for key, value in metric.metric_state.items()}
            for name, metric in self.metrics.items()
        }

    def take(self, kept: dict[str, dict[str, State]]) -> None:
        """Add earlier states to the present ones."""
        for name, metric in self.metrics.items():
            now = metric.metric_state
            moved = {key: each(methodcaller("to", metric.device), kept[name][key]) for key in now}
            metric.merge_state(moved)


def _joined(state: State) -> State:
    """Copy a state; a list becomes one tensor, whatever batches it grew by."""
    if isinstance(state, Tensor):
        return state.clone()
    return [torch.cat(state)] if state else []


def each(function: Callable[[Tensor], Tensor], state: State) -> State:
    """Apply a function to a state that is a tensor, or to each tensor of a list."""
    return function(state) if isinstance(state, Tensor) else [function(part) for part in state]


def _named_metrics(tree: MetricTree, prefix: str = "") -> Iterator[tuple[str, Metric]]:
    """Yield all metrics of a tree with their paths."""
    if isinstance(tree, nn.Module):
        for name, module in tree.named_modules():
            if isinstance(module, Metric):
                yield f"{prefix}{name}", module
        return
    for name, branch in tree.items():
        yield from _named_metrics(branch, f"{prefix}{name}/")


class Journal:
    """Record on disk of the images that are done and of what was gathered from them.

    Each process has a file of its own, written whole or not at all, every ten seconds and when the
    work is ended. It describes the state after the last whole batch: what an interrupted batch has
    left in the metrics does not count. Any number of processes can go on with the work of any
    other number: each takes over the files of some of the earlier processes.

    Args:
        folder: Folder of the files.
        seconds: Least time between two writings.
    """

    def __init__(self, folder: Path, seconds: float = _SECONDS) -> None:
        self.folder = folder
        self.seconds = seconds
        self._parts: Mapping[str, Kept] = {}
        self._earlier: dict[str, dict[str, Any]] = {}
        self._done: list[int] = []
        self._latest: tuple[int, dict[str, Any]] = (0, {})
        self._written = 0  # number of images in the file
        self._due = time.monotonic() + seconds

    def read(self) -> frozenset[int]:
        """Read the files of an earlier evaluation; all processes have to call this.

        Returns:
            Places of the images that are done.
        """
        if place().rank == 0:
            self._clean()
        meet()
        self._earlier = {path.name: read_weights(path) for path in self._files()}
        meet()  # nobody writes before all have read
        return frozenset(i for state in self._earlier.values() for i in state["done"])

    def forget(self) -> None:
        """Remove the files of an earlier evaluation; all processes have to call this."""
        if place().rank == 0:
            self._remove([path.name for path in self._files()])
        meet()

    def earlier(self, key: str) -> list[Any]:
        """Return what the processes of an earlier evaluation had gathered in a part."""
        return [state["parts"][key] for state in self._earlier.values()]

    def restore(self, parts: Mapping[str, Kept]) -> None:
        """Begin with what was read; the files of earlier processes that are gone are taken over."""
        rank, world = place()
        self._parts = parts
        mine = [name for name in self._earlier if int(Path(name).stem) % world == rank]
        for name in mine:
            self._done += self._earlier[name]["done"]
            for key, part in parts.items():
                part.take(self._earlier[name]["parts"][key])
        self._earlier = {}
        self._snapshot()
        self._written = len(self._done)
        others = [name for name in mine if name != self._path.name]
        if others:
            self._write(covers=others)
            self._remove(others)
            self._write()

    def done(self, index: Tensor) -> None:
        """Count a whole batch as done; write the file when it is time.

        Args:
            index: Places of the batch's images.
        """
        self._done += index.tolist()
        self._snapshot()
        if time.monotonic() >= self._due:
            self.save()

    def save(self) -> int:
        """Write the state after the last whole batch; return the number of images in it."""
        if self._latest[0] != self._written:
            self._write()
        return self._written

    def _snapshot(self) -> None:
        self._latest = (len(self._done), {key: part.kept() for key, part in self._parts.items()})

    def _write(self, covers: list[str] | None = None) -> None:
        began = time.monotonic()
        count, parts = self._latest
        for part in self._parts.values():
            part.sync()
        content = {"done": self._done[:count], "parts": parts, "covers": covers or []}
        with replacing(self._path) as temporary:
            torch.save(content, temporary)
        self._written = count
        now = time.monotonic()
        self._due = now + max(self.seconds, (now - began) / _SHARE)

    @property
    def _path(self) -> Path:
        return self.folder / f"{place().rank}.state"

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob("*.state"))

    def _clean(self) -> None:
        """Remove files that cannot be read, and those that others have taken over."""
        gone: list[str] = []
        for path in self._files():
            try:
                gone += read_weights(path)["covers"]
            except WeightsError:
                gone.append(path.name)
        self._remove(gone)

    def _remove(self, names: list[str]) -> None:
        for name in names:
            (self.folder / name).unlink(missing_ok=True)
