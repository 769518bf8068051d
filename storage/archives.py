"""Checks of a file of weights before any weight is read: what it is, and whether it is whole."""

from __future__ import annotations

import os
import stat
import zipfile
from pathlib import Path
from typing import BinaryIO

_ZIP = b"PK"  # how files of torch.save begin since torch 1.6
_POINTER = b"version https://git-lfs"  # what a clone has in a file's place without Git LFS
_CHUNK = 2**20
_END = 22  # bytes at the end of a zip archive without a comment
_ENDS = _END + 20 + 56  # with those for directories of 64 bits
_PROGRAM = "constants.pkl"  # by which torch tells a program of TorchScript
_DIRECTORY = 0x10  # the attribute of a folder; torch reads such an entry as zeros


def check_directory(file: BinaryIO, most: int) -> None:
    """Check that the directory of a zip archive, which is read as a whole, is not too large.

    Args:
        file: The archive.
        most: Largest number of bytes.

    Raises:
        ValueError: If it is larger, or there is none at the end of the file.
    """
    length = file.seek(0, os.SEEK_END)
    file.seek(max(0, length - _ENDS))
    end = file.read(_ENDS)
    if end[-_END:-18] != b"PK\x05\x06":
        raise ValueError("no zip archive, or one with a comment")
    size = int.from_bytes(end[-10:-6], "little")
    if end[-_END - 20 : -_END - 16] == b"PK\x06\x07":
        size = int.from_bytes(end[-_END - 36 : -_END - 28], "little")
    if size > most:
        raise ValueError(f"a directory of {size} bytes, where {most} are enough")
    file.seek(0)


def find_fault(path: Path) -> str:
    """Find out why a file cannot be read as weights, without reading any weight.

    A file of torch.save is a zip archive with a checksum of each entry, which torch itself does not
    look at when it loads; they are compared here, at several GB per second. Older files of
    torch.save, and files written with ``torch.serialization.set_crc32_options(False)``, have none.

    Args:
        path: Path of the file.

    Returns:
        The end of a sentence that begins with the file's name; empty where no fault was found.
    """
    try:
        kind = os.stat(path).st_mode
        if stat.S_ISDIR(kind):
            return "is a folder, not a file"
        if not stat.S_ISREG(kind):
            return "is no regular file"
        with path.open("rb") as file:
            start = file.read(len(_POINTER))
        if not start:
            return "is empty"
        if start == _POINTER:
            return "is a pointer of Git LFS, not the file itself; fetch it by `git lfs pull`"
        return _archive_fault(path) if start.startswith(_ZIP) else ""
    except FileNotFoundError:
        return "there is no such file"
    except OSError as error:
        return f"cannot be read ({error.strerror})"


def _archive_fault(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if any(Path(entry.filename).name == _PROGRAM for entry in entries):
                return "a program of TorchScript, not weights; save the model's state dict instead"
            if sum(entry.file_size for entry in entries) > path.stat().st_size:
                return "not loaded, it would unpack to more than its own size"
            if not any(entry.CRC for entry in entries):
                return ""  # written without checksums
            for entry in entries:
                if entry.external_attr & _DIRECTORY:
                    return f"damaged ({entry.filename} is marked as a folder)"
                with archive.open(entry) as content:
                    while content.read(_CHUNK):
                        pass  # compares the checksum at the end
    except OSError:
        raise
    except Exception as error:  # a damaged archive may raise anything in the reader
        if "File is not a zip file" in str(error):
            return "truncated (the end of the archive is missing)"
        return "damaged (its content does not fit its checksums)"
    return ""
