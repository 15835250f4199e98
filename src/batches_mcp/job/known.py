"""The rows of an input that were answered before: found while it is read, and their answers fetched at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import anyio.from_thread
import anyio.to_thread

from batches_mcp.api.body import Frame
from batches_mcp.api.outcomes import UNFINISHED
from batches_mcp.core.errors import CallError
from batches_mcp.job.asking import Asking, never_comes
from batches_mcp.job.steps import Job
from batches_mcp.store.answers import Answered, Digests, Given
from batches_mcp.store.records import Records


@dataclass(slots=True)
class KnownRows:
    """Tells the rows that were answered before; `batches` counts them by the batch that has the answer.

    Answers with one of the stop_reasons `without` are none. `is_there` says whether the API still has the results of a
    batch, which is asked once for each.
    """

    digests: Digests
    given: Given
    is_there: Callable[[str], bool]
    without: Collection[str] = ()
    batches: Counter[str] = field(default_factory=Counter)
    gone: set[str] = field(default_factory=set)

    def find(self, row: bytes) -> Answered | None:
        """Where the answer to a request is; None when it has to be sent."""
        asked = self.digests.of_row(row)
        while asked and (answered := self.given.next(asked[1], self.gone, self.without)):
            if answered.batch_id in self.batches or self.is_there(answered.batch_id):
                self.batches[answered.batch_id] += 1
                return answered
            self.gone.add(answered.batch_id)
        return None


@contextmanager
def known_rows(
    asking: Asking, records: Records, around: Frame, retry_types: Collection[str], *, wanted: bool
) -> Iterator[KnownRows | None]:
    """The rows that were answered before, for one reading of an input, in a worker thread; None when not `wanted`.

    Answers that are of `retry_types` are asked for again.

    Raises:
        CallError: the API does not say which batches are still there, or what is known of them cannot be read.
    """
    if not wanted or not records.answers.path.exists():
        yield None
        return
    upstream = asking.account.upstream
    now_s = max(upstream.time_s(), upstream.clock.wall_s())

    def is_there(batch_id: str) -> bool:
        return anyio.from_thread.run(partial(_is_there, asking, batch_id))

    with records.answers.given(now_s) as given:
        without = [reason for reason, name in UNFINISHED.items() if name in retry_types]
        known = KnownRows(Digests.of(around), given, is_there, without)
        yield known
    for batch_id in known.gone:
        records.answers.forget(batch_id)


async def fetch_known(asking: Asking, job: Job) -> None:
    """See to it that the answers to rows that were answered before are on disk, as far as they are still there.

    Raises:
        CallError: something that does not pass.
    """
    spools = asking.account.state.spools()
    for batch_id, rows in job.known.items():
        spool = await anyio.to_thread.run_sync(spools.load, batch_id)
        if spool is not None and spool.complete:
            continue
        try:
            await asking.spool(batch_id, lambda _: None)
        except CallError as error:
            if never_comes(error) is None:
                raise
            asking.watch.note(f"{error.report.type}: {error.report.message} It has the answers to {rows:,} rows.")


async def _is_there(asking: Asking, batch_id: str) -> bool:
    try:
        await asking.until_answered(partial(asking.account.batches.ended, batch_id))
    except CallError as error:
        if never_comes(error) is None:
            raise
        return False
    return True
