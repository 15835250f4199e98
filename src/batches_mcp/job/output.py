"""The rows of a job in the order of its input, each with its latest result. Memory grows with a part only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import islice
from typing import Any

import anyio.to_thread
import msgspec

from batches_mcp.job.asking import GONE
from batches_mcp.job.drive import Drive
from batches_mcp.job.known import fetch_known
from batches_mcp.job.outcome import Tally
from batches_mcp.job.sinks import Result, Sink
from batches_mcp.job.steps import InputRow
from batches_mcp.store.rows import loads, read_row
from batches_mcp.store.spool import Spool
from batches_mcp.store.spools import Spools

# So many rows that were answered before are looked up at a time.
_GROUP = 5_000


async def write_results(drive: Drive, sinks: Sequence[Sink], tally: Tally) -> None:
    """Give each result of a job to every sink, and add it up; rows without one are counted as missing.

    Raises:
        CallError: results cannot be fetched, or what is kept of the job cannot be read.
        OSError: a file cannot be read or written.
    """
    if not drive.given_up:
        await fetch_known(drive.asking, drive.job)
    stored = drive.asking.account.state.spools()
    rows = drive.folder.rows()
    known_missing = "not_fetched" if drive.given_up else GONE
    for number, part in enumerate([*drive.job.parts, None]):
        spools = [] if part is None else await drive.results(number)
        mine = rows if part is None else _up_to(rows, part.rows)
        why = "" if part is None else drive.parts[number].missing
        write = partial(_write, mine, spools, stored, sinks, tally, (why, known_missing))
        await anyio.to_thread.run_sync(write, abandon_on_cancel=True)


def _up_to(rows: Iterator[InputRow], sent: int) -> Iterator[InputRow]:
    """The next rows, until so many of those that were sent have come."""
    while sent and (row := next(rows, None)):
        sent -= row.batch_id is None
        yield row


def _write(
    rows: Iterator[InputRow],
    spools: Sequence[Spool],
    stored: Spools,
    sinks: Sequence[Sink],
    tally: Tally,
    why: tuple[str, str],
) -> None:
    """Write the rows of a part, each as its latest batch has it.

    `why` tells why a row has none: one that was sent, and one that was answered before.
    """
    places: dict[str, tuple[Spool, int]] = {}
    for spool in spools:
        tally.spent(spool)
        for number, line in enumerate(spool.lines(range(len(spool)))):
            if found := read_row(line):
                places[found.custom_id] = spool, number
    with ExitStack() as stack:
        files = {spool.path: stack.enter_context(spool.path.open("rb")) for spool in spools}
        while group := list(islice(rows, _GROUP)):
            known = _known_places(group, stored)
            for row in group:
                place = places.get(row.custom_id) if row.batch_id is None else known.get(row.custom_id)
                if place is None:
                    tally.miss(row.custom_id, why[row.batch_id is not None])
                    continue
                spool, number = place
                if row.batch_id is None:
                    file = files[spool.path]
                    file.seek(spool.offsets[number])
                    line = file.read(spool.lengths[number])
                else:
                    [line] = spool.lines([number])
                    line = _renamed(line, row)
                result = Result(row, spool.kind(number), line.removesuffix(b"\r"))
                tally.add(result.kind, result.line)
                for sink in sinks:
                    sink.add(result)


def _known_places(rows: Iterable[InputRow], stored: Spools) -> dict[str, tuple[Spool, int]]:
    """Where the answers are of the rows that were answered before, by the custom_ids of this input."""
    wanted: dict[str, dict[str, str]] = {}
    for row in rows:
        if row.batch_id is not None and row.answered_as is not None:
            wanted.setdefault(row.batch_id, {})[row.answered_as] = row.custom_id
    found = {}
    for batch_id, ids in wanted.items():
        spool = stored.load(batch_id)
        if spool is not None:
            found.update({ids[custom_id]: (spool, number) for custom_id, number in spool.find(ids.keys()).items()})
    return found


def _renamed(line: bytes, row: InputRow) -> bytes:
    """A line of results under the custom_id of this input; all else in it stays as it came."""
    if row.custom_id == row.answered_as:
        return line
    try:
        parts: dict[str, Any] = msgspec.json.decode(line, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError):
        parts = loads(line)
    return msgspec.json.encode(parts | {"custom_id": row.custom_id})
