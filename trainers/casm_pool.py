"""Pool of stored classifiers of a running training, as CASM thins it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

Snapshot = dict[str, Tensor]


class SnapshotPool:
    """A thinned sample of the classifiers that a training went through (Zolna et al., Sec. 2.3).

    ``thinning`` says which classifiers are kept besides the current one:

    - ``F``: only the first. The current classifier has to stay the first, so `trains` is False:
      the paper's classifier-dependent baseline. With ``networks`` beside it these are the family,
      which stays as it is, too.
    - ``L``: none, only the last, current classifier is used.
    - ``FL``: the first, as it was when the training began.
    - ``L100``, ``L1000`` or any ``L<n>``: one every n iterations, from the first iteration on. When
      the pool is full, the new snapshot replaces a random one.

    A draw depends on the seed and the number of the iteration alone, so that all processes draw
    the same, and a resumed training draws the same as an uninterrupted one.

    Args:
        thinning: See above.
        size: Most snapshots, at least 1; 30 in the paper.
        current_probability: Probability of drawing the current classifier, in [0, 1]; 0.5 in the
            paper. The snapshots share the rest evenly.
        seed: Seed of the draws, 0 or more.
        networks: Files of weights of further classifiers of the same architecture, with thinning
            ``F`` alone. The pool names them; who trains reads and `take`s them, once: later they
            are part of its state.
        on_device: Whether snapshots stay in the memory of the classifier's device. Otherwise they
            lie in the host's memory, where 30 snapshots of a ResNet-50 take 3 GB, and a drawn
            snapshot is copied to the device.

    Raises:
        ValueError: If an argument is out of range.
    """

    def __init__(
        self,
        thinning: str,
        size: int = 30,
        current_probability: float = 0.5,
        seed: int = 0,
        on_device: bool = False,
        networks: Sequence[str] | None = None,
    ) -> None:
        found = re.fullmatch(r"F|L|FL|L([1-9]\d*)", str(thinning))
        if found is None:
            raise ValueError(f"thinning must be F, L, FL or L<iterations>, got {thinning!r}")
        if size < 1 or not 0 <= current_probability <= 1 or seed < 0:
            raise ValueError(
                "expected size of 1 or more, current_probability in [0, 1] and seed of 0 or more,"
                f" got {size}, {current_probability} and {seed}"
            )
        self.networks = list(networks or ())
        self.trains = thinning != "F"
        if self.networks and self.trains:
            raise ValueError(f"networks stay as they are, with thinning F, got {thinning}")
        if len(self.networks) > size:
            raise ValueError(f"expected at most size={size} networks, got {len(self.networks)}")
        self.period = int(found[1]) if found[1] else None
        self.keeps_first = thinning == "FL"
        self.size = size
        self.current_probability = current_probability
        self.seed = seed
        self.on_device = on_device
        self.iteration = 0
        self._snapshots: list[Snapshot] = []
        self._born: list[int] = []

    def __len__(self) -> int:
        """Return the number of snapshots."""
        return len(self._snapshots)

    @property
    def born(self) -> list[int]:
        """Iterations before which the snapshots were taken."""
        return list(self._born)

    def is_due(self) -> bool:
        """Return whether a snapshot has to be taken before this iteration."""
        if self.period is not None:
            return self.iteration % self.period == 0
        return self.keeps_first and not self._snapshots

    def take(self, state: Mapping[str, Tensor]) -> None:
        """Store a copy of a classifier's parameters and buffers; in a full pool, replace one.

        Args:
            state: Tensors by name, as ``state_dict`` gives them.
        """
        copy = {name: self._store(tensor) for name, tensor in state.items()}
        if len(self._snapshots) < self.size:
            self._snapshots.append(copy)
            self._born.append(self.iteration)
        else:
            place = int(self._generator("place").integers(self.size))
            self._snapshots[place], self._born[place] = copy, self.iteration

    def draw(self, device: torch.device | None = None) -> Snapshot | None:
        """Draw the classifier of this iteration and count the iteration.

        Args:
            device: Device for the snapshot's tensors; by default they stay on theirs.

        Returns:
            A snapshot, to be left as it is, or None for the current classifier.
        """
        index = self._draw_index()
        self.iteration += 1
        if index is None:
            return None
        snapshot = self._snapshots[index]
        return {k: v.to(device or v.device, non_blocking=True) for k, v in snapshot.items()}

    def _draw_index(self) -> int | None:
        generator = self._generator("draw")
        if not self._snapshots or generator.random() < self.current_probability:
            return None
        return int(generator.integers(len(self._snapshots)))

    def _generator(self, purpose: str) -> np.random.Generator:
        """Seed a generator for one purpose in this iteration."""
        key = ("draw", "place").index(purpose)
        return np.random.default_rng(np.random.SeedSequence((self.seed, self.iteration, key)))

    def _store(self, tensor: Tensor) -> Tensor:
        if self.on_device or tensor.device.type == "cpu":
            return tensor.detach().clone()
        host = torch.empty_like(tensor, device="cpu", pin_memory=tensor.is_cuda)
        return host.copy_(tensor.detach())

    def state_dict(self) -> dict[str, Any]:
        """Return plain values and tensors from which `load_state_dict` restores the pool."""
        return {
            "iteration": self.iteration,
            "born": list(self._born),
            "snapshots": [dict(snapshot) for snapshot in self._snapshots],
        }

    def load_state_dict(self, state: Mapping[str, Any], device: torch.device | None = None) -> None:
        """Restore a `state_dict`; with ``on_device`` the snapshots go to ``device``."""
        self.iteration = int(state["iteration"])
        self._born = list(state["born"])
        place = device if self.on_device else None
        self._snapshots = [
            {name: tensor.to(place or tensor.device) for name, tensor in snapshot.items()}
            for snapshot in state["snapshots"]
        ]
