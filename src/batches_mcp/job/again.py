"""The rows of a part that are sent again, as the body of another batch."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from pathlib import Path

import anyio.to_thread

from batches_mcp.api.body import Frame
from batches_mcp.core.state import unusable
from batches_mcp.job.asking import Asking
from batches_mcp.requests.reading import Row
from batches_mcp.requests.source import Source
from batches_mcp.store.kept import KeptRequests, custom_id_of
from batches_mcp.store.rows import read_row
from batches_mcp.store.spool import Spool
from batches_mcp.work.intake import Body, take
from batches_mcp.work.retry import retried, sift
from batches_mcp.work.runtime import no_progress


def rows_again(spools: Sequence[Spool], wanted: Collection[str]) -> list[set[str]]:
    """The custom_ids of the rows whose latest result is of the `wanted` kinds, by the batch that has that result.

    The batches are those of a part, the latest last.

    Raises:
        StateUnusable: a spool cannot be read.
    """
    found: list[set[str]] = []
    later: set[str] = set()
    for place, spool in reversed(list(enumerate(spools))):
        try:
            found.append(sift(spool, frozenset(wanted)).again - later)
            if place:
                later.update(row.custom_id for line in spool.lines(range(len(spool))) if (row := read_row(line)))
        except OSError as error:
            raise unusable(spool.path, error) from error
    return found[::-1]


async def write_again(
    asking: Asking,
    kept: KeptRequests,
    around: Frame,
    path: Path,
    batch_ids: Sequence[str],
    wanted: Collection[str],
    tell: Callable[[str], None],
) -> tuple[Body, str]:
    """Write the body of the rows of a part that are sent again to `path`; and the batch that they are of.

    `batch_ids` are those of the part, the latest last, which stands for all of them when the rows are of several.

    Raises:
        CallError: the results or the requests of a batch cannot be had, or the file cannot be written.
    """
    spools = [await asking.spool(batch_id, tell) for batch_id in batch_ids]
    chosen = dict(zip(batch_ids, await anyio.to_thread.run_sync(rows_again, spools, wanted), strict=True))
    sources: dict[str, Source] = {}
    for batch_id in batch_ids:
        if chosen[batch_id]:
            ask = partial(retried, asking.account, batch_id, wanted, no_progress, again=True)
            sources[batch_id] = (await asking.until_answered(ask)).source

    def rows() -> Iterator[Row]:
        for batch_id, source in sources.items():
            for number, row in source.rows():
                if isinstance(row, bytes) and custom_id_of(row) in chosen[batch_id]:
                    yield number, row

    source = Source(None, "requests[{}]".format, rows, lambda: True)
    _, bodies = await anyio.to_thread.run_sync(take, source, around, lambda _: path, kept.write)
    return bodies[0], next(iter(sources)) if len(sources) == 1 else batch_ids[-1]
