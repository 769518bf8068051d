"""Counters of what a computation costs: operations, and memory of tensors."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry


class CountFlops(TorchDispatchMode):
    """Counter of the operations of products and convolutions, backward passes included.

    torch's own counter hooks the modules, which a gradient by an input of the head does not bear.

    Attributes:
        total: Floating-point operations so far.
    """

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run an operation and add its cost."""
        found = func(*args, **(kwargs or {}))
        cost = flop_registry.get(func._overloadpacket)
        if cost is not None:
            self.total += cost(*args, **(kwargs or {}), out_val=found)
        return found


class TensorMemory(TorchDispatchMode):
    """Meter of the memory of the tensors that are made within it, on any device.

    A tensor counts from the operation that makes it until nothing refers to its memory any more,
    autograd included; views count once, and what was there before does not count. What a kernel
    allocates for itself while it runs is not seen.

    Attributes:
        peak: Most bytes at a time so far.
    """

    def __init__(self) -> None:
        super().__init__()
        self.peak = 0
        self._now = 0
        self._alive: dict[int, weakref.ref[torch.UntypedStorage]] = {}

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run an operation and count the memory that is new."""
        found = func(*args, **(kwargs or {}))
        given = {_storage(each)._cdata for each in _tensors((args, kwargs))}
        for tensor in _tensors(found):
            storage = _storage(tensor)
            if storage._cdata not in given and storage._cdata not in self._alive:
                self._add(storage)
        return found

    def _add(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        self._alive[key] = weakref.ref(storage, partial(self._remove, key, size))
        self._now += size
        self.peak = max(self.peak, self._now)

    def _remove(self, key: int, size: int, reference: object) -> None:
        self._now -= size
        self._alive.pop(key, None)


def _tensors(values: Any) -> list[Tensor]:
    return [leaf for leaf in pytree.tree_leaves(values) if isinstance(leaf, Tensor)]


def _storage(tensor: Tensor) -> torch.UntypedStorage:
    return tensor.untyped_storage()
