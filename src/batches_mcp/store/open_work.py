"""What is open by the ledgers: requests that the API is at work on, and creates that are unsettled."""

from __future__ import annotations

from dataclasses import dataclass

from batches_mcp.store.claims import UNSETTLED, in_queue
from batches_mcp.store.database import select
from batches_mcp.store.records import all_ledgers
from batches_mcp.store.state import State


@dataclass(frozen=True, slots=True)
class OpenWork:
    """`requests` are those that the API has in its queue, or may have; `creates` are unsettled."""

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
                requests += in_queue(db, now_s)
                creates += len(select(db, f"NOT deleted AND {UNSETTLED}"))
    return OpenWork(requests, creates)
