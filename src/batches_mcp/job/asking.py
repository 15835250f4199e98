"""Asking the upstream for what a job reads, through every failure that passes, and telling what never passes."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Protocol, TypeVar

from batches_mcp.core.errors import CallError, ErrorReport, Retry
from batches_mcp.job.steps import Job, PartState
from batches_mcp.store.spool import Spool
from batches_mcp.work.account import Account
from batches_mcp.work.download import is_whole, spooled
from batches_mcp.work.in_progress import Download

# What a job is doing while nothing can be done before a batch ends.
WAITING = "waiting"
INCOMPLETE, GONE = "results_incomplete", "results_gone"
# Each of them reads the stream several times.
_MOST_INCOMPLETE = 4

AnswerT = TypeVar("AnswerT")


class Watch(Protocol):
    """Whoever looks on."""

    def note(self, text: str) -> None:
        """Something happened."""

    def show(self, job: Job, parts: list[PartState], doing: str, now_s: float) -> None:
        """How things stand at a Unix time of the upstream's, shown again and again."""


class Silence:
    """Nobody looks on."""

    def note(self, text: str) -> None:
        pass

    def show(self, job: Job, parts: list[PartState], doing: str, now_s: float) -> None:
        pass


@dataclass(slots=True)
class Asking:
    """Asks for an account."""

    account: Account
    watch: Watch = field(default_factory=Silence)
    _last_error: str = ""

    async def until_answered(self, ask: Callable[[], Awaitable[AnswerT]]) -> AnswerT:
        """An answer that only reading is needed for.

        Raises:
            CallError: something that does not pass; results that are incomplete each time are no longer retried.
        """
        failures = incomplete = 0
        while True:
            try:
                answer = await ask()
            except CallError as error:
                incomplete += error.report.type == INCOMPLETE
                if incomplete >= _MOST_INCOMPLETE:
                    raise CallError(replace(error.report, retry=Retry.USELESS)) from error
                if error.report.retry is not Retry.HELPS:
                    raise
                failures += 1
                self.troubled(error)
                await self.sleep(error.report.retry_after_s or min(2.0**failures, self.account.limits.job_pause_s))
            else:
                self.well()
                return answer

    async def spool(self, batch_id: str, tell: Callable[[str], None]) -> Spool:
        """The whole of a batch's results, however often the upstream has to be asked.

        Raises:
            CallError: as `never_comes` tells, or another that does not pass.
        """

        async def progress(_done: float, _total: float, words: str) -> None:
            tell(f"getting results: {words}")

        async def once() -> Spool:
            batch = await self.account.batches.ended(batch_id)
            try:
                found = await spooled(self.account, batch, progress, math.inf)
            except CallError as error:
                if error.report.type == GONE and not batch.settling:
                    raise CallError(replace(error.report, retry=Retry.USELESS)) from error
                raise
            if isinstance(found, Download) or not is_whole(found, batch):
                rows = 0 if isinstance(found, Download) else found.head.rows
                message = f"the results of {batch_id} have {rows:,} of {batch.total:,} rows."
                raise CallError(ErrorReport(INCOMPLETE, message, "Ask again.", Retry.HELPS))
            return found

        return await self.until_answered(once)

    def troubled(self, error: CallError) -> None:
        """Tell of a failure that is waited out, once."""
        text = error.report.message
        if text != self._last_error:
            self._last_error = text
            self.watch.note(f"{error.report.type}: {text} Trying again.")

    def well(self) -> None:
        """What was asked for came."""
        self._last_error = ""

    def now_s(self) -> float:
        return self.account.upstream.clock.now_s()

    async def sleep(self, seconds: float) -> None:
        await self.account.upstream.clock.sleep(max(0.0, seconds))


def never_comes(error: CallError) -> str | None:
    """The type of an error for which results of a batch will never come; None for any other error."""
    if error.report.type in (INCOMPLETE, GONE):
        return error.report.type
    return GONE if error.report.status == HTTPStatus.NOT_FOUND else None
