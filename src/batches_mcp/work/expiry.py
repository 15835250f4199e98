"""What of results is removed as time goes by, also while the server runs.

What is removed because it is old must be so by this machine's clock and by the upstream's.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from batches_mcp.api.ended import Ended
from batches_mcp.store.files import FOLDER
from batches_mcp.store.spool import make_room, remove, remove_expired
from batches_mcp.work.runtime import Runtime

# A file may be as old as the spool that it is another name for; see `export`.
NEW_S = 86_400.0
_FILES_KEPT_S = 30 * 86_400.0 + NEW_S


def tidy(runtime: Runtime, batch: Ended, folder: Path) -> None:
    """Make room in the folder of an account's spools, and remove what of any account is past its time.

    Raises:
        OSError: the folder cannot be read.
    """
    wall_s = runtime.forward.upstream.clock.wall_s()
    make_room(folder, wall_s if batch.upstream_s is None else min(wall_s, batch.upstream_s))
    if batch.upstream_s is None:
        return
    now_s = min(wall_s, batch.upstream_s)
    for account in list(runtime.state.path.iterdir()):
        remove_expired(account / folder.name, now_s)
        for path in list((account / FOLDER).glob("*")):
            with suppress(OSError):
                if now_s - path.stat().st_mtime > _FILES_KEPT_S:
                    remove(path)
