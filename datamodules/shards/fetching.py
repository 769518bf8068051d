"""Shards at an address: fetched as a whole into the cache when they are needed."""

from __future__ import annotations

import hashlib
import http.client
import logging
import os
import re
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import suppress
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock

from learned_saliency.datamodules.shards.store import kept_folder
from learned_saliency.datamodules.textfile import DataError

_LOGGER = logging.getLogger(__name__)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")
_ATTEMPTS, _PAUSE = 4, 1.0  # the pause in seconds doubles with each attempt
_TIMEOUT = 60.0  # seconds without an answer
_CHUNK = 1 << 20


def is_address(name: object) -> bool:
    """Tell whether a word is the address of a web server.

    Raises:
        DataError: If it is another kind of address: one that would start a program, or one that is
            not read.
    """
    word = str(name)
    if word.startswith(("https://", "http://")):
        return True
    if (found := _SCHEME.match(word)) and not os.path.lexists(word):
        raise DataError(
            f"{word}: shards are read from disk and from https:// or http://, not by {found[0]}; "
            "fetch them first."
        )
    return False


class Remote(NamedTuple):
    """Shards below an address, and the folder of the cache into which they are fetched.

    Attributes:
        address: The address that names of shards are relative to.
        allowed: Whether shards may be fetched. Otherwise those in the cache alone are read.
        most_bytes: Largest size of all fetched shards together; those that were used longest ago go
            first.
    """

    address: str
    allowed: bool = True
    most_bytes: int = 100 * 10**9

    @property
    def folder(self) -> Path:
        """Folder of the fetched shards of this address."""
        digest = hashlib.sha256(self.address.rstrip("/").encode()).hexdigest()[:16]
        return kept_folder("shards") / digest

    def locate(self, name: str) -> Path:
        """Return the file of a shard, fetched if it is not there.

        Args:
            name: Its name, relative to the address.

        Raises:
            DataError: If it cannot be fetched, or may not.
        """
        path = self.folder / name
        if not path.resolve().is_relative_to(self.folder.resolve()):
            raise DataError(f"{name}: leads out of {self.address}; correct it.")
        if _touched(path):
            return path
        place = f"{self.address.rstrip('/')}/{urllib.parse.quote(name)}"
        if not self.allowed:
            raise DataError(
                f"{place}: is not fetched for a checkpoint that names it; say data.root="
                f"{self.address} yourself."
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f".{path.name}.lock")):
            if not _touched(path):  # another process was faster
                _fetch(place, path, self)
        return path

    def make_room(self, wanted: int) -> None:
        """Remove shards that were used longest ago, until so many bytes fit in."""
        files = []
        for file in kept_folder("shards").rglob("*.tar"):
            with suppress(FileNotFoundError):
                files.append((file.stat(), file))
        total = sum(state.st_size for state, _ in files)
        for state, file in sorted(files, key=lambda found: found[0].st_atime_ns):
            if total + wanted <= self.most_bytes:
                return
            file.unlink(missing_ok=True)  # who has it open goes on reading
            total -= state.st_size


def _touched(path: Path) -> bool:
    """Note that a shard is used now; tell whether it is there. Its time of change stays."""
    try:
        os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))
    except FileNotFoundError:
        return False
    except OSError:  # the cache of someone else
        pass
    return True


def _fetch(address: str, path: Path, remote: Remote) -> None:
    """Fetch a file; an interruption leaves nothing, and failures are tried again."""
    _LOGGER.info("fetching %s", address)
    reason = ""
    for attempt in range(_ATTEMPTS):
        if attempt:
            time.sleep(_PAUSE * 2 ** (attempt - 1))
        temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.tmp")
        try:
            changed = _download(address, temporary, remote)
            os.utime(temporary, ns=(time.time_ns(), changed))
            temporary.replace(path)
            return
        except urllib.error.HTTPError as error:
            reason = f"{error.code} {error.reason}"
            if error.code < 500 and error.code not in (408, 429):
                break
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = str(getattr(error, "reason", None) or error) or type(error).__name__
        finally:
            temporary.unlink(missing_ok=True)
    raise DataError(f"{address}: cannot be fetched ({reason}); see whether it can be reached.")


def _download(address: str, path: Path, remote: Remote) -> int:
    """Write what an address holds to a file; return when it was changed, in ns, or 0."""
    opener = urllib.request.build_opener(_WebOnly)
    with opener.open(address, timeout=_TIMEOUT) as answer:
        told = answer.headers.get("Content-Length")
        if told is not None:
            remote.make_room(int(told))
        with path.open("wb") as file:
            length = sum(file.write(chunk) for chunk in _chunks(answer))
            file.flush()
            os.fsync(file.fileno())
        if told is None:
            remote.make_room(length)
        elif length != int(told):
            raise ValueError(f"{length} of {told} bytes came")
        with suppress(TypeError, ValueError):
            return int(parsedate_to_datetime(answer.headers["Last-Modified"]).timestamp() * 1e9)
    return 0


def _chunks(answer: http.client.HTTPResponse) -> Iterator[bytes]:
    while chunk := answer.read(_CHUNK):
        yield chunk


class _WebOnly(urllib.request.HTTPRedirectHandler):
    """Follower of redirections that lead to web servers again, and nowhere else."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):  # noqa: ANN001, ANN202
        if not newurl.startswith(("https://", "http://")):
            raise ValueError(f"it leads to {newurl}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)
