"""Our program with batches of a few requests: a job of many parts is a small one then. The number comes first."""

from __future__ import annotations

import signal
import sys

from batches_mcp.__main__ import main
from batches_mcp.cli import job_lookup
from batches_mcp.job import asking
from batches_mcp.requests import scan as requests
from batches_mcp.work import reconcile, refusals

if __name__ == "__main__":
    # Who starts the tests in the background has it ignored, and children inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    requests.MAX_REQUESTS = int(sys.argv.pop(1))
    # It looks for a lost batch as often, but not as long.
    reconcile._PAUSES_S = (0.0, 0.01, 0.02, 0.04, 0.08, 0.15)
    refusals._ASK_AGAIN_S = 0.1
    asking.LONGEST_PAUSE_S = 0.1
    job_lookup._WATCH_S = 0.05
    main()
