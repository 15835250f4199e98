"""The custom_ids that the results of a batch must have: those of its requests, where there is a copy of these."""

from __future__ import annotations

import zlib
from array import array

import msgspec

from batches_mcp.api.ended import Ended
from batches_mcp.core.errors import CallError
from batches_mcp.requests.reading import request_rows
from batches_mcp.store.index import check_of
from batches_mcp.store.kept import custom_id_of
from batches_mcp.work.account import Account


def own_checks(account: Account, batch: Ended) -> array[int] | None:
    """`check_of` of each custom_id of a batch's requests, ascending; None when they are not known for certain.

    A copy that is damaged, or of another number of requests than the batch has, counts as none.
    """
    try:
        records = account.begun_records()
        if records is None:
            return None
        entry = records.ledger.find(batch.id)
        if entry is None:
            return None
        checks = array("I")
        with records.kept.opened(entry.body, entry.betas) as file:
            for _, row in request_rows(file):
                if isinstance(row, str):
                    return None
                checks.append(check_of(custom_id_of(row)))
    except (CallError, OSError, EOFError, zlib.error, msgspec.DecodeError):
        return None
    return array("I", sorted(checks)) if len(checks) == batch.total else None
