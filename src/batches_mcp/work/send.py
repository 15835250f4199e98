"""The one gate that every create passes: written down first, sent once, and its outcome written down after."""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

import anyio
import anyio.to_thread

from batches_mcp.api.batch import Batch
from batches_mcp.core.errors import CallError
from batches_mcp.store.claim_rules import (
    Begun,
    Busy,
    Changed,
    Claim,
    ClaimRules,
    JobTotal,
    Made,
    OverCap,
    QueueFull,
    TooManyWaiting,
    Unconfirmed,
    Unsettled,
    Waiting,
)
from batches_mcp.store.entry import DOUBT_S, Answer, Approval, Entry
from batches_mcp.store.records import Records
from batches_mcp.work import approvals
from batches_mcp.work.account import Account
from batches_mcp.work.audited import origin_of
from batches_mcp.work.deliver import OutgoingCreate, record, start, watch
from batches_mcp.work.evidence import Adopt, Candidates, InDoubt, NoneFound
from batches_mcp.work.in_progress import Delivery
from batches_mcp.work.intake import remove_abandoned
from batches_mcp.work.ownership import approve_over_usd, caps_of, in_name_of, owns
from batches_mcp.work.reconcile import baseline, look
from batches_mcp.work.refusals import (
    changed,
    denied,
    duplicate,
    not_begun,
    over_cap,
    queue_full,
    too_many_waiting,
    unknown_spent,
    unsettled,
)
from batches_mcp.work.runtime import Progress

log = logging.getLogger(__name__)

# How often another process's row is looked at.
_ELSEWHERE_S = 0.5

Confirm = Callable[[], Awaitable[None]]
"""Returns once the user has agreed to a create; raises CallError when they have not."""


@dataclass(frozen=True, slots=True)
class CreateRules:
    """What may be sent: `again` also what was sent not long ago, or may have been; `cap_usd` bounds 24 hours.

    `attach` takes the batch that was made of the same content before, in place of an error that there is one. Who wants
    to be `certain` is answered with an error as long as a batch only may be the one. `repeats` sends again what
    made a batch that its caller was told of, and nothing that is in doubt. Entries of the ledger up to the key `after`
    do not count: their content may be sent again. No more than `queue_requests` of the account are in progress. A
    create of a `job` is approved with that.
    """

    again: bool = False
    cap_usd: float | None = None
    attach: bool = False
    certain: bool = False
    repeats: bool = False
    after: int = 0
    queue_requests: int | None = None
    job: JobTotal | None = None


@dataclass(frozen=True, slots=True)
class Sent:
    """What came of it within the time of a call: a batch, or none as yet while it is being submitted.

    `earlier` tells that the batch is one that an earlier call of the same content made, `candidate` that it only may
    be; `headers` are those of the answer, if it was given just now. Nothing is being sent while an approval is
    `pending`.
    """

    batch: Batch | None
    earlier: bool = False
    warnings: list[str] = field(default_factory=list)
    headers: Mapping[str, str] = field(default_factory=dict)
    candidate: bool = False
    pending: Approval | None = None


async def submit(
    account: Account,
    outgoing: OutgoingCreate,
    rules: CreateRules,
    progress: Progress,
    sources: ExitStack,
    deadline_s: float,
    confirm: Confirm | None = None,
) -> Sent:
    """Pass the gate. `sources` holds the body's place, and is closed when that is no longer needed.

    Before its first byte is sent, a create can be canceled. After that it runs to its end, and the call is answered at
    `deadline_s` (of the event loop's clock) at the latest. `confirm` is awaited when nothing else stands against the
    create; how long the user takes does not count.

    Raises:
        CallError: there is no batch of it, or it is not known whether there is one.
    """
    waiting: Delivery | None = None
    earlier = False
    against: list[Claim] = []
    with anyio.CancelScope(deadline=deadline_s) as call_time:

        async def confirmed() -> None:
            if confirm is not None:
                began_s, call_time.deadline = anyio.current_time(), math.inf
                await confirm()
                call_time.deadline = deadline_s + anyio.current_time() - began_s

        if account.runtime.all_records is None:
            await confirmed()
            body = sources.enter_context(outgoing.path.open("rb"))
            waiting = start(account, outgoing, None, None, body, sources.pop_all())
        else:
            found = await _begin(account, outgoing, rules, against, None if confirm is None else confirmed)
            if isinstance(found, Sent):
                return found
            waiting, earlier = found
        await watch(account, waiting, progress)
    if waiting is None:
        match against[-1:]:
            case [Unsettled(entry)]:
                raise unsettled(entry, InDoubt(DOUBT_S), account.limits)
            case []:
                raise not_begun(account.upstream.limits.call_s)
            case _:
                return Sent(None, earlier=True)
    if not waiting.done.is_set():
        return Sent(None, earlier=earlier)
    if waiting.candidate is not None and not rules.certain:
        return Sent(waiting.candidate, candidate=True)
    if waiting.batch is None:
        raise waiting.failure or RuntimeError("a delivery ended with neither a batch nor a failure")
    records = account.records()
    if records is not None and waiting.entry is not None and not waiting.warnings:
        await anyio.to_thread.run_sync(records.ledger.told, waiting.entry.key)
    return Sent(waiting.batch, earlier, waiting.warnings, waiting.headers)


async def _begin(
    account: Account, outgoing: OutgoingCreate, rules: CreateRules, against: list[Claim], confirm: Confirm | None
) -> Sent | tuple[Delivery, bool]:
    """The delivery of this content, and whether an earlier call began it; or its batch, when there is one already.

    `against` is told what stands in the way, as long as it does.
    """
    # Any answer names the account of a credential that was not seen before.
    upstream = None if account.is_known else await baseline(account)
    await account.look_up()
    draft = in_name_of(account.runtime.caller, outgoing.about)
    key = (account.name, draft.team, draft.content)
    records = account.records()
    assert records is not None  # noqa: S101 - a ledger is kept
    await anyio.to_thread.run_sync(records.check, account.upstream.time_s())
    upstream = upstream or await baseline(account)
    account.runtime.tasks.start_soon(_tidy, account, records)
    awaited: set[int] = set()
    claim_rules = ClaimRules(
        rules.again,
        rules.attach,
        caps=caps_of(account.runtime.caller, rules.cap_usd),
        after=rules.after,
        unconfirmed=confirm is not None,
        repeats=rules.repeats,
        approve_over_usd=approve_over_usd(account.runtime.caller),
        open_approvals=account.limits.open_approvals,
        origin=origin_of(account),
        queue_requests=rules.queue_requests,
        job=rules.job,
    )
    while True:
        running = account.runtime.deliveries.find(key)
        if running is not None and running.done.is_set():
            await record(account, records, running)
            if not running.recorded:
                raise running.failure or RuntimeError("an outcome was not recorded for no reason")
            account.runtime.deliveries.remove(key, running)
        elif running is not None and not rules.again:
            return running, True
        # What is claimed must be sent or given back, so that nothing may come in between.
        with anyio.CancelScope(shield=True):
            claim = await anyio.to_thread.run_sync(records.claim, draft, upstream, claim_rules)
            if isinstance(claim, Begun):
                file = await anyio.to_thread.run_sync(records.keep, outgoing.path, claim.entry)
                stack = ExitStack()
                stack.enter_context(file)
                return start(account, outgoing, key, claim.entry, file, stack, records), False
            if isinstance(claim, Waiting) and not claim.approval.kept:
                await anyio.to_thread.run_sync(approvals.keep, records, outgoing.path, draft, claim.approval)
        if isinstance(claim, Unconfirmed):
            assert confirm is not None  # noqa: S101 - only then is a claim unconfirmed
            await confirm()
            upstream = await baseline(account)  # as it is when the create is sent
            claim_rules = replace(claim_rules, unconfirmed=False)
            continue
        against.append(claim)
        match claim:
            case Waiting(approval) if approval.state is Answer.DENIED:
                raise denied(approval)
            case Waiting(approval):
                return Sent(None, pending=approval)
            case Made(entry) if entry.told and entry.key not in awaited and not rules.attach:
                if rules.repeats:
                    claim_rules = replace(claim_rules, repeated=True)
                    continue
                raise duplicate(entry, upstream.now_s)
            case Made(entry):
                await anyio.to_thread.run_sync(records.ledger.told, entry.key)
                return Sent(entry.last_seen, earlier=True)
            case TooManyWaiting(waiting):
                raise too_many_waiting(waiting)
            case Changed(entry):
                raise changed(draft, entry)
            case OverCap(cap, unknown=Entry() as entry):
                raise unknown_spent(entry if owns(account.runtime.caller, entry) else None, cap)
            case OverCap(cap, spent_usd):
                raise over_cap(spent_usd, draft, cap)
            case QueueFull(requests):
                raise queue_full(requests, draft, rules.queue_requests, account.limits)
            case Busy(entry):
                awaited.add(entry.key)
                running = account.runtime.deliveries.find(key)
                if running is None or running.done.is_set():
                    await anyio.sleep(_ELSEWHERE_S)
                elif rules.again:
                    await running.done.wait()
            case Unsettled(entry):
                match await look(account, records, entry):
                    case Adopt(batch):
                        await anyio.to_thread.run_sync(records.ledger.told, entry.key)
                        return Sent(batch, earlier=True)
                    case Candidates([batch]) if not rules.certain:
                        return Sent(batch, candidate=True)
                    case NoneFound():
                        pass
                    case verdict:
                        raise unsettled(entry, verdict, account.limits)


async def _tidy(account: Account, records: Records) -> None:
    upstream = account.upstream
    if upstream.time_is_known:
        try:
            now_s = min(upstream.time_s(), upstream.clock.wall_s())
            await anyio.to_thread.run_sync(records.tidy, now_s)
            await anyio.to_thread.run_sync(remove_abandoned, account.runtime.state.local, now_s)
        except CallError as error:
            log.warning("%s", error)
