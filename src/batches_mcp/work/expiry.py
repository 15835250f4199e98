"""What of results is removed as time goes by, also while the server runs.

What is removed because it is old must be so by this machine's clock and by the upstream's.
"""

from __future__ import annotations

from batches_mcp.api.ended import Ended
from batches_mcp.store.spools import Spools
from batches_mcp.work.runtime import Runtime


def tidy(runtime: Runtime, batch: Ended, spools: Spools) -> None:
    """Make room among an account's spools, and remove what of any account is past its time.

    Raises:
        OSError: a folder cannot be read.
    """
    wall_s = runtime.forward.upstream.clock.wall_s()
    now_s = wall_s if batch.upstream_s is None else min(wall_s, batch.upstream_s)
    spools.make_room(now_s)
    if batch.upstream_s is not None:
        runtime.state.remove_expired(now_s)
