"""Our program with other limits than those it comes with, as a JSON object in front of its arguments."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

from batches_mcp.cli import run
from batches_mcp.core.limits import LIMITS

if __name__ == "__main__":
    sys.exit(run(limits=replace(LIMITS, **json.loads(sys.argv.pop(1)))))
