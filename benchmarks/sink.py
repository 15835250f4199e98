"""An upstream that takes uploads as fast as they come and answers each with a batch.

Run as a process of its own; it prints its port, and ends when its standard input does.
"""

from __future__ import annotations

import re
import socket
import sys
import threading

from benchmarks.stub import ANSWER

_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


def _take(connection: socket.socket) -> None:
    with connection:
        head = b""
        while b"\r\n\r\n" not in head:
            chunk = connection.recv(1 << 16)
            if not chunk:
                return
            head += chunk
        length = _LENGTH.search(head)
        left = int(length[1]) - len(head.partition(b"\r\n\r\n")[2]) if length else 0
        unread = bytearray(1 << 20)
        while left > 0:
            taken = connection.recv_into(unread)
            if not taken:
                return
            left -= taken
        connection.sendall(ANSWER)


def _main() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        threading.Thread(target=_accept, args=(listener,), daemon=True).start()
        sys.stdin.read()


def _accept(listener: socket.socket) -> None:
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=_take, args=(connection,), daemon=True).start()


if __name__ == "__main__":
    _main()
