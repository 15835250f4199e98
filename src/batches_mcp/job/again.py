"""The rows of a batch that are sent again, as the body of another one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import anyio.to_thread

from batches_mcp.api.body import Frame
from batches_mcp.job.asking import Asking
from batches_mcp.store.kept import KeptRequests
from batches_mcp.work.intake import Body, take
from batches_mcp.work.retry import retried
from batches_mcp.work.retryable import PASSING


async def write_again(
    asking: Asking, kept: KeptRequests, around: Frame, path: Path, batch_id: str, tell: Callable[[str], None]
) -> Body:
    """Write the body of the rows of a batch that are sent again to `path`.

    Raises:
        CallError: the results or the requests of the batch cannot be had, or the file cannot be written.
    """
    await asking.spool(batch_id, tell)
    ask = partial(retried, asking.account, batch_id, PASSING, _silent, again=True)
    source = (await asking.until_answered(ask)).source
    _, bodies = await anyio.to_thread.run_sync(take, source, around, lambda _: path, kept.write)
    return bodies[0]


async def _silent(_done: float, _total: float, _words: str) -> None:
    pass
