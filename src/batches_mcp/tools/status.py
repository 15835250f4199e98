"""`status`: the state of a batch, and waiting within one call for its end.

Waiting only ever asks: whatever happens to the call, the batch goes on.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import anyio

from batches_mcp.api.batch import Batch
from batches_mcp.core.errors import CallError, Retry
from batches_mcp.core.text import count
from batches_mcp.exchange import result
from batches_mcp.exchange.failure import retry_after_s
from batches_mcp.exchange.result import Answer
from batches_mcp.store.entry import State
from batches_mcp.tools import OUR_KEY
from batches_mcp.tools.asked import DEFAULT_LIMIT
from batches_mcp.tools.call import Call
from batches_mcp.tools.known import Known
from batches_mcp.tools.refused import explained
from batches_mcp.tools.totals import Totals, advice, billed, billed_words
from batches_mcp.work.account import Account
from batches_mcp.work.download import whole_copy
from batches_mcp.work.learn import in_doubt, learn

# The upstream names its own pace in `retry-after`; this is for when it does not.
_POLL_S = 5.0
# However short a pace it names, it is not asked without a rest.
_SHORTEST_POLL_S = 1.0
# Hosts that count their time-out from the last progress get one this often.
_PROGRESS_S = 5.0
_SOONEST_S, _LATEST_S = 60.0, 900.0


async def state(call: Call, cap_s: float) -> dict[str, Any]:
    """The upstream batch, at its end or when `wait_seconds`, at most `cap_s` of them, are over.

    Raises:
        CallError: there is no state to tell, or an error that waiting does not mend.
    """
    asked_s = float(call.arguments.get("wait_seconds", 0))
    waiting = _Waiting(call, min(asked_s, cap_s))
    async with explained(call):
        batch, answer = await waiting.until_ended()
    waited_s = round(waiting.passed_s(), 1) if waiting.paused else 0.0
    seen = await learn(call.account, [batch])
    known = Known.of(seen, batch.id)
    remarks: dict[str, Any] = {
        **known.facts,
        "done": batch.ended,
        "waited_s": waited_s,
        **await _outlook(call.account, batch, answer, known),
    }
    if known.entry is not None and known.entry.state is State.ADOPTED:
        remarks["next_step"] = f"This is the batch of the create that was not answered. {remarks['next_step']}"
    for entry in seen.doubted.values():
        remarks["candidate"] = True
        remarks["next_step"] = f"{in_doubt(entry)} {remarks['next_step']}"
    if asked_s > cap_s:
        remarks["notice"] = (
            f"wait_seconds was cut from {asked_s:g} to {cap_s:g}, the longest this server waits in a call."
        )
    return result.bounded({**batch.raw, OUR_KEY: remarks}, answer)


async def _outlook(account: Account, batch: Batch, answer: Answer, known: Known) -> dict[str, Any]:
    """When to look again, or what the batch came to; and what to do next."""
    if not batch.ended:
        wait_s = _poll_after_s(batch, answer, account.upstream.clock.wall_s())
        return {"poll_after_s": wait_s, "next_step": _later(batch, wait_s)}
    over = {"poll_after_s": None}
    if batch.archived:
        return {
            **over,
            "next_step": "Its results are no longer available: they are kept for 29 days after its creation.",
        }
    spool = await whole_copy(account, batch.id, batch.total) if batch.id else None
    came_to = billed(batch, known.entry.cost_usd if known.entry is not None else None)
    if spool is None:
        return {**over, **came_to, "next_step": " ".join(filter(None, [billed_words(batch), _unseen(batch)]))}
    totals = Totals.of(spool)
    to_do = advice(batch, totals, ours=known.retriable, retries=known.retries)
    steps = [billed_words(batch), to_do or _succeeded(batch)]
    return {
        **over,
        **came_to,
        "attention": dict(totals.attention),
        "retryable": totals.retryable,
        "needs_fixing": totals.need_fixing,
        "next_step": " ".join(filter(None, steps)),
    }


class _Waiting:
    """One call's wait. Time is that of the upstream's clock, so that tests need not wait themselves."""

    def __init__(self, call: Call, wait_s: float) -> None:
        self._call = call
        self._wait_s = wait_s
        self.clock = call.account.upstream.clock
        self.paused = False
        self._started_s = self.clock.now_s()

    def passed_s(self) -> float:
        return self.clock.now_s() - self._started_s

    async def until_ended(self) -> tuple[Batch, Answer]:
        """The last state that was learned, with the answer it came in."""
        known: tuple[Batch, Answer] | None = None
        failure: CallError | None = None
        while True:
            pause_s: float | None = None
            try:
                with anyio.fail_after(self._left_s()) if known or failure else nullcontext():
                    known = await self._ask()
                pause_s = retry_after_s(known[1].headers)
            except CallError as error:
                if not self._passes(error):
                    raise
                failure, pause_s = error, error.report.retry_after_s
            except TimeoutError:
                pass  # the call's time is over, and with it the wait
            if known and (known[0].ended or self._over()):
                return known
            if failure and self._over():
                raise failure
            await self._pause(max(pause_s or _POLL_S, _SHORTEST_POLL_S), known[0] if known else None)

    async def _ask(self) -> tuple[Batch, Answer]:
        answer = await self._call.forward.answer(self._call.tool, self._call.arguments)
        return Batch.of(result.whole(self._call.tool.result, answer)), answer

    def _over(self) -> bool:
        return self.passed_s() >= self._wait_s

    def _left_s(self) -> float:
        """What a question after the first may take: the wait ends on time, whether the upstream answers or not."""
        return max(0.0, self._wait_s - self.passed_s()) + self._call.limits.last_answer_s

    def _passes(self, error: CallError) -> bool:
        """Whether asking again later may do."""
        settling = self._call.forward.recent.settling(self._call.tool.request, self._call.arguments, self.clock.now_s())
        return error.report.retry is Retry.HELPS or (settling and error.report.status == 404)

    async def _pause(self, pause_s: float, batch: Batch | None) -> None:
        """Sleep until it is time to ask again, telling now and then that the wait goes on."""
        self.paused = True
        until_s = min(self.passed_s() + pause_s, self._wait_s)
        while (passed_s := self.passed_s()) < until_s:
            await self._call.progress(round(passed_s, 1), self._wait_s, _progress(batch))
            await self.clock.sleep(min(_PROGRESS_S, until_s - passed_s))


def _progress(batch: Batch | None) -> str:
    """Never a share of the requests: the upstream counts all of them as processing until the batch has ended."""
    if batch is None:
        return "waiting for the upstream to answer"
    return f"{batch.status}: {count(batch.total, 'request')}"


def _poll_after_s(batch: Batch, answer: Answer, now_s: float) -> int:
    """When asking again is worth a turn: a quarter of the batch's age, which is what it has taken so far."""
    soonest_s = max(_SOONEST_S, retry_after_s(answer.headers) or 0.0)
    return round(max(soonest_s, min(_age_s(batch, now_s) / 4, _LATEST_S)))


def _later(batch: Batch, wait_s: int) -> str:
    minutes = round(wait_s / 60) or 1
    later = f"come back in {count(minutes, 'minute')}"
    if batch.status == "canceling":
        return f"It is being canceled, which takes up to some minutes. Tell the user, and {later}."
    return (
        "It goes on without you; most batches end within an hour, all within 24. "
        f"Tell the user its id, {batch.id}, and {later}, rather than ask over and over."
    )


def _succeeded(batch: Batch) -> str:
    at_once = ", all rows at once with as_file" if batch.total > DEFAULT_LIMIT else ""
    return f"Every request succeeded: retrieve the results{at_once}."


def _unseen(batch: Batch) -> str:
    """What to do with results that nobody has looked at yet."""
    unfinished = {name: number for name, number in batch.counts.items() if name != "succeeded" and number}
    if not unfinished:
        return _succeeded(batch)
    named = ", ".join(f"{number:,} {name}" for name, number in unfinished.items())
    return (
        f"{batch.counts.get('succeeded', 0):,} succeeded, but {named}: retrieve the results with result_types "
        f"[{', '.join(unfinished)}], whose counts.failures say why, and what can be sent again."
    )


def _age_s(batch: Batch, now_s: float) -> float:
    return 0.0 if batch.created_s is None else max(0.0, now_s - batch.created_s)
