"""A way to a database that can be cut: connections break, and new ones are refused until it is mended."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field


@dataclass
class Cable:
    """From a port of this machine to a PostgreSQL server's socket."""

    target: str
    port: int = 0
    _whole: threading.Event = field(default_factory=threading.Event)
    _open: set[socket.socket] = field(default_factory=set)

    def cut(self) -> None:
        self._whole.clear()
        for each in list(self._open):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        self._whole.set()

    def serve(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            if not self._whole.is_set():
                near.close()
                continue
            far = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            far.connect(self.target)
            self._open |= {near, far}
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._carry, args=(source, sink), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while piece := source.recv(1 << 16):
                sink.sendall(piece)
        for each in (source, sink):
            self._open.discard(each)
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


@contextmanager
def cable_to(host: str) -> Iterator[Cable]:
    """A cable to the server whose socket is in that folder."""
    cable = Cable(f"{host}/.s.PGSQL.5432")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        cable.port = listener.getsockname()[1]
        cable.mend()
        threading.Thread(target=cable.serve, args=(listener,), daemon=True).start()
        try:
            yield cable
        finally:
            cable.cut()
            listener.shutdown(socket.SHUT_RDWR)
