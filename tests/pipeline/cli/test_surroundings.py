"""Faults of the machine end a command in one sentence with exit code 1."""

import errno
import os
import signal
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from learned_saliency.errors import SurroundingsError
from learned_saliency.pipeline.cli import UserError, surroundings_error
from learned_saliency.pipeline.cli.entry import run_or_exit


class Deadly(Dataset):
    """A data set whose reading kills the process that reads."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> int:
        os.kill(os.getpid(), signal.SIGKILL)


def full_disk(path: Path) -> None:
    with Path("/dev/full").open("w") as file:
        file.write("x")


def full_disk_while_cleaning_up(path: Path) -> None:
    try:
        full_disk(path)
    finally:
        raise KeyError("logger")


def read_only(path: Path) -> None:
    raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path / "metrics.csv"))


def largest_file(path: Path) -> None:
    raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))


def dead_worker(path: Path) -> None:
    list(DataLoader(Deadly(), num_workers=1))


def dead_renderer(path: Path) -> None:
    raise BrokenProcessPool("A process in the process pool was terminated abruptly")


def no_memory(path: Path) -> None:
    torch.empty(1 << 55, dtype=torch.uint8)


def wrapped(path: Path) -> None:
    raise RuntimeError("logger") from SurroundingsError("the disk is full")


@pytest.mark.parametrize(
    ("work", "words"),
    [
        (full_disk, ["the disk is full", "free some space"]),
        (full_disk_while_cleaning_up, ["the disk is full"]),
        (read_only, ["metrics.csv: the file system is read-only"]),
        (largest_file, ["ulimit -f"]),
        (dead_worker, ["that loads images was killed", "data.num_workers"]),
        (dead_renderer, ["that renders images was killed", "data.reader.workers"]),
        (no_memory, ["the memory is full", "data.batch_size"]),
        (wrapped, ["the disk is full"]),
    ],
)
def test_a_fault_of_the_machine_is_one_line_and_exit_code_1(work, words, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        run_or_exit("train.py", lambda: work(tmp_path))
    told = capsys.readouterr().err
    assert ended.value.code == 1
    assert told.startswith("train.py: ")
    assert told.count("\n") == 1
    assert all(word in told for word in words)


def test_it_is_told_by_the_process_that_it_befell(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(SystemExit):
        run_or_exit("train.py", lambda: full_disk(tmp_path))
    assert "the disk is full" in capsys.readouterr().err


@pytest.mark.parametrize(
    "error", [KeyError("x"), FileNotFoundError(errno.ENOENT, "no"), RuntimeError("shapes differ")]
)
def test_a_defect_is_none_of_the_machines_faults(error):
    assert surroundings_error(error) is None

    def work():
        raise error

    with pytest.raises(type(error)):
        run_or_exit("train.py", work)


def test_what_the_user_typed_keeps_exit_code_2_also_where_the_system_refused(capsys):
    def work():
        raise UserError("output_dir=/x: cannot be written.") from PermissionError(errno.EACCES, "x")

    with pytest.raises(SystemExit) as ended:
        run_or_exit("train.py", work)
    assert ended.value.code == 2
