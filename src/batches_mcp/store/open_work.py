"""What is open by the ledgers: requests that the API is at work on, and creates that are unsettled."""

from __future__ import annotations

from dataclasses import dataclass

from batches_mcp.store.database import select
from batches_mcp.store.records import all_ledgers
from batches_mcp.store.state import State

# A batch ends within 24 hours; an hour is to spare for clocks.
_OPEN_FOR_S = 25 * 3_600.0
_MAYBE_OPEN = "NOT deleted AND (state IN ('sending', 'ambiguous') OR (batch_id IS NOT NULL AND started_s > ?))"


@dataclass(frozen=True, slots=True)
class OpenWork:
    """`requests` are those in progress as far as has been seen; `creates` are unsettled."""

    requests: int
    creates: int


def open_work(state: State, now_s: float) -> OpenWork:
    """What is open in all accounts, at a time of the upstream's (Unix); blocks for a moment.

    Ledgers are opened anew: this is called in a thread of its own, and what a server has open is its event loop's.

    Raises:
        StateUnusable: the state cannot be used.
    """
    requests = creates = 0
    with all_ledgers(state) as ledgers:
        for ledger in ledgers.values():
            with ledger.database.transaction() as db:
                entries = select(db, _MAYBE_OPEN, now_s - _OPEN_FOR_S)
            creates += sum(not entry.settled for entry in entries)
            requests += sum(entry.last_seen.counts.get("processing", 0) for entry in entries if entry.settled)
    return OpenWork(requests, creates)
