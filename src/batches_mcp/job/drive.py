"""Carrying out a job: it submits, waits, gets results and sends rows again, until every row has its last outcome.

Whatever happens to the process, the same job goes on from where it was: each create passes the one gate of `send`,
which takes the batch that was made of the same content, and looks for one that may have been.
"""

from __future__ import annotations

from functools import partial

import anyio.to_thread

from batches_mcp.api.batch import Batch
from batches_mcp.core.errors import CallError
from batches_mcp.exchange.failure import retry_after_s
from batches_mcp.job.again import rows_again
from batches_mcp.job.asking import WAITING, never_comes
from batches_mcp.job.sending import send_part
from batches_mcp.job.state import JobState
from batches_mcp.job.steps import Attempt, Done, PartState, Save, Submit, Wait, next_step
from batches_mcp.requests.cost import actual_usd
from batches_mcp.store.spool import Spool
from batches_mcp.work.answered import note_answers
from batches_mcp.work.learn import learn
from batches_mcp.work.retryable import PASSING

_SHORTEST_POLL_S = 0.5
# A look costs at most a twentieth of what has been waited, and comes once a minute at least.
_POLL_SHARE = 0.05
_LIST_LIMIT = 100


class Drive(JobState):
    """A job that is carried out."""

    async def run(self) -> None:
        """Carry the job out to its end, or until it is given up.

        Raises:
            CallError: something that does not pass. What was submitted goes on, and the same job can be resumed.
        """
        with anyio.move_on_after(self.bounds.give_up_s) as time:
            await self._run()
        self.given_up = time.cancelled_caught

    async def _run(self) -> None:
        self.waiting_since_s = self.asking.now_s()
        while True:
            room = self.bounds.max_open if self.asking.now_s() >= self.hold_until_s else 0
            match next_step(self.parts, room, self.bounds.retries):
                case Submit(number, again):
                    await send_part(self, number, again=again)
                case Save(number):
                    await self._save(number)
                case Wait():
                    await self._wait()
                case Done():
                    self.show("done")
                    return

    async def results(self, number: int) -> list[Spool]:
        """The results of a part, on disk, by batch; one that had to make room is fetched, unless time is over.

        Rows that never come, or have not come, are in none of them.
        """
        found = []
        attempts = self.parts[number].attempts
        while self.given_up and attempts and (following := await self.following(attempts[-1].batch_id)):
            attempts = (*attempts, following)
        for attempt in attempts:
            spool = await self.stored(attempt.batch_id)
            if (spool is None or not spool.complete) and attempt.saved and not attempt.lost and not self.given_up:
                spool = await self.asking.spool(attempt.batch_id, self.show)
            found += [spool] if spool else []
        return found

    async def learn(self) -> None:
        """Learn of the batches that have come into being while nobody was waiting for them."""
        for number, part in enumerate(self.parts):
            if not part.attempts and await self.taken_up(number):
                self.submitting = False

    async def _save(self, number: int) -> None:
        attempt = self.parts[number].attempts[-1]
        try:
            spool = await self.asking.spool(attempt.batch_id, self.show)
        except CallError as error:
            await self._lose(number, error)
            return
        self.parts[number] = self.parts[number].with_last(retryable=await self._retryable(number))
        if made := await anyio.to_thread.run_sync(self.made.retry_of, attempt.batch_id):
            # With types of its own, a run sends again as often as it says, whatever was done before.
            self.follow(number, Attempt(made.batch_id, made.rows, earlier=self.bounds.retry_types != PASSING))
            self.next_poll_s = self.asking.now_s()
        cost_usd = actual_usd(spool.tokens)
        if cost_usd is not None:
            await anyio.to_thread.run_sync(self.records.ledger.cost, attempt.batch_id, cost_usd)
        await note_answers(self.asking.account, spool)
        self.show("")

    async def _retryable(self, number: int) -> int:
        """How many rows of a part are to be sent again, as far as its results are on disk."""
        stored = [await self.stored(each.batch_id) for each in self.parts[number].attempts]
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
        now_s = self.account.upstream.time_s()
        if error.report.type != why and await anyio.to_thread.run_sync(self.records.is_new, batch_id, now_s):
            self.parts[number] = self.parts[number].with_last(ended=False)
            self.next_poll_s = self.asking.now_s() + self.pace_s
            return
        spool = await self.stored(batch_id)
        whole = spool is not None and spool.complete
        rows = f"{self.parts[number].attempts[-1].rows:,} rows"
        here = f"its {rows} are in the copy of its results here." if whole else f"this concerns {rows}."
        self.asking.watch.note(f"{why}: {error.report.message} Part {number + 1} of {len(self.job.parts)}; {here}")
        self.parts[number] = self.parts[number].with_last(ended=True, retryable=0, lost=None if whole else why)
        if following := await self.following(batch_id):
            self.follow(number, following)

    async def _wait(self) -> None:
        """Sleep until it is time to ask or to send, and ask."""
        soonest_s = [self.hold_until_s] if self.hold_until_s > self.asking.now_s() else []
        soonest_s += [self.next_poll_s] if any(part.open for part in self.parts) else []
        self.show(WAITING)
        await self.asking.sleep(min(soonest_s, default=0.0) - self.asking.now_s())
        if self.asking.now_s() >= self.next_poll_s:
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
                page = await self.asking.until_answered(partial(self.account.batches.page, _LIST_LIMIT))
                seen |= {batch.id: batch for batch in page.batches}
            if batch_id not in seen:
                try:
                    batch, answer = await self.asking.until_answered(partial(self.account.batches.get, batch_id))
                except CallError as error:
                    await self._lose(of[batch_id], error)
                    continue
                seen[batch_id] = batch
                hints_s += [] if (hint_s := retry_after_s(answer.headers)) is None else [hint_s]
        await learn(self.account, [seen[batch_id] for batch_id in of if batch_id in seen])
        for batch_id, number in of.items():
            if batch_id in seen:
                self.parts[number] = self.parts[number].with_last(created_s=seen[batch_id].created_s)
            if batch_id in seen and seen[batch_id].ended:
                if not await anyio.to_thread.run_sync(self.made.has, batch_id):
                    # It had been adopted, and the answer of another create has named it meanwhile.
                    self.parts[number] = PartState(self.parts[number].attempts[:-1])
                    continue
                self.parts[number] = self.parts[number].with_last(ended=True)
                self.asking.watch.note(f"{batch_id} has ended: {_counts(seen[batch_id])}")
                self.waiting_since_s = self.asking.now_s()
        waited_s = self.asking.now_s() - self.waiting_since_s
        self.pace_s = max([*hints_s, _SHORTEST_POLL_S]) if hints_s else self.pace_s
        grown_s = min(waited_s * _POLL_SHARE, self.account.limits.job_pause_s)
        self.next_poll_s = self.asking.now_s() + max(self.pace_s, grown_s)


def _counts(batch: Batch) -> str:
    return ", ".join(f"{number:,} {name}" for name, number in batch.counts.items() if number) or "nothing counted"
