"""A way to a server that can be cut: connections break, and new ones are refused until it is mended.

It can also hold what has certain bytes in it, as a server does that does not answer.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field


@dataclass
class Cable:
    """From a port of this machine to a server: the path of its socket, or its port here."""

    target: str | int
    port: int = 0
    _whole: threading.Event = field(default_factory=threading.Event)
    _open: set[socket.socket] = field(default_factory=set)
    _held: bytes | None = None
    _holding: threading.Event = field(default_factory=threading.Event)
    _released: threading.Event = field(default_factory=threading.Event)

    def cut(self) -> None:
        self._whole.clear()
        for each in list(self._open):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        self._whole.set()

    @contextmanager
    def holding(self, words: bytes) -> Iterator[threading.Event]:
        """Hold what has these words in it, until the end of the block; the event is set once there was any."""
        self._held = words
        try:
            yield self._holding
        finally:
            self._released.set()

    def serve(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            if not self._whole.is_set():
                near.close()
                continue
            try:
                far = self._connected()
            except OSError:
                near.close()
                continue
            self._open |= {near, far}
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._carry, args=(source, sink), daemon=True).start()

    def _connected(self) -> socket.socket:
        if isinstance(self.target, int):
            return socket.create_connection(("127.0.0.1", self.target))
        far = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        far.connect(self.target)
        return far

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while piece := source.recv(1 << 16):
                if self._held is not None and self._held in piece:
                    self._holding.set()
                    self._released.wait()
                sink.sendall(piece)
        for each in (source, sink):
            self._open.discard(each)
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


def cable_to(host: str) -> AbstractContextManager[Cable]:
    """A cable to the PostgreSQL server whose socket is in that folder."""
    return laid(f"{host}/.s.PGSQL.5432")


@contextmanager
def laid(target: str | int) -> Iterator[Cable]:
    """A cable to a server, as long as the block lasts."""
    cable = Cable(target)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        cable.port = listener.getsockname()[1]
        cable.mend()
        threading.Thread(target=cable.serve, args=(listener,), daemon=True).start()
        try:
            yield cable
        finally:
            cable.cut()
            listener.shutdown(socket.SHUT_RDWR)
