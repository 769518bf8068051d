"""Files of stored classifiers, which the checkpoints beside them name by their content."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from learned_saliency.errors import MendableError
from learned_saliency.storage import sha256, sync, write_weights
from learned_saliency.trainers.strategies import gathered, place

Snapshot = dict[str, Tensor]

SNAPSHOTS = "snapshots"  # key of the pool in a checkpoint
FILES = "files"  # key of the names of its files there
_NAME = re.compile(r"[0-9a-f]{64}\.safetensors")
_UNFINISHED = "unfinished.tmp"
_REMEDY = "copy the run's whole folder again, its pool included, or start a new run"


class SnapshotError(MendableError, ValueError):
    """A stored classifier that a training needs is not there or damaged; the message names it."""


class SnapshotFiles:
    """Folder of snapshots, each a safetensors file named by the SHA-256 of its content.

    A file never changes: it is written once, by the first process, appears when it is whole, and is
    removed when no checkpoint beside the folder names it any more. What a kill leaves behind is
    used or removed by the run that goes on.

    Args:
        folder: The folder, made when a snapshot is written. It lies beside the checkpoints.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._unsynced: set[str] = set()

    def add(self, snapshot: Mapping[str, Tensor]) -> str:
        """Write a snapshot, unless it is there; all processes have to call this.

        Args:
            snapshot: Tensors by name, equal on all processes; strides are not kept.

        Returns:
            Name of the file.

        Raises:
            OSError: If it cannot be written; nothing is left of it.
        """
        name = self._write(snapshot) if place().rank == 0 else ""
        return gathered(name)[0]

    def _write(self, snapshot: Mapping[str, Tensor]) -> str:
        # copies have no memory in common, as the weights of a network may have
        plain = {k: torch.empty(v.shape, dtype=v.dtype).copy_(v) for k, v in snapshot.items()}
        self.folder.mkdir(parents=True, exist_ok=True)
        unfinished = self.folder / _UNFINISHED
        try:
            write_weights(unfinished, plain)
            path = self.folder / f"{sha256(unfinished)}.safetensors"
            if self.is_whole(path.name):  # taken again after a kill, or by a classifier at rest
                unfinished.unlink()
            else:
                unfinished.replace(path)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise
        self._unsynced.add(path.name)
        return path.name

    def sync(self, names: Collection[str]) -> None:
        """Wait until files are on the disk, before a checkpoint names them."""
        new = self._unsynced & set(names)
        for name in sorted(new):
            sync(self.folder / name)
        if new:
            sync(self.folder)
            sync(self.folder.parent)
        self._unsynced.clear()

    def holds(self, name: str) -> bool:
        """Tell whether this process sees a file."""
        return (self.folder / name).is_file()

    def is_whole(self, name: str) -> bool:
        """Tell whether a file is there, with the content that its name says."""
        path = self.folder / name
        return path.is_file() and sha256(path) == path.stem

    def check(self, names: Iterable[str]) -> None:
        """Check that files are there.

        Raises:
            SnapshotError: If one is not, or a name is none of a snapshot.
        """
        for name in names:
            if not isinstance(name, str) or not _NAME.fullmatch(name):
                raise SnapshotError(
                    f"{self.folder}: the checkpoint names '{name}', which is no snapshot; it is "
                    "damaged."
                )
            if not self.holds(name):
                raise SnapshotError(
                    f"{self.folder / name}: this snapshot of the classifier is missing, without "
                    f"which the training cannot go on; {_REMEDY}."
                )

    def verify(self, names: Collection[str], like: Mapping[str, Tensor]) -> None:
        """Check that files are there, with the content that their names say.

        Args:
            names: Names of the files.
            like: Tensors whose names and shapes those of the files have to have.

        Raises:
            SnapshotError: If one is missing, damaged or of another network.
        """
        self.check(names)
        shapes = {name: list(tensor.shape) for name, tensor in like.items()}
        for name in sorted(set(names)):
            if not self.is_whole(name):
                raise self._damaged(name)
            with safe_open(self.folder / name, framework="pt") as file:
                found = {key: file.get_slice(key).get_shape() for key in file.keys()}  # noqa: SIM118
            if found != shapes:
                raise SnapshotError(
                    f"{self.folder / name}: is of another network than the run's classifier; "
                    f"{_REMEDY}."
                )

    def read(self, name: str, into: Snapshot) -> None:
        """Read a snapshot into tensors, in their strides and number formats.

        Raises:
            SnapshotError: If the file is missing or damaged.
        """
        self.check([name])
        try:
            # not mapped: a file that is cut meanwhile would end the process
            with safe_open(self.folder / name, framework="pt", backend="pread") as file:
                for key, tensor in into.items():
                    tensor.copy_(file.get_tensor(key))
        except SafetensorError:
            raise self._damaged(name) from None

    def _damaged(self, name: str) -> SnapshotError:
        return SnapshotError(
            f"{self.folder / name}: damaged, its SHA-256 is not its name; {_REMEDY}."
        )

    def prune(self, names: Collection[str]) -> None:
        """Remove the files that are neither in ``names`` nor named by a checkpoint beside them.

        Nothing is removed as long as a checkpoint cannot be opened.
        """
        unused = self._found() - set(names)
        for path in sorted(self.folder.parent.glob("*.ckpt*")):
            if not unused:
                return
            if path.suffix != ".tmp":
                try:
                    unused -= _named_by(path)
                except OSError:
                    return
        for name in sorted(unused):
            self._remove(name)

    def _found(self) -> set[str]:
        if not self.folder.is_dir():
            return set()
        names = {path.name for path in self.folder.iterdir()}
        return {name for name in names if _NAME.fullmatch(name) or name == _UNFINISHED}

    def _remove(self, name: str) -> None:
        (self.folder / name).unlink(missing_ok=True)


def _named_by(path: Path) -> set[str]:
    """Find the names of snapshots in a checkpoint, without unpickling it.

    Returns:
        The names; none where the file is no checkpoint of a training with a pool.

    Raises:
        OSError: If it cannot be opened.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            records = [n for n in archive.namelist() if n.endswith("/data.pkl")]
            content = b"".join(archive.read(record) for record in records)
    except zipfile.BadZipFile:
        return set()
    return set(_NAME.findall(content.decode("latin-1")))
