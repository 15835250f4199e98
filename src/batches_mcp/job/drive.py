"""Carrying out a job: it submits, waits, gets results and sends rows again, until every row has its last outcome.

Whatever happens to the process, the same job goes on from where it was: each create passes the one gate of `send`,
which takes the batch that was made of the same content, and looks for one that may have been.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Collection
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import anyio.to_thread

from batches_mcp.api.batch import Batch
from batches_mcp.api.body import Frame
from batches_mcp.core.errors import CallError, InvalidArguments, Retry
from batches_mcp.exchange.failure import retry_after_s
from batches_mcp.job.again import rows_again, write_again
from batches_mcp.job.asking import LONGEST_PAUSE_S, WAITING, Asking, never_comes
from batches_mcp.job.intake import JobFolder
from batches_mcp.job.made import Made, MadeBatches, Start
from batches_mcp.job.steps import Attempt, Done, Job, PartState, Save, Submit, Wait, next_step
from batches_mcp.requests.cost import actual_usd
from batches_mcp.store.records import Records
from batches_mcp.store.spool import Spool
from batches_mcp.work.account import Account
from batches_mcp.work.answered import note_answers
from batches_mcp.work.deliver import OutgoingCreate
from batches_mcp.work.intake import Body
from batches_mcp.work.learn import learn
from batches_mcp.work.refusals import unpriced
from batches_mcp.work.retryable import PASSING
from batches_mcp.work.send import CreateRules, Sent, submit

_POLL_S, _SHORTEST_POLL_S = 5.0, 0.5
# A look costs at most a twentieth of what has been waited, and comes once a minute at least.
_POLL_SHARE = 0.05
_LIST_LIMIT = 100
# Shortly after it was created, a batch may be answered 404: https://github.com/anthropics/anthropic-sdk-python/issues/1432
_SETTLING_S = 60.0


@dataclass(frozen=True, slots=True)
class Bounds:
    """How a job is carried out: so many batches in progress at a time, and each row sent again so often at most.

    Sent again are the rows of the `retry_types`, see `work.retryable`. It is given up when it is not finished after
    `give_up_s`.
    """

    max_open: int
    retries: int
    cap_usd: float | None = None
    give_up_s: float = math.inf
    retry_types: Collection[str] = PASSING


@dataclass(slots=True)
class Drive:
    """One job; batches from before its `start` are none of it. The ledger calls its batches by its `label`.

    It is `given_up` when its time was over before it was finished. It is `submitting` while it is not known what became
    of its latest create, also after it was canceled: a create that has begun goes on.
    """

    asking: Asking
    records: Records
    around: Frame
    folder: JobFolder
    job: Job
    bounds: Bounds
    start: Start = Start()
    label: str | None = None
    given_up: bool = False
    submitting: bool = False
    parts: list[PartState] = field(default_factory=list)
    sent: int = 0
    _next_poll_s: float = 0.0
    _pace_s: float = _POLL_S
    _hold_until_s: float = 0.0
    _refused: int = 0
    _waiting_since_s: float = 0.0

    async def find(self) -> None:
        """Learn from the ledger, and from what was noted, which parts have a batch already; asks nobody."""
        self.parts = [PartState()] * len(self.job.parts)
        for number in range(len(self.parts)):
            await self._taken_up(number)

    async def run(self) -> None:
        """Carry the job out to its end, or until it is given up.

        Raises:
            CallError: something that does not pass. What was submitted goes on, and the same job can be resumed.
        """
        with anyio.move_on_after(self.bounds.give_up_s) as time:
            await self._run()
        self.given_up = time.cancelled_caught

    async def _run(self) -> None:
        self._waiting_since_s = self.asking.now_s()
        while True:
            room = self.bounds.max_open if self.asking.now_s() >= self._hold_until_s else 0
            match next_step(self.parts, room, self.bounds.retries):
                case Submit(number, again):
                    await self._submit(number, again)
                case Save(number):
                    await self._save(number)
                case Wait():
                    await self._wait()
                case Done():
                    self._show("done")
                    return

    async def results(self, number: int) -> list[Spool]:
        """The results of a part, on disk, by batch; one that had to make room is fetched, unless time is over.

        Rows that never come, or have not come, are in none of them.
        """
        found = []
        attempts = self.parts[number].attempts
        while self.given_up and attempts and (following := await self._following(attempts[-1].batch_id)):
            attempts = (*attempts, following)
        for attempt in attempts:
            spool = await self._stored(attempt.batch_id)
            if (spool is None or not spool.complete) and attempt.saved and not attempt.lost and not self.given_up:
                spool = await self.asking.spool(attempt.batch_id, self._show)
            found += [spool] if spool else []
        return found

    async def _stored(self, batch_id: str) -> Spool | None:
        return await anyio.to_thread.run_sync(self._account.state.spools().load, batch_id)

    async def _submit(self, number: int, again: bool) -> None:
        if not again and await self._taken_up(number):
            return
        parent = self.parts[number].attempts[-1] if again else None
        if parent and (made := await anyio.to_thread.run_sync(self._made.retry_of, parent.batch_id)):
            self._follow(number, Attempt(made.batch_id, made.rows))
            self._next_poll_s = self.asking.now_s()
            return
        with self.records.kept.draft() as path:
            if parent is None:
                if (body := await self._lent(number, path)) is not None:
                    await self._submit_body(number, body, None, None)
            elif (again_of := await self._again(number, path)) is not None:
                await self._submit_body(number, again_of[0], parent, again_of[1])

    async def _lent(self, number: int, path: Path) -> Body | None:
        """The body of a part; None when another process has sent it meanwhile."""
        lend = partial(self.folder.lend, number, self.job.parts[number], self.records.kept, path, self.around.beta)
        try:
            return await anyio.to_thread.run_sync(lend)
        except CallError:
            if await self._taken_up(number):
                return None
            raise

    async def _again(self, number: int, path: Path) -> tuple[Body, str] | None:
        """The body of the rows of a part that are sent again, with the batch they are of; None when they stay."""
        there = [each.batch_id for each in self.parts[number].attempts if not each.lost]
        types = self.bounds.retry_types
        try:
            return await write_again(self.asking, self.records.kept, self.around, path, there, types, self._show)
        except CallError as error:
            if not (never_comes(error) or isinstance(error, InvalidArguments)):
                raise
            self._keep_as_it_is(number, error)
            return None

    async def _submit_body(self, number: int, body: Body, parent: Attempt | None, again_of: str | None) -> None:
        """Submit the body of a part; or one of rows of the batch `again_of`, after `parent`, the latest of the part."""
        rows = body.rows
        if self.bounds.cap_usd is not None and body.high_usd is None:
            raise unpriced(body.estimate)
        many = len(self.job.parts) > 1
        name = f"part {number + 1} of {len(self.job.parts)}: " if many else ""
        about = body.draft(
            self.around.beta,
            source=self.job.source,
            label=self.label,
            part=number + 1 if many else None,
            parent=again_of,
        )
        outgoing = OutgoingCreate(self._account.tool, {"requests": []}, body.copy.path, about)

        async def progress(_done: float, _total: float, words: str) -> None:
            self._show(f"submitting {name}{words}")

        many_rows = f"{rows:,} request{'' if rows == 1 else 's'}"
        self._show(f"submitting {name}{many_rows}")
        try:
            sent = await self._create(outgoing, progress)
        except CallError as error:
            if parent is None and await self._taken_up(number):
                return
            if error.report.retry is Retry.USELESS:
                raise
            self._refused += 1
            pause_s = error.report.retry_after_s or min(2.0**self._refused, LONGEST_PAUSE_S)
            self._hold_until_s = self.asking.now_s() + pause_s
            self.asking.troubled(error)
            return
        self.asking.well()
        self._refused = 0
        self.sent += not sent.earlier
        attempt = Attempt(
            str(sent.batch and sent.batch.id), rows, created_s=sent.batch.created_s if sent.batch else None
        )
        self._follow(number, attempt)
        made = Made(body.content, attempt.batch_id, rows, parent.batch_id if parent else None, self.start.name)
        await anyio.to_thread.run_sync(self._made.note, made)
        self._waiting_since_s = self.asking.now_s()
        # What was there before may have ended long ago.
        self._next_poll_s = min(self._next_poll_s, self.asking.now_s() + (0.0 if sent.earlier else self._pace_s))
        verb = "taken up as" if sent.earlier else "sent again as" if parent else "submitted as"
        self.asking.watch.note(f"{name}{many_rows} {verb} {attempt.batch_id}")
        if parent is None:
            _remove(self.folder.body(number))

    async def learn(self) -> None:
        """Learn of the batches that have come into being while nobody was waiting for them."""
        for number, part in enumerate(self.parts):
            if not part.attempts and await self._taken_up(number):
                self.submitting = False

    async def _taken_up(self, number: int) -> bool:
        """Whether a part has a batch, of an earlier run or, meanwhile, of another process with the same job."""
        part = self.job.parts[number]
        batch_id = await anyio.to_thread.run_sync(self._made.of_part, part.content, part.rows, self.start)
        if batch_id is not None:
            entry = await anyio.to_thread.run_sync(self.records.ledger.find, batch_id)
            created_s = entry.shown.created_s if entry else None
            self.parts[number] = PartState((Attempt(batch_id, part.rows, created_s=created_s),))
            self._next_poll_s = self.asking.now_s()
        return batch_id is not None

    async def _create(self, outgoing: OutgoingCreate, progress: Callable[..., Awaitable[None]]) -> Sent:
        rules = CreateRules(attach=True, certain=True, cap_usd=self.bounds.cap_usd, after=self.start.after)
        self.submitting = True
        try:
            with ExitStack() as stack:
                sent = await submit(self._account, outgoing, rules, progress, stack, math.inf)
        except CallError:
            self.submitting = False
            raise
        self.submitting = False
        for warning in sent.warnings:
            self.asking.watch.note(warning)
        return sent

    async def _save(self, number: int) -> None:
        attempt = self.parts[number].attempts[-1]
        try:
            spool = await self.asking.spool(attempt.batch_id, self._show)
        except CallError as error:
            await self._lose(number, error)
            return
        self.parts[number] = self.parts[number].with_last(retryable=await self._retryable(number))
        if made := await anyio.to_thread.run_sync(self._made.retry_of, attempt.batch_id):
            # With types of its own, a run sends again as often as it says, whatever was done before.
            self._follow(number, Attempt(made.batch_id, made.rows, earlier=self.bounds.retry_types != PASSING))
            self._next_poll_s = self.asking.now_s()
        cost_usd = actual_usd(spool.tokens)
        if cost_usd is not None:
            await anyio.to_thread.run_sync(self.records.ledger.cost, attempt.batch_id, cost_usd)
        await note_answers(self.asking.account, spool)
        self._show("")

    async def _retryable(self, number: int) -> int:
        """How many rows of a part are to be sent again, as far as its results are on disk."""
        stored = [await self._stored(each.batch_id) for each in self.parts[number].attempts]
        spools = [spool for spool in stored if spool is not None]
        found = await anyio.to_thread.run_sync(rows_again, spools, self.bounds.retry_types)
        return sum(map(len, found))

    async def _lose(self, number: int, error: CallError) -> None:
        """Go on without the latest batch of a part, as far as its results are not on disk, and with what followed it.

        What failed in it cannot be sent again, for its requests are kept no longer than its results. A batch that may
        not be found yet is asked for again later.

        Raises:
            CallError: the error is another one.
        """
        why = never_comes(error)
        if why is None:
            raise error
        batch_id = self.parts[number].attempts[-1].batch_id
        if error.report.type != why and await self._is_new(batch_id):
            self.parts[number] = self.parts[number].with_last(ended=False)
            self._next_poll_s = self.asking.now_s() + self._pace_s
            return
        spool = await self._stored(batch_id)
        whole = spool is not None and spool.complete
        rows = f"{self.parts[number].attempts[-1].rows:,} rows"
        here = f"its {rows} are in the copy of its results here." if whole else f"this concerns {rows}."
        self.asking.watch.note(f"{why}: {error.report.message} Part {number + 1} of {len(self.job.parts)}; {here}")
        self.parts[number] = self.parts[number].with_last(ended=True, retryable=0, lost=None if whole else why)
        if following := await self._following(batch_id):
            self._follow(number, following)

    async def _following(self, batch_id: str) -> Attempt | None:
        """The latest batch that sent rows of a batch again, as the ledger knows it, or as this job noted it."""
        retries = await anyio.to_thread.run_sync(self.records.ledger.retries, batch_id)
        if settled := [entry for entry in retries if entry.settled]:
            latest = settled[-1]
            made = Made(latest.content, str(latest.batch_id), latest.rows, batch_id, self.start.name)
            await anyio.to_thread.run_sync(self._made.note, made)
            return Attempt(made.batch_id, made.rows)
        noted = await anyio.to_thread.run_sync(self._made.retry_of, batch_id)
        return Attempt(noted.batch_id, noted.rows) if noted else None

    def _follow(self, number: int, attempt: Attempt) -> None:
        self.parts[number] = PartState((*self.parts[number].attempts, attempt))

    def _keep_as_it_is(self, number: int, error: CallError) -> None:
        attempt = self.parts[number].attempts[-1]
        rows = attempt.retryable or 0
        self.asking.watch.note(
            f"{rows:,} {'row' if rows == 1 else 'rows'} cannot be sent again: {error.report.message}"
        )
        self.parts[number] = self.parts[number].with_last(retryable=0)

    async def _wait(self) -> None:
        """Sleep until it is time to ask or to send, and ask."""
        soonest_s = [self._hold_until_s] if self._hold_until_s > self.asking.now_s() else []
        soonest_s += [self._next_poll_s] if any(part.open for part in self.parts) else []
        self._show(WAITING)
        await self.asking.sleep(min(soonest_s, default=0.0) - self.asking.now_s())
        if self.asking.now_s() >= self._next_poll_s:
            await self._poll()

    async def _poll(self) -> None:
        """Ask how the open batches are.

        The oldest is asked for by itself, since only that answer says when to ask again; two others or more come by
        one list, unless other batches of the account have pushed them out of it.
        """
        of = {part.attempts[-1].batch_id: number for number, part in enumerate(self.parts) if part.open}
        if not of:
            return
        seen = dict[str, Batch]()
        hints_s: list[float] = []
        for batch_id in of:
            if len(seen) == 1 and len(of) > 2:
                page = await self.asking.until_answered(partial(self._account.batches.page, _LIST_LIMIT))
                seen |= {batch.id: batch for batch in page.batches}
            if batch_id not in seen:
                try:
                    batch, answer = await self.asking.until_answered(partial(self._account.batches.get, batch_id))
                except CallError as error:
                    await self._lose(of[batch_id], error)
                    continue
                seen[batch_id] = batch
                hints_s += [] if (hint_s := retry_after_s(answer.headers)) is None else [hint_s]
        await learn(self._account, [seen[batch_id] for batch_id in of if batch_id in seen])
        for batch_id, number in of.items():
            if batch_id in seen:
                self.parts[number] = self.parts[number].with_last(created_s=seen[batch_id].created_s)
            if batch_id in seen and seen[batch_id].ended:
                if not await anyio.to_thread.run_sync(self._made.has, batch_id):
                    # It had been adopted, and the answer of another create has named it meanwhile.
                    self.parts[number] = PartState(self.parts[number].attempts[:-1])
                    continue
                self.parts[number] = self.parts[number].with_last(ended=True)
                self.asking.watch.note(f"{batch_id} has ended: {_counts(seen[batch_id])}")
                self._waiting_since_s = self.asking.now_s()
        waited_s = self.asking.now_s() - self._waiting_since_s
        self._pace_s = max([*hints_s, _SHORTEST_POLL_S]) if hints_s else self._pace_s
        grown_s = min(waited_s * _POLL_SHARE, LONGEST_PAUSE_S)
        self._next_poll_s = self.asking.now_s() + max(self._pace_s, grown_s)

    async def _is_new(self, batch_id: str) -> bool:
        """Whether a batch is so new that the upstream may not find it yet."""
        entry = await anyio.to_thread.run_sync(self.records.ledger.find, batch_id)
        created_s = entry.shown.created_s if entry and not entry.deleted else None
        return created_s is not None and abs(self._account.upstream.time_s() - created_s) < _SETTLING_S

    @property
    def _made(self) -> MadeBatches:
        return self.folder.made(self.records)

    @property
    def _account(self) -> Account:
        return self.asking.account

    def _show(self, doing: str) -> None:
        self.asking.watch.show(self.job, self.parts, doing, self._account.upstream.time_s())


def _remove(path: Path) -> None:
    with suppress(OSError):  # gone already, or, on Windows, open in another process
        path.unlink()


def _counts(batch: Batch) -> str:
    return ", ".join(f"{number:,} {name}" for name, number in batch.counts.items() if number) or "nothing counted"
