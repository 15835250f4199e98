"""What the ledger knows of batches that this server created, told wherever they are shown."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import anyio.to_thread

from batches_mcp.core.errors import CallError
from batches_mcp.requests.cost import at_most
from batches_mcp.store.entry import Draft, Entry
from batches_mcp.store.records import Records
from batches_mcp.work.account import Account

log = logging.getLogger(__name__)

Found = TypeVar("Found")


async def known(account: Account, batch_ids: Iterable[str]) -> Mapping[str, Entry]:
    """The entries of those batches that are certainly ours; a ledger that cannot be used does not fail the call."""
    ids = list(batch_ids)
    nothing: Mapping[str, Entry] = {}
    return await _read(account, lambda records: records.ledger.known(ids), nothing)


def facts(draft: Draft) -> dict[str, Any]:
    """`{label?, source?, part?, retry_of?, estimate{cost_usd{high}}, cost_usd?}`; the estimate is null when unknown."""
    found = {
        "label": draft.label,
        "source": draft.source,
        "part": draft.part,
        "retry_of": draft.parent,
        "estimate": {"cost_usd": {"high": at_most(draft.estimate_usd)}},
        "cost_usd": at_most(draft.cost_usd) if isinstance(draft, Entry) else None,
    }
    return {name: value for name, value in found.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of one batch: its entry, when it is ours, and the batches that sent rows of it again."""

    entry: Entry | None = None
    retries: Sequence[str] = ()

    @property
    def facts(self) -> dict[str, Any]:
        return facts(self.entry) if self.entry is not None else {}

    @property
    def retriable(self) -> bool:
        """Whether a copy of its requests was kept."""
        return self.entry is not None and not self.entry.deleted


async def known_of(account: Account, batch_id: str) -> Known:
    """What is known of a batch; a ledger that cannot be used does not fail the call."""

    def find(records: Records) -> Known:
        entry, retries = records.ledger.known_of(batch_id)
        return Known(entry, [retry.batch_id for retry in retries if retry.batch_id])

    return await _read(account, find, Known())


async def _read(account: Account, find: Callable[[Records], Found], otherwise: Found) -> Found:
    try:
        records = account.begun_records()
        return otherwise if records is None else await anyio.to_thread.run_sync(find, records)
    except CallError as error:
        log.warning("%s", error)
        return otherwise
