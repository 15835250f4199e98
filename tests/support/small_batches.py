"""Our program with batches of a few requests: a job of many parts is a small one then. The number comes first."""

from __future__ import annotations

import signal
import sys

from batches_mcp.cli import run
from batches_mcp.core.limits import Limits

if __name__ == "__main__":
    # Who starts the tests in the background has it ignored, and children inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # It looks for a lost batch as often, but not as long.
    limits = Limits(
        batch_requests=int(sys.argv.pop(1)),
        look_pauses_s=(0.0, 0.01, 0.02, 0.04, 0.08, 0.15),
        ask_again_s=0.1,
        job_pause_s=0.1,
        watch_s=0.05,
    )
    sys.exit(run(limits=limits))
