"""Carrying out a job: it submits, waits, gets results and sends rows again, until every row has its last outcome.

Whatever happens to the process, the same job goes on from where it was: each create passes the one gate of `send`,
which takes the batch that was made of the same content, and looks for one that may have been.
"""

from __future__ import annotations

import math
import os
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

import anyio.to_thread

from batches_mcp import result
from batches_mcp.batch.call import Call, Desk
from batches_mcp.batch.cost import actual_usd, estimate
from batches_mcp.batch.create.entry import Draft
from batches_mcp.batch.create.records import Records
from batches_mcp.batch.create.refusals import unpriced
from batches_mcp.batch.create.retry import retried
from batches_mcp.batch.create.send import Parcel, Rules, Sent, submit
from batches_mcp.batch.hearing import heard
from batches_mcp.batch.job.intake import JobFolder
from batches_mcp.batch.job.steps import Attempt, Done, Job, Part, Save, Submit, Wait, next_step, retryable
from batches_mcp.batch.requests.body import Frame
from batches_mcp.batch.requests.scan import Scan
from batches_mcp.batch.results.download import Download, is_whole, spooled
from batches_mcp.batch.results.ended import ended
from batches_mcp.batch.results.spool import Spool, load
from batches_mcp.batch.siblings import BATCH_ID, Siblings
from batches_mcp.errors import CallError, ErrorReport, Retry
from batches_mcp.failure import retry_after_s
from batches_mcp.plan import ToolPlan
from batches_mcp.state import unusable

_POLL_S, _SHORTEST_POLL_S = 5.0, 0.5
# A look costs at most a twentieth of what has been waited, and comes once a minute at least.
_POLL_SHARE = 0.05
_LONGEST_PAUSE_S = 60.0
_LIST_LIMIT = 100
_PIECE_BYTES = 1 << 18

AnswerT = TypeVar("AnswerT")


class Watch(Protocol):
    """Whoever looks on."""

    def note(self, text: str) -> None:
        """Something happened."""

    def show(self, job: Job, parts: list[Part], doing: str) -> None:
        """How things stand, told again and again."""


class Silence:
    """Nobody looks on."""

    def note(self, text: str) -> None:
        pass

    def show(self, job: Job, parts: list[Part], doing: str) -> None:
        pass


@dataclass(frozen=True, slots=True)
class Bounds:
    """How a job is carried out: so many batches in progress at a time, and each row sent again so often at most."""

    max_open: int
    retries: int
    cap_usd: float | None = None


@dataclass(slots=True)
class Drive:
    """One job, carried out with a desk; `tool` is the one that creates batches."""

    desk: Desk
    tool: ToolPlan
    records: Records
    around: Frame
    folder: JobFolder
    job: Job
    bounds: Bounds
    watch: Watch = field(default_factory=Silence)
    parts: list[Part] = field(default_factory=list)
    sent: int = 0
    _next_poll_s: float = 0.0
    _pace_s: float = _POLL_S
    _hold_until_s: float = 0.0
    _refused: int = 0
    _waiting_since_s: float = 0.0
    _trouble: str = ""

    async def find(self) -> None:
        """Learn from the ledger which parts have a batch already; asks nobody."""
        for part in self.job.parts:
            entry = await anyio.to_thread.run_sync(self.records.ledger.standing, part.content)
            self.parts.append(Part((Attempt(str(entry.batch_id), part.rows),) if entry else ()))

    async def run(self) -> None:
        """Carry the job out to its end.

        Raises:
            CallError: something that does not pass. What was submitted goes on, and the same job can be resumed.
        """
        self._waiting_since_s = self._now_s()
        while True:
            room = self.bounds.max_open if self._now_s() >= self._hold_until_s else 0
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
        """The results of each batch of a part, on disk; from there, unless they had to make room for others."""
        folder, found = self.desk.account(self.tool, "spool"), []
        for attempt in self.parts[number].attempts:
            spool = await anyio.to_thread.run_sync(load, folder, attempt.batch_id)
            found.append(spool if spool and spool.complete else await self._spool(attempt.batch_id))
        return found

    async def _submit(self, number: int, again: bool) -> None:
        if not again and await self._taken_up(number):
            return
        path = self.folder.body(number)
        parent = self.parts[number].attempts[-1] if again else None
        if parent is None:
            job_part = self.job.parts[number]
            cost, rows, content = job_part.estimate, job_part.rows, job_part.content
        else:
            path = path.with_suffix(f".again-{len(self.parts[number].attempts)}-{os.getpid()}.json")
            cost, rows, content = await self._write_again(path, parent.batch_id)
        if self.bounds.cap_usd is not None and cost["cost_usd"]["high"] is None:
            raise unpriced(cost)
        many = len(self.job.parts) > 1
        name = f"part {number + 1} of {len(self.job.parts)}: " if many else ""
        about = Draft(
            content=content,
            rows=rows,
            body_bytes=0,
            source=self.job.source,
            part=number + 1 if many else None,
            parent=parent.batch_id if parent else None,
            estimate_usd=cost["cost_usd"]["high"],
            betas=self.around.beta,
        )

        async def progress(_done: float, _total: float, words: str) -> None:
            self._show(f"submitting {name}{words}")

        many_rows = f"{rows:,} request{'' if rows == 1 else 's'}"
        self._show(f"submitting {name}{many_rows}")
        try:
            parcel = Parcel(self.tool, {"requests": []}, path.stat().st_size, partial(_pieces, path), about)
            sent = await self._create(parcel, progress)
        except (CallError, FileNotFoundError) as error:
            if not again and not path.exists() and await self._taken_up(number):
                return  # another process has sent it, and removed the body
            if isinstance(error, FileNotFoundError):
                raise unusable(path, error) from error
            if error.report.retry is Retry.USELESS:
                raise
            self._refused += 1
            pause_s = error.report.retry_after_s or min(2.0**self._refused, _LONGEST_PAUSE_S)
            self._hold_until_s = self._now_s() + pause_s
            self._troubled(error)
            return
        self._well()
        self._refused = 0
        self.sent += not sent.earlier
        attempt = Attempt(str((sent.batch or {})["id"]), rows)
        self.parts[number] = Part((*self.parts[number].attempts, attempt))
        self._waiting_since_s = self._now_s()
        # What was there before may have ended long ago.
        self._next_poll_s = min(self._next_poll_s, self._now_s() + (0.0 if sent.earlier else self._pace_s))
        verb = "taken up as" if sent.earlier else "sent again as" if again else "submitted as"
        self.watch.note(f"{name}{many_rows} {verb} {attempt.batch_id}")
        path.unlink(missing_ok=True)

    async def _taken_up(self, number: int) -> bool:
        """Whether a batch of a part has come into being meanwhile, by another process with the same job."""
        part = self.job.parts[number]
        entry = await anyio.to_thread.run_sync(self.records.ledger.standing, part.content)
        if entry is not None:
            self.parts[number] = Part((Attempt(str(entry.batch_id), part.rows),))
            self._next_poll_s = self._now_s()
        return entry is not None

    async def _create(self, parcel: Parcel, progress: Callable[..., Awaitable[None]]) -> Sent:
        rules = Rules(attach=True, certain=True, cap_usd=self.bounds.cap_usd)
        with ExitStack() as stack:
            sent = await submit(self.desk, parcel, rules, progress, stack, math.inf)
        for warning in sent.warnings:
            self.watch.note(warning)
        return sent

    async def _write_again(self, path: Path, batch_id: str) -> tuple[dict[str, Any], int, str]:
        """Write the body of the rows of a batch that are sent again; what it may cost, and how many there are."""
        await self._spool(batch_id)
        call = Call(self.desk, self.tool, {"retry_of": batch_id}, _silent)
        source = (await self._until_answered(partial(retried, call, again=True))).source

        def write() -> tuple[dict[str, Any], int, str]:
            found = Scan(self.around.rules, source.place)

            def rows() -> Iterator[bytes]:
                for number, row in source.rows():
                    found.add(number, row)
                    if isinstance(row, bytes):
                        yield row

            def pieces() -> Iterator[bytes]:
                yield from self.around.around(rows())
                yield self.around.closing

            self.records.kept.write(path, pieces(), self.around.beta)
            [part] = found.parts
            return estimate(found.demand), found.requests, part.content(self.around.beta)

        return await anyio.to_thread.run_sync(write)

    async def _save(self, number: int) -> None:
        attempt = self.parts[number].attempts[-1]
        spool = await self._spool(attempt.batch_id)
        again = sum(number for kind, number in spool.by_kind.items() if retryable(kind))
        self.parts[number] = self.parts[number].with_last(retryable=again)
        cost_usd = actual_usd(spool.tokens)
        if cost_usd is not None:
            await anyio.to_thread.run_sync(self.records.ledger.cost, attempt.batch_id, cost_usd)
        self._show("")

    async def _spool(self, batch_id: str) -> Spool:
        """The whole of a batch's results, however often the upstream has to be asked."""

        async def progress(_done: float, _total: float, words: str) -> None:
            self._show(f"getting results: {words}")

        async def once() -> Spool:
            batch = await ended(self.desk, self.tool, batch_id)
            found = await spooled(self.desk, self.tool, batch, progress, math.inf)
            if isinstance(found, Download) or not is_whole(found, batch):
                message = f"the results of {batch_id} were cut off."
                raise CallError(ErrorReport("results_incomplete", message, "Ask again.", Retry.HELPS))
            return found

        return await self._until_answered(once)

    async def _until_answered(self, ask: Callable[[], Awaitable[AnswerT]]) -> AnswerT:
        """An answer that only reading is needed for, through every failure that passes."""
        failures = 0
        while True:
            try:
                answer = await ask()
            except CallError as error:
                if error.report.retry is not Retry.HELPS:
                    raise
                failures += 1
                self._troubled(error)
                await self._sleep(error.report.retry_after_s or min(2.0**failures, _LONGEST_PAUSE_S))
            else:
                self._well()
                return answer

    async def _wait(self) -> None:
        """Sleep until it is time to ask or to send, and ask."""
        soonest_s = [self._hold_until_s] if self._hold_until_s > self._now_s() else []
        soonest_s += [self._next_poll_s] if any(part.open for part in self.parts) else []
        self._show("waiting")
        await self._sleep(min(soonest_s, default=0.0) - self._now_s())
        if self._now_s() >= self._next_poll_s:
            await self._poll()

    async def _poll(self) -> None:
        """Ask how the open batches are.

        The oldest is asked for by itself, since only that answer says when to ask again; two others or more come by
        one list, unless other batches of the account have pushed them out of it.
        """
        of = {part.attempts[-1].batch_id: number for number, part in enumerate(self.parts) if part.open}
        if not of:
            return
        siblings, seen = Siblings(self.tool), dict[str, Mapping[str, Any]]()
        hints_s: list[float] = []
        for batch_id in of:
            if len(seen) == 1 and len(of) > 2:
                arguments = {"limit": _LIST_LIMIT}
                listed = await self._until_answered(partial(self.desk.forward.answer, siblings.list, arguments))
                page = result.whole(siblings.list.result, listed)
                seen |= {str(each.get("id")): each for each in page.get("data", ()) if isinstance(each, dict)}
            if batch_id not in seen:
                ask = partial(self.desk.forward.answer, siblings.retrieve, {BATCH_ID: batch_id})
                answer = await self._until_answered(ask)
                seen[batch_id] = result.whole(siblings.retrieve.result, answer)
                hints_s += [] if (hint_s := retry_after_s(answer.headers)) is None else [hint_s]
        batches = [seen[batch_id] for batch_id in of]
        await heard(Call(self.desk, self.tool, {}, _silent), batches)
        for batch_id, number in of.items():
            if seen[batch_id].get("processing_status") == "ended":
                if await anyio.to_thread.run_sync(self.records.ledger.find, batch_id) is None:
                    # It had been adopted unseen, and its custom_ids have shown it to be another's.
                    self.parts[number] = Part(self.parts[number].attempts[:-1])
                    continue
                self.parts[number] = self.parts[number].with_last(ended=True)
                self.watch.note(f"{batch_id} has ended: {_counts(seen[batch_id])}")
                self._waiting_since_s = self._now_s()
        waited_s = self._now_s() - self._waiting_since_s
        self._pace_s = max([*hints_s, _SHORTEST_POLL_S]) if hints_s else self._pace_s
        grown_s = min(waited_s * _POLL_SHARE, _LONGEST_PAUSE_S)
        self._next_poll_s = self._now_s() + max(self._pace_s, grown_s)

    def _troubled(self, error: CallError) -> None:
        """Tell of a failure that is waited out, once."""
        text = error.report.message
        if text != self._trouble:
            self._trouble = text
            self.watch.note(f"{error.report.type}: {text} Trying again, for as long as it takes.")

    def _well(self) -> None:
        self._trouble = ""

    def _show(self, doing: str) -> None:
        self.watch.show(self.job, self.parts, doing)

    def _now_s(self) -> float:
        return self.desk.forward.upstream.clock.now_s()

    async def _sleep(self, seconds: float) -> None:
        await self.desk.forward.upstream.clock.sleep(max(0.0, seconds))


async def _silent(_done: float, _total: float, _words: str) -> None:
    pass


def _pieces(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            while piece := file.read(_PIECE_BYTES):
                yield piece
    except OSError as error:
        raise unusable(path, error) from error


def _counts(batch: Mapping[str, Any]) -> str:
    counts = batch.get("request_counts")
    named = [f"{number:,} {name}" for name, number in counts.items() if number] if isinstance(counts, dict) else []
    return ", ".join(named) or "nothing counted"
