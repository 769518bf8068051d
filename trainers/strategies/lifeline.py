"""Lifelines between processes that work together, so that one's end ends all within seconds."""

from __future__ import annotations

import json
import os
import secrets
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from learned_saliency.errors import OtherProcessEnded
from learned_saliency.trainers.strategies.processes import gathered, meet, place

_PATIENCE = 10.0  # seconds that a process has for its end, before it is ended by force
_NOTICE = 2.0  # seconds in which the news of another's end arrives
_INTERRUPT = signal.SIGURG  # ignored by default, and used by nobody else


class Lifeline:
    """Connections of all processes to the first one, over which an end is told.

    The system closes the connection of a process that ends, in whatever way, so that no heartbeat
    is needed. The first process tells the others. Each then interrupts its main thread by an
    `OtherProcessEnded`; one that waits in a library for an answer that will never come is ended by
    force after ten seconds.

    Attributes:
        ended: What is known of a process that has ended before its work was done; None at first.
    """

    def __init__(self) -> None:
        self.ended: OtherProcessEnded | None = None
        self._news = threading.Event()
        self._lock = threading.Lock()
        self._peers: dict[socket.socket, int] = {}  # rank of the process at the other end
        self._over = False

    def connect(self) -> None:
        """Connect this process; all processes of a group have to call this."""
        if place().world == 1 or self._peers:
            return
        self._over = False
        server = token = address = None
        if place().rank == 0:
            server, token = _listen(), secrets.token_hex(16)
            address = (os.environ.get("MASTER_ADDR", "127.0.0.1"), server.getsockname()[1], token)
        address = gathered(address)[0]
        with suppress(OSError):  # without a connection the communication library tells the end
            if server is None:
                self._peers[_call(*address)] = 0
            else:
                self._peers = _accept(server, token)
        meet()
        if threading.current_thread() is threading.main_thread():
            signal.signal(_INTERRUPT, self._interrupt)
        threading.Thread(target=self._listen, daemon=True, name="lifeline").start()

    def watch(self, children: Sequence[subprocess.Popen]) -> None:
        """Watch the processes that this one has started, also before they are connected."""
        self._over = False
        if threading.current_thread() is threading.main_thread():
            signal.signal(_INTERRUPT, self._interrupt)
        options = {"daemon": True, "name": "children", "args": (list(children),)}
        threading.Thread(target=self._watch, **options).start()

    def tell(self, message: str, code: int) -> None:
        """Tell the others, if there are any, that this process ends before its work is done."""
        self._over = True
        if not self._peers:
            return
        self._send({"rank": place().rank, "message": message, "code": code})
        self._end_by_force(code, "")

    def leave(self) -> None:
        """Tell the others that this process ends with its work done."""
        self._over = True
        self._send({"done": True})

    def behind(self, error: BaseException) -> OtherProcessEnded | None:
        """Return the end of another process that has caused an error of this one."""
        if self.ended is None and isinstance(error, RuntimeError):
            self._news.wait(_NOTICE)  # perhaps the communication library was faster
        return self.ended

    def _send(self, message: dict[str, Any], but: socket.socket | None = None) -> None:
        for peer in [peer for peer in self._peers if peer is not but]:
            with suppress(OSError):
                peer.sendall(json.dumps(message).encode() + b"\n")

    def _listen(self) -> None:
        """Wait for news of the peers; runs in a thread."""
        waiting, said = dict(self._peers), dict.fromkeys(self._peers, b"")
        while waiting:
            for peer in select.select(list(waiting), [], [])[0]:
                heard = b""
                with suppress(OSError):
                    heard = peer.recv(65536)
                said[peer] += heard
                if heard and not heard.endswith(b"\n"):
                    continue
                rank = waiting.pop(peer)
                news = json.loads(said[peer]) if said[peer].endswith(b"\n") else {"rank": rank}
                if not news.get("done"):
                    self._take(news, peer)

    def _take(self, news: dict[str, Any], source: socket.socket | None = None) -> None:
        """Pass the news of an end on, and end this process."""
        with self._lock:
            if self._over or self.ended is not None:
                return
            rank, message = news["rank"], news.get("message") or "ended without a word (killed?)"
            self.ended = OtherProcessEnded(f"process {rank}: {message}", news.get("code", 1))
        self._send({"rank": rank, "message": message, "code": self.ended.code}, source)
        self._news.set()
        signal.pthread_kill(threading.main_thread().ident, _INTERRUPT)
        self._end_by_force(self.ended.code, str(self.ended) if place().rank == 0 else "")

    def _interrupt(self, number: int, frame: Any) -> None:
        if self.ended is not None and not self._over:
            self._over = True
            raise self.ended

    def _watch(self, children: list[subprocess.Popen]) -> None:
        """Wait for children that end before their work is done; runs in a thread."""
        while not self._over:
            for rank, child in enumerate(children, start=1):
                code = child.poll()
                if code:
                    self._news.wait(_NOTICE / 2)  # perhaps the child has told its reason
                    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else "failed"
                    self._take({"rank": rank, "message": how, "code": code if code > 0 else 1})
                    return
            time.sleep(0.2)

    def _end_by_force(self, code: int, message: str) -> None:
        """End the process in a while, should it still be there."""

        def end() -> None:
            time.sleep(_PATIENCE)
            if message:
                print(message, file=sys.stderr, flush=True)
            os._exit(code)

        threading.Thread(target=end, daemon=True, name="end").start()


LIFELINE = Lifeline()  # the one of this process: later groups are those of the same processes


def _listen() -> socket.socket:
    """Open a port for the other processes, on this machine alone where all of them are on it."""
    here = os.environ.get("MASTER_ADDR", "127.0.0.1") in ("127.0.0.1", "localhost")
    server = socket.create_server(("127.0.0.1" if here else "", 0))
    server.settimeout(_PATIENCE)
    return server


def _call(host: str, port: int, token: str) -> socket.socket:
    """Connect to the first process."""
    connection = socket.create_connection((host, port), timeout=_PATIENCE)
    connection.sendall(json.dumps([token, place().rank]).encode() + b"\n")
    connection.settimeout(None)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    return connection


def _accept(server: socket.socket, token: str) -> dict[socket.socket, int]:
    """Take the calls of all other processes; those of anybody else are closed."""
    peers: dict[socket.socket, int] = {}
    with server:
        while len(peers) < place().world - 1:
            connection, _ = server.accept()
            connection.settimeout(_PATIENCE)
            with suppress(OSError, ValueError, TypeError):
                found, rank = json.loads(connection.makefile().readline())
                if secrets.compare_digest(found, token):
                    connection.settimeout(None)
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                    peers[connection] = rank
                    continue
            connection.close()
    return peers
