"""The rows that were answered before: noted once results are here, and looked for before the same is paid again."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field, replace

import anyio.to_thread

from batches_mcp.api.body import Frame, frame
from batches_mcp.api.operations import Operations
from batches_mcp.core.errors import CallError, StateUnusable
from batches_mcp.requests.parts import SEPARATOR
from batches_mcp.requests.reading import request_rows
from batches_mcp.store.answers import Answers, Digests
from batches_mcp.store.records import Records
from batches_mcp.store.rows import loads
from batches_mcp.store.spool import Spool
from batches_mcp.work.account import Account

# So many rows tell whether a batch is much like an earlier one, at no cost that is felt.
_MOST_LOOKED_AT = 1_000


async def note_answers(account: Account, spool: Spool) -> None:
    """Note which rows of a batch have an answer; a note that cannot be made keeps nobody from results.

    A batch whose requests are not kept, or which had anything else around them, is not noted.
    """
    with suppress(CallError, OSError):
        records = account.begun_records()
        if records is not None:
            around = frame(Operations(account.tool).list.request, {}, account.forward.variables)
            await anyio.to_thread.run_sync(_note, records, around, spool)


def _note(records: Records, around: Frame, spool: Spool) -> None:
    batch_id = spool.head.batch_id
    entry = records.ledger.find(batch_id)
    if entry is None or entry.deleted or entry.last_seen.created_s is None or records.answers.has(batch_id):
        return
    succeeded = {}
    numbers = list(spool.matching(("succeeded",)))
    for number, line in zip(numbers, spool.lines(numbers), strict=True):
        succeeded[str(loads(line)["custom_id"])] = spool.kind(number)[1]
    digests = Digests.of(replace(around, beta=entry.betas))
    found = []
    body_bytes = len(around.opening) + len(around.closing) - len(SEPARATOR)
    try:
        with records.kept.opened(entry.body, entry.betas) as file:
            for _, row in request_rows(file):
                body_bytes += len(row) + len(SEPARATOR)
                asked = digests.of_row(row) if isinstance(row, bytes) else None
                if asked and asked[0] in succeeded:
                    found.append((asked[1], asked[0], succeeded[asked[0]]))
    except (FileNotFoundError, EOFError):
        return
    if body_bytes == entry.body_bytes:
        records.answers.note(batch_id, entry.last_seen.created_s, reversed(found))


@dataclass(slots=True)
class FirstRows:
    """The first requests of a part, from 0, of a create: one to show, and whether most of them were answered before.

    Without `answers` nothing is known of that. Only batches of `own` count; None: all do.
    """

    part: int
    digests: Digests
    answers: Answers | None = None
    own: frozenset[str] | None = None
    sample: bytes = b""
    looked_at: int = 0
    asked: list[bytes] = field(default_factory=list)

    def look(self, part: int, row: bytes) -> None:
        """Look at one request, if it is of the part, and not many were before it."""
        if part != self.part or self.looked_at == _MOST_LOOKED_AT:
            return
        self.looked_at += 1
        self.sample = self.sample or row
        if self.answers and (asked := self.digests.of_row(row)):
            self.asked.append(asked[1])

    def warning(self, now_s: float) -> str | None:
        """What to say when most of them were, at `now_s` (Unix)."""
        if self.answers is None:
            return None
        batches: Counter[str] = Counter()
        with suppress(StateUnusable), self.answers.given(now_s) as given:
            for digest in self.asked:
                while answered := given.next(digest, (), ()):
                    if self.own is None or answered.batch_id in self.own:
                        batches[answered.batch_id] += 1
                        break
        if batches.total() * 2 <= self.looked_at:
            return None
        first = "first " if self.looked_at == _MOST_LOOKED_AT else ""
        [(batch_id, rows)] = batches.most_common(1)
        most = "" if rows == batches.total() else f", {rows:,} of them"
        return (
            f"{batches.total():,} of the {first}{self.looked_at:,} requests were answered before{most} in batch "
            f"{batch_id}, and are paid again when they are sent: send only the others, as `batches-mcp run` does"
        )


def first_rows(account: Account, around: Frame, part: int) -> FirstRows:
    """What looks at the requests of a part, from 0, before they are sent with `around`."""
    first = FirstRows(part, Digests.of(around))
    with suppress(CallError):
        records = account.begun_records()
        if records is not None and records.answers.path.exists():
            first.answers = records.answers
            caller = account.runtime.caller
            if caller is not None and not caller.is_admin:
                first.own = frozenset(records.ledger.batch_ids(caller.team_name))
    return first
