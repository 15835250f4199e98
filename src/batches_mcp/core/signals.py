"""Being asked to stop by SIGINT and SIGTERM: by the first to end in order, by the second at once."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

import anyio


async def watch_signals(received: list[int], stop: Callable[[], object]) -> None:
    """At the first SIGINT or SIGTERM, note it and call `stop`; at the second, end the process at once."""
    try:
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async for number in signals:
                if received:
                    leave(128 + number)
                received.append(number)
                stop()
    except NotImplementedError:
        # Windows: the event loop has no signal handlers. Ctrl-C raises KeyboardInterrupt, TerminateProcess ends all.
        await anyio.sleep_forever()


def leave(code: int) -> NoReturn:
    """End the process now, with everything logged written out."""
    logging.shutdown()
    sys.stderr.flush()
    os._exit(code)
