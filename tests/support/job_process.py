"""Our program with batches of a few rows and little patience, which may be killed at a step of a job.

The number of rows of a batch comes first, then the step after or before which it ends by SIGKILL, or `-`.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from typing import Any

from batches_mcp.cli import run
from batches_mcp.cluster import collecting
from batches_mcp.core.limits import Limits
from batches_mcp.store.job import PartState
from batches_mcp.store.jobs import Jobs
from batches_mcp.store.ledger import Ledger
from tests.support.create_process import deadly, die

# By the function after which, or before which, it is killed.
_FUNCTIONS: dict[str, tuple[Any, str, bool]] = {
    "claimed": (Ledger, "claim", True),
    "about to be sent whole": (Ledger, "sent", False),
    "may be sent whole": (Ledger, "sent", True),
    "answered": (Ledger, "accepted", False),
    "written down": (Ledger, "accepted", True),
    "collected": (collecting, "put", False),
}
# Those of a submission.
_OF_SUBMIT: dict[str, tuple[Any, str, bool]] = {
    "one planned": (Jobs, "planned", True),
    "begun": (Jobs, "start", True),
}
# By the state of a part, and whether it is in that state by then.
_STATES: dict[str, tuple[PartState, bool]] = {
    "body kept": (PartState.PREPARED, False),
    "prepared": (PartState.PREPARED, True),
    "made": (PartState.SUBMITTED, False),
    "submitted": (PartState.SUBMITTED, True),
    "ended": (PartState.ENDED, True),
    "table written": (PartState.DONE, False),
    "done": (PartState.DONE, True),
}
STEPS = (*_FUNCTIONS, *_STATES)


def _dying(advance: Callable[..., bool], state: PartState, after: bool) -> Callable[..., bool]:
    def wrapped(jobs: Jobs, part: Any, before: Any, **changes: Any) -> bool:
        wanted = changes.get("state") is state
        if wanted and not after:
            die()
        moved = advance(jobs, part, before, **changes)
        if wanted:
            die()
        return moved

    return wrapped


def main() -> None:
    # Who starts the tests in the background has it ignored, and children inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    rows, step = int(sys.argv.pop(1)), sys.argv.pop(1)
    if found := (_FUNCTIONS | _OF_SUBMIT).get(step):
        owner, name, after = found
        setattr(owner, name, deadly(getattr(owner, name), after=after))
    elif step in _STATES:
        wrapped = _dying(Jobs.advance, *_STATES[step])
        setattr(Jobs, "advance", wrapped)  # noqa: B010 - as above
    limits = Limits(
        batch_requests=rows,
        look_pauses_s=(0.0, 0.01, 0.02, 0.04, 0.08, 0.15),
        ask_again_s=0.1,
        job_pause_s=0.2,
        watch_s=0.05,
        task_poll_s=0.1,
        task_sweep_s=0.2,
        worker_lost_s=2.0,
    )
    sys.exit(run(limits=limits))


if __name__ == "__main__":
    main()
