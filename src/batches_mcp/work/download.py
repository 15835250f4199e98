"""Bringing the results of a batch into its spool: once for all who wait for them, and on when their time is up."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import anyio
import anyio.to_thread

from batches_mcp.api.ended import Ended
from batches_mcp.core.errors import CallError, StateUnusable
from batches_mcp.core.state import unusable
from batches_mcp.requests.cost import actual_usd
from batches_mcp.store.spool import Spool
from batches_mcp.store.spooling import Writer
from batches_mcp.store.spools import Spools
from batches_mcp.work.account import Account
from batches_mcp.work.in_progress import Download
from batches_mcp.work.own import own_checks
from batches_mcp.work.runtime import Progress, Runtime

log = logging.getLogger(__name__)

After = Callable[[Spool], Awaitable[None]]

# A stream that is cut is read again from its start, for the API cannot be asked for the rest.
_MOST_STREAMS = 3


async def spooled(
    account: Account, batch: Ended, progress: Progress, most_s: float, after: After | None = None
) -> Spool | Download:
    """The spool of a batch, from disk or downloaded now; when that takes over `most_s`, the download, which goes on.

    A spool that is not complete is what several streams, all of them cut or wrong, had between them; it is asked for
    again the next time. What comes `after` a download that this call began is done while the call is answered.

    Raises:
        StateUnusable: there is no room for it, or no access.
        CallError: the results cannot be downloaded.
    """
    spools = account.state.spools()
    key = (spools, batch.id)
    download = account.runtime.downloads.get(key)
    if download is None:
        found = await anyio.to_thread.run_sync(spools.load, batch.id)
        if found is not None and is_whole(found, batch):
            return found
        # Somebody else may have begun meanwhile.
        download = account.runtime.downloads.get(key)
    if download is None:
        download = account.runtime.downloads[key] = Download(batch.total)
        account.runtime.tasks.start_soon(_run, account, batch, spools, download, after)
    with anyio.move_on_after(max(0.0, most_s)):
        await _over(download, progress, account.limits.progress_s)
    if download.failure is not None:
        raise download.failure
    return download if download.spool is None else download.spool


async def whole_copy(account: Account, batch_id: str, total: int) -> Spool | None:
    """The copy on disk of all the rows of a batch, if there is one already."""
    try:
        spools = account.state.spools()
    except StateUnusable:
        return None
    spool = await anyio.to_thread.run_sync(spools.load, batch_id)
    return spool if spool is not None and spool.complete and len(spool) == total else None


def is_whole(spool: Spool, batch: Ended) -> bool:
    """Whether a spool holds every row of the batch."""
    return spool.complete and len(spool) == batch.total


async def _over(download: Download, progress: Progress, every_s: float) -> None:
    """Wait for the end of a download, telling how far it is."""
    while not download.over.is_set():
        with anyio.move_on_after(every_s):
            await download.over.wait()
            return
        words = f"{download.rows:,} of {download.total:,} rows ({download.received_bytes:,} bytes) fetched"
        await progress(download.rows, download.total, words)


async def _run(account: Account, batch: Ended, spools: Spools, download: Download, after: After | None) -> None:
    try:
        download.spool = await _download(account, batch, spools, download)
        if is_whole(download.spool, batch):
            await anyio.to_thread.run_sync(_note_cost, account, download.spool)
    except Exception as error:  # noqa: BLE001 - not swallowed: raised in every call that waits for it
        download.failure = error
    finally:
        del account.runtime.downloads[spools, batch.id]
        if download.unwanted:
            spools.forget(batch.id)
        download.over.set()
    if after and download.spool and not download.unwanted and is_whole(download.spool, batch):
        await after(download.spool)


def _note_cost(account: Account, spool: Spool) -> None:
    """Tell the ledger what the batch really cost; one that cannot be written to does not keep results from anybody."""
    cost_usd = actual_usd(spool.tokens)
    try:
        records = account.begun_records()
        if records is not None and cost_usd is not None:
            entry = records.ledger.find(spool.head.batch_id)
            records.ledger.cost(spool.head.batch_id, cost_usd)
            if entry is not None and entry.cost_usd is None:
                for observer in account.upstream.observers:
                    observer.cost(entry.team, cost_usd)
    except CallError as error:
        log.warning("the cost of batch %s could not be written down: %s", spool.head.batch_id, error)


async def _download(account: Account, batch: Ended, spools: Spools, download: Download) -> Spool:
    in_thread = anyio.to_thread.run_sync
    begun = await in_thread(spools.load, batch.id)
    own = await in_thread(own_checks, account, batch)
    writer: Writer | None = None
    try:
        await in_thread(_make_room, account.runtime, batch, spools)
        writer = download.writer = await in_thread(spools.writer, batch.id, batch.total, own, begun, account.limits)
        for _ in range(_MOST_STREAMS):
            await in_thread(writer.begin)
            try:
                await account.batches.results(batch, writer.take)
            except CallError:
                if not writer.rows:
                    raise
                break
            finally:
                await in_thread(writer.end)
            if writer.whole:
                break
        spool = await in_thread(writer.save, batch.upstream_s)
        await account.runtime.long_work(spools.publish, spool)
        return spool
    except OSError as error:
        raise unusable(spools.folder, error) from error
    finally:
        if writer is not None and not writer.saved:
            writer.discard()


def _make_room(runtime: Runtime, batch: Ended, spools: Spools) -> None:
    """Make room among an account's spools, and remove what of any account is past its time by every clock there is.

    Raises:
        OSError: a folder cannot be read.
    """
    wall_s = runtime.forward.upstream.clock.wall_s()
    now_s = wall_s if batch.upstream_s is None else min(wall_s, batch.upstream_s)
    spools.make_room(now_s)
    if batch.upstream_s is not None:
        runtime.state.remove_expired(now_s)
