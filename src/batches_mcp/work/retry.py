"""`retry_of`: the rows of an ended batch that may succeed when they are sent again, with the params they had."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import anyio.to_thread
import msgspec

from batches_mcp.core.errors import CallError, ErrorReport, Retry
from batches_mcp.core.redact import excerpt
from batches_mcp.core.state import unusable
from batches_mcp.core.text import count
from batches_mcp.exchange.request import invalid
from batches_mcp.requests.reading import Row, request_rows
from batches_mcp.requests.source import Source
from batches_mcp.store.entry import Entry
from batches_mcp.store.kept import KeptRequests, custom_id_of
from batches_mcp.store.ledger import RECENT_S
from batches_mcp.store.records import Records
from batches_mcp.store.rows import loads
from batches_mcp.store.spool import Spool
from batches_mcp.work import audited
from batches_mcp.work.account import Account
from batches_mcp.work.download import is_whole, spooled
from batches_mcp.work.in_progress import Download
from batches_mcp.work.ownership import owns
from batches_mcp.work.retryable import ON_REQUEST, PASSING, kind_of, matters
from batches_mcp.work.runtime import Progress

MOST_SHOWN = 50
_MESSAGE_CHARS = 300
_ASK_AGAIN_S = 20.0
# The stop_reason of an answer that more tokens do not help.
_NO_ROOM = "model_context_window_exceeded"


@dataclass(slots=True)
class Sifted:
    """The custom_ids to retry, and what cannot be: the first of those, how many they are, and how many lacked credit.

    `truncated` are those of them that need more tokens. `not_asked_for` counts rows of other types that `retry_types`
    may name. `sent` tells how many more would have been retried, had not other batches, by their ids, retried them
    already. `total` is how many rows there are.
    """

    total: int
    again: set[str] = field(default_factory=set)
    truncated: set[str] = field(default_factory=set)
    not_asked_for: Counter[str] = field(default_factory=Counter)
    sent: dict[str, int] = field(default_factory=dict)
    needs_fixing: list[dict[str, str]] = field(default_factory=list)
    count: int = 0
    low_credit: int = 0

    def remarks(self) -> dict[str, Any]:
        """What the answer says of what cannot be retried."""
        left = {"not_asked_for": self.left} if self.not_asked_for else {}
        sent = {"already_retried": self.sent} if self.sent else {}
        if not self.count:
            return {**left, **sent}
        credit = {"needs_fixing_low_credit": self.low_credit} if self.low_credit else {}
        return {"needs_fixing": self.needs_fixing, "needs_fixing_count": self.count, **credit, **left, **sent}

    @property
    def left(self) -> dict[str, int]:
        """The types that were not asked for, each with its rows."""
        return {kind: number for kind in (*PASSING, *ON_REQUEST) if (number := self.not_asked_for[kind])}

    def needs(self, custom_id: str, error_type: str, message: str) -> None:
        """Note a row that would fail again."""
        self.count += 1
        if len(self.needs_fixing) < MOST_SHOWN:
            shown = {"error_type": error_type, "error_message": excerpt(message, _MESSAGE_CHARS)}
            self.needs_fixing.append({"custom_id": custom_id, **shown})


@dataclass(frozen=True, slots=True)
class Retried:
    """What a retry is made of: the entry it is for, its rows as a source, and what was left out."""

    entry: Entry
    source: Source
    sifted: Sifted


async def retried(
    account: Account,
    batch_id: str,
    wanted: Collection[str],
    progress: Progress,
    *,
    again: bool,
    max_tokens: int | None = None,
) -> Retried:
    """The rows of a batch that are of the `wanted` kinds; `again` also those that a retry has sent already.

    Truncated ones get `max_tokens`, which has to be more than they had.

    Raises:
        CallError: it cannot be known which rows those are, or what they were.
    """
    records = account.records()
    entry = await anyio.to_thread.run_sync(records.ledger.find, batch_id) if records else None
    if records is None or entry is None or not owns(account.runtime.caller, entry):
        await audited.refused(account.runtime, account.tool.name, "not_own_batch", batch_id=batch_id)
        raise _unknown(batch_id)
    if entry.deleted:
        raise _not_kept(batch_id, "it was deleted, and the copy of its requests with it")
    batch = await account.batches.ended(batch_id)
    spool = await spooled(account, batch, progress, account.upstream.limits.call_s / 2)
    if isinstance(spool, Download) or not is_whole(spool, batch):
        raise _not_there_yet(batch_id)
    try:
        sifted = await account.runtime.long_work(sift, spool, frozenset(wanted))
    except OSError as error:
        raise unusable(spool.path, error) from error
    try:
        with records.kept.opened(entry.body, entry.betas):
            pass
    except FileNotFoundError as error:
        raise _not_kept(batch_id, "the copy of its requests is no longer there, or is damaged") from error
    if not again:
        recent_s = account.upstream.time_s() - RECENT_S
        await anyio.to_thread.run_sync(_leave_out, records, batch_id, sifted, recent_s)
    more = dict.fromkeys(sifted.truncated & sifted.again, max_tokens)
    if more:
        limits = await account.runtime.long_work(_limits, records.kept, entry, more)
        if limits and (max_tokens is None or max_tokens <= max(limits)):
            raise _cut_again(len(more), limits, max_tokens)
    rows = partial(_rows, records.kept, entry, sifted.again, more)
    return Retried(entry, Source(None, f"requests[{{}}] of {batch_id}".format, rows, lambda: True), sifted)


def _leave_out(records: Records, batch_id: str, sifted: Sifted, recent_s: float) -> None:
    """Leave out the rows that earlier retries of a batch have sent, or may have: each is to be billed once.

    One of the very same rows is found as the same content, if it is recent or its batch was given to nobody yet.

    Raises:
        InvalidArguments: it cannot be known which rows an earlier retry sent.
    """
    wanted = frozenset(sifted.again)
    for retry in records.ledger.retries(batch_id):
        named = retry.batch_id or "of which it is not known yet"
        try:
            sent = set(records.kept.custom_ids(retry.body, retry.betas))
        except FileNotFoundError as error:
            raise _unknown_retry(batch_id, named) from error
        if (sent == sifted.again and not retry.told) or (sent == wanted and retry.started_s > recent_s):
            continue
        if overlap := sent & sifted.again:
            sifted.sent[named] = len(overlap)
            sifted.again -= overlap


def sift(spool: Spool, wanted: Collection[str]) -> Sifted:
    """Sort the rows of a batch into those to send again and those that need something else first.

    Raises:
        OSError: the spool cannot be read.
    """
    found = Sifted(len(spool))
    numbers = [number for number in range(len(spool)) if matters(*spool.kind(number))]
    for number, line in zip(numbers, spool.lines(numbers), strict=True):
        outcome, detail = spool.kind(number)
        try:
            row = loads(line)
            custom_id = str(row["custom_id"])
        except (ValueError, KeyError, TypeError):
            continue
        message = _message(row)
        kind = kind_of(outcome, detail, message)
        if kind == "truncated" and kind in wanted and detail == _NO_ROOM:
            found.needs(custom_id, _NO_ROOM, "its answer fills the model's context window: shorten the prompt")
        elif kind in wanted:
            found.again.add(custom_id)
            if kind == "truncated":
                found.truncated.add(custom_id)
        elif kind in ("billing", "invalid"):
            found.low_credit += kind == "billing"
            found.needs(custom_id, detail or "unknown", message)
        elif kind is not None:
            found.not_asked_for[kind] += 1
    return found


def _message(row: Any) -> str:
    match row:
        case {"result": {"error": {"error": {"message": str(message)}}}}:
            return message
        case _:
            return ""


def _rows(
    kept: KeptRequests, entry: Entry, wanted: Collection[str], max_tokens: Mapping[str, int | None]
) -> Iterator[Row]:
    """The wanted rows as they were, but for the `max_tokens` that some get, by their custom_ids."""
    try:
        with kept.opened(entry.body, entry.betas) as file:
            for number, (_, row) in enumerate(request_rows(file)):
                if isinstance(row, str):
                    raise _not_kept(str(entry.batch_id), f"the copy of its requests is damaged: {row}")
                if (custom_id := custom_id_of(row)) in wanted:
                    yield number, _with_max_tokens(row, max_tokens[custom_id]) if custom_id in max_tokens else row
    except (OSError, EOFError, msgspec.DecodeError) as error:
        raise _not_kept(str(entry.batch_id), "the copy of its requests is damaged") from error


def _with_max_tokens(row: bytes, max_tokens: int | None) -> bytes:
    request = msgspec.json.decode(row)
    request["params"]["max_tokens"] = max_tokens
    return msgspec.json.encode(request)


def _limits(kept: KeptRequests, entry: Entry, truncated: Mapping[str, int | None]) -> list[int]:
    """The different max_tokens that truncated rows had, ascending."""
    rows = (msgspec.json.decode(row) for _, row in _rows(kept, entry, truncated, {}) if isinstance(row, bytes))
    return sorted({found for row in rows if isinstance(found := row["params"].get("max_tokens"), int)})


def nothing(batch_id: str, sifted: Sifted) -> CallError:
    """The error for a batch of which no row is to be retried."""
    if not (sifted.count or sifted.not_asked_for or sifted.sent):
        message = (
            f"every request of batch {excerpt(batch_id, 100)} succeeded, {sifted.total:,} in all, so there is nothing "
            "to send again."
        )
        return CallError(ErrorReport("nothing_to_retry", message, "Retrieve its results."))
    named = ", ".join(f"{row['custom_id']} ({row['error_type']})" for row in sifted.needs_fixing[:10])
    more = f" {sifted.count:,} failed for other reasons, and would fail again: {named}." if sifted.count else ""
    credit = (
        f" For {sifted.low_credit:,} of them credit had run out: with credit, retry_types [billing] sends them again."
        if sifted.low_credit
        else ""
    )
    left = ", ".join(f"{number:,} {kind}" for kind, number in sifted.left.items())
    others = f" Of types that were not asked for it has {left}." if left else ""
    message = f"batch {excerpt(batch_id, 100)} has no rows of the types to retry.{others}{more}{credit}"
    next_step = "Nothing was sent."
    if left:
        next_step += " If the user wants those sent again, name their types in retry_types."
    if sifted.count:
        next_step += " Correct the requests that would fail again, and create a batch of them."
    if sifted.sent:
        retries = ", ".join(f"{retry} ({rows:,} rows)" for retry, rows in sifted.sent.items())
        message = (
            f"the rows of batch {excerpt(batch_id, 100)} to retry were sent again already, as batch {retries}.{more}"
        )
        next_step = (
            "Nothing was sent. Use the results of that batch, and retry_of with its id for what failed in it. Only if "
            "the user wants the rows done and billed once more, call again with allow_duplicate."
        )
    return CallError(ErrorReport("nothing_to_retry", message, next_step))


def _cut_again(rows: int, limits: Sequence[int], max_tokens: int | None) -> CallError:
    """The error for truncated rows that would be cut at the same place."""
    had = f"{limits[0]:,}" if len(limits) == 1 else f"{limits[0]:,} to {limits[-1]:,}"
    were = f"{count(rows, 'row was', 'rows were')} cut at max_tokens, which is {had}, and would be cut again"
    tried = "" if max_tokens is None else f" at {max_tokens:,}"
    return invalid(f"retry_max_tokens: {were}{tried}. Call again with a retry_max_tokens above {limits[-1]:,}.")


def _unknown(batch_id: str) -> CallError:
    return invalid(
        f"retry_of: this server has not created batch {excerpt(batch_id, 100)!r}, or not with this key and state "
        "folder, and the API never gives requests back, so that it cannot know what to send. Get the results with "
        "result_types [errored, expired], and create a batch of the original rows with those custom_ids, with "
        "requests_file or requests."
    )


def _unknown_retry(batch_id: str, retry: str) -> CallError:
    return invalid(
        f"retry_of: rows of batch {excerpt(batch_id, 100)!r} were sent again as batch {retry}, and the copy that would "
        "tell which ones is no longer there. Look at the results of that batch first; if the user wants all rows sent "
        "once more, call again with allow_duplicate."
    )


def _not_kept(batch_id: str, why: str) -> CallError:
    return invalid(
        f"retry_of: the requests of batch {excerpt(batch_id, 100)!r} cannot be sent again: {why}. Create a batch of "
        "the original rows that failed, with requests_file or requests."
    )


def _not_there_yet(batch_id: str) -> CallError:
    message = f"the results of batch {excerpt(batch_id, 100)}, which say what to retry, have not all arrived yet."
    next_step = "Nothing was sent. Make the same call again; it goes on with what has arrived."
    return CallError(ErrorReport("results_incomplete", message, next_step, Retry.HELPS, retry_after_s=_ASK_AGAIN_S))
