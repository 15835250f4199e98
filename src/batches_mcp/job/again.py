"""The rows of a batch that are sent again, as the body of another one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import anyio.to_thread

from batches_mcp.api.body import Frame
from batches_mcp.job.asking import Asking
from batches_mcp.job.steps import JobPart
from batches_mcp.requests.cost import estimate
from batches_mcp.requests.scan import Scan
from batches_mcp.store.records import Records
from batches_mcp.work.retry import retried
from batches_mcp.work.retryable import PASSING


async def write_again(
    asking: Asking, records: Records, around: Frame, path: Path, batch_id: str, tell: Callable[[str], None]
) -> JobPart:
    """Write the body of the rows of a batch that are sent again to `path`.

    Raises:
        CallError: the results or the requests of the batch cannot be had, or the file cannot be written.
    """
    await asking.spool(batch_id, tell)
    ask = partial(retried, asking.account, batch_id, PASSING, _silent, again=True)
    source = (await asking.until_answered(ask)).source

    def write() -> JobPart:
        found = Scan(around.rules, source.place)

        def rows() -> Iterator[bytes]:
            for number, row in source.rows():
                found.add(number, row)
                if isinstance(row, bytes):
                    yield row

        def pieces() -> Iterator[bytes]:
            yield from around.around(rows())
            yield around.closing

        copy = records.kept.write(path, pieces(), around.beta)
        [part] = found.parts
        return JobPart(part.content(around.beta), found.requests, copy.length_bytes, estimate(found.demand))

    return await anyio.to_thread.run_sync(write)


async def _silent(_done: float, _total: float, _words: str) -> None:
    pass
