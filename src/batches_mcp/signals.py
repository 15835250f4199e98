"""Being told to stop: SIGINT and SIGTERM end what is awaited, and the process once it has tidied up."""

from __future__ import annotations

import logging
import os
import signal
import sys
from typing import NoReturn

import anyio


async def watch_signals(received: list[int], scope: anyio.CancelScope) -> None:
    """At the first SIGINT or SIGTERM, note it and cancel `scope`."""
    try:
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async for number in signals:
                received.append(number)
                scope.cancel()
                return
    except NotImplementedError:
        # Windows: the event loop has no signal handlers. Ctrl-C raises KeyboardInterrupt, TerminateProcess ends all.
        await anyio.sleep_forever()


def leave(code: int) -> NoReturn:
    """End the process now, with everything logged written out."""
    logging.shutdown()
    sys.stderr.flush()
    os._exit(code)
