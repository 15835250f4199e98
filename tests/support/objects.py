"""An S3 store for tests: moto's server, in a process of its own."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def object_server() -> Iterator[str]:
    """A running one without buckets; its URL."""
    with subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"], stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        try:
            found = next(match for line in process.stderr if (match := re.search(r"http://127\.0\.0\.1:\d+", line)))
            # It says a line for each request, and would wait for somebody to read them.
            threading.Thread(target=deque, args=(process.stderr, 0), daemon=True).start()
            yield found[0]
        finally:
            process.kill()
