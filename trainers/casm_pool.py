"""Pool of stored classifiers of a running training, as CASM thins it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from learned_saliency.trainers.casm_files import FILES, Snapshot, SnapshotError, SnapshotFiles
from learned_saliency.trainers.strategies import gathered


class StoredSnapshot(NamedTuple):
    """A snapshot of a pool.

    Attributes:
        born: Iteration before which it was taken.
        name: Name of its file; None in a pool without files.
        tensors: Its tensors by name; None where they are read from the file when it is drawn.
    """

    born: int
    name: str | None
    tensors: Snapshot | None


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

    By itself a pool has its snapshots in memory, and in each checkpoint. After `keep_in` each is a
    file from the moment when it is taken; a checkpoint holds its name alone, and memory one
    snapshot, the drawn one.

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
            lie in files or in the host's memory, where 30 snapshots of a ResNet-50 take 3 GB, and a
            drawn snapshot is copied to the device.
        dtype: ``"bfloat16"`` to store all floating-point numbers rounded to 8 significant bits, in
            half the room of float32; None to store them as they are. A drawn snapshot has the
            classifier's number formats.

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
        dtype: str | None = None,
    ) -> None:
        found = re.fullmatch(r"F|L|FL|L([1-9]\d*)", str(thinning))
        if found is None:
            raise ValueError(f"thinning must be F, L, FL or L<iterations>, got {thinning!r}")
        if size < 1 or not 0 <= current_probability <= 1 or seed < 0:
            raise ValueError(
                "expected size of 1 or more, current_probability in [0, 1] and seed of 0 or more,"
                f" got {size}, {current_probability} and {seed}"
            )
        if dtype not in (None, "bfloat16"):
            raise ValueError(f"dtype must be bfloat16 or None, got {dtype!r}")
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
        self.dtype = None if dtype is None else torch.bfloat16
        self.iteration = 0
        self._stored: list[StoredSnapshot] = []
        self._files: SnapshotFiles | None = None
        self._like: Snapshot = {}  # a classifier's tensors, without memory
        self._read: tuple[str, Snapshot] = ("", {})  # name and tensors of the file read last

    def __len__(self) -> int:
        """Return the number of snapshots."""
        return len(self._stored)

    @property
    def born(self) -> list[int]:
        """Iterations before which the snapshots were taken."""
        return [stored.born for stored in self._stored]

    @property
    def names(self) -> list[str]:
        """Names of the snapshots' files; empty in a pool without files."""
        return [stored.name for stored in self._stored if stored.name is not None]

    def keep_in(self, folder: Path) -> None:
        """Keep snapshots as files, which checkpoints beside ``folder`` name; see `open`."""
        self._files = SnapshotFiles(folder)

    def open(self, like: Mapping[str, Tensor], device: torch.device | None = None) -> None:
        """Get ready for a training; all processes have to call this.

        Args:
            like: Tensors of the classifier by name, whose strides and number formats the drawn
                snapshots get.
            device: Device of the classifier.

        Raises:
            SnapshotError: If the file of a snapshot that a checkpoint names is missing or damaged,
                or nobody has said where it is.
        """
        self._like = _laid_out(like)
        if self._files is not None:  # the first process has made the folder of the run
            self._files = SnapshotFiles(gathered(self._files.folder)[0])
        named = [s.name for s in self._stored if s.tensors is None]
        if named and self._files is None:
            raise SnapshotError(
                "the snapshots of the classifier are files beside the checkpoint: call "
                "keep_files(FOLDER) of the module before it is trained, with the checkpoint's "
                "folder."
            )
        if named:
            self._files.verify(named, self._like)
        self._stored = [self._opened(stored, device) for stored in self._stored]

    def _opened(self, stored: StoredSnapshot, device: torch.device | None) -> StoredSnapshot:
        """Give a snapshot that was loaded its file, and its memory on the device."""
        name, tensors = stored.name, stored.tensors
        if name is None and self._files is not None:
            name = self._files.add(tensors)
        if self.on_device:
            tensors = self._tensors(stored, device)
            tensors = {
                k: self._cast(v).to(device or v.device, copy=True) for k, v in tensors.items()
            }
        elif name is not None and self._files.holds(name):
            tensors = None
        return StoredSnapshot(stored.born, name, tensors)

    def is_due(self) -> bool:
        """Return whether a snapshot has to be taken before this iteration."""
        if self.period is not None:
            return self.iteration % self.period == 0
        return self.keeps_first and not self._stored

    def take(self, state: Mapping[str, Tensor]) -> None:
        """Store a copy of a classifier's parameters and buffers; in a full pool, replace one.

        In a pool with files all processes have to call this, of which the first writes the file.

        Args:
            state: Tensors by name, as ``state_dict`` gives them.

        Raises:
            OSError: If the file cannot be written.
        """
        if not self._like:
            self._like = _laid_out(state)
        cast = {name: self._cast(tensor.detach()) for name, tensor in state.items()}
        name = None if self._files is None else self._files.add(cast)
        # processes on other machines may not see the file
        seen = name is not None and self._files.holds(name)
        kept = self.on_device or not seen
        copy = {k: self._copied(tensor) for k, tensor in cast.items()} if kept else None
        taken = StoredSnapshot(self.iteration, name, copy)
        if len(self._stored) < self.size:
            self._stored.append(taken)
        else:
            self._stored[int(self._generator("place").integers(self.size))] = taken

    def draw(self, device: torch.device | None = None) -> Snapshot | None:
        """Draw the classifier of this iteration and count the iteration.

        Args:
            device: Device for the snapshot's tensors; by default they stay on theirs.

        Returns:
            A snapshot, to be left as it is and valid until the next draw, or None for the current
            classifier.

        Raises:
            SnapshotError: If its file is missing or damaged.
        """
        index = self._draw_index()
        self.iteration += 1
        if index is None:
            return None
        snapshot = self._tensors(self._stored[index], device)
        return {
            name: tensor.to(device or tensor.device, self._like[name].dtype, non_blocking=True)
            for name, tensor in snapshot.items()
        }

    def _draw_index(self) -> int | None:
        generator = self._generator("draw")
        if not self._stored or generator.random() < self.current_probability:
            return None
        return int(generator.integers(len(self._stored)))

    def _generator(self, purpose: str) -> np.random.Generator:
        """Seed a generator for one purpose in this iteration."""
        key = ("draw", "place").index(purpose)
        return np.random.default_rng(np.random.SeedSequence((self.seed, self.iteration, key)))

    def _tensors(self, stored: StoredSnapshot, device: torch.device | None) -> Snapshot:
        """Return a snapshot from memory, or read it into the memory of the one read before."""
        if stored.tensors is not None:
            return stored.tensors
        name, tensors = self._read
        if name != stored.name:
            # a GPU may still copy from pinned memory, which torch gives out again when it is done
            pinned = device is not None and device.type == "cuda"
            if pinned or not tensors:
                tensors = {
                    k: torch.empty_like(v, device="cpu", pin_memory=pinned)
                    for k, v in self._like.items()
                }
            self._read = ("", tensors)
            self._files.read(stored.name, tensors)
            self._read = (stored.name, tensors)
        return tensors

    def _cast(self, tensor: Tensor) -> Tensor:
        return tensor.to(self.dtype) if self.dtype and tensor.is_floating_point() else tensor

    def _copied(self, tensor: Tensor) -> Tensor:
        if self.on_device or tensor.device.type == "cpu":
            return tensor.clone()
        host = torch.empty_like(tensor, device="cpu", pin_memory=tensor.is_cuda)
        return host.copy_(tensor)

    def state_dict(self) -> dict[str, Any]:
        """Return plain values and tensors from which `load_state_dict` restores the pool.

        Files that they name are on the disk then.
        """
        state = {"iteration": self.iteration, "born": self.born}
        if self._files is None:
            return state | {"snapshots": [dict(stored.tensors) for stored in self._stored]}
        self._files.sync(self.names)
        return state | {FILES: self.names}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore a `state_dict`, on the CPU and with unread files; `open` makes it ready."""
        self.iteration = int(state["iteration"])
        if FILES in state:
            pairs = zip(state["born"], state[FILES], strict=True)
            self._stored = [StoredSnapshot(born, name, None) for born, name in pairs]
        else:
            pairs = zip(state["born"], state["snapshots"], strict=True)
            self._stored = [StoredSnapshot(born, None, dict(tensors)) for born, tensors in pairs]
            self._like = _laid_out(state["snapshots"][0]) if state["snapshots"] else {}
        self._read = ("", {})

    def drop_unused(self) -> None:
        """Remove the files that neither the pool nor a checkpoint beside their folder names."""
        if self._files is not None:
            self._files.prune(self.names)


def _laid_out(tensors: Mapping[str, Tensor]) -> Snapshot:
    """Return tensors of the same shapes, strides and number formats without memory."""
    return {name: torch.empty_like(tensor, device="meta") for name, tensor in tensors.items()}
