"""Creates that need an approval: kept while they wait, answered by another principal, and then sent by a server.

Whoever approves writes that down, and no more; a server that finds it sends the create through the one gate, where one
claim alone can begin it. So the batch is made whoever has left meanwhile, and once, by whichever server is there.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread

from batches_mcp.access.principal import Principal
from batches_mcp.api.body import frame
from batches_mcp.core.errors import CallError, ErrorReport, MissingVariable, Retry, UpstreamError
from batches_mcp.core.redact import excerpt
from batches_mcp.core.text import count
from batches_mcp.requests.reading import unpacked
from batches_mcp.store.approvals import Approvals
from batches_mcp.store.claim_rules import Begun, Changed, ClaimRules, Made, Unsettled
from batches_mcp.store.entry import Answer, Approval, Draft, Origin, rfc3339
from batches_mcp.store.kept import Copy
from batches_mcp.store.records import Records
from batches_mcp.work.account import Account
from batches_mcp.work.deliver import OutgoingCreate, start
from batches_mcp.work.intake import drafts
from batches_mcp.work.ownership import owns
from batches_mcp.work.reconcile import baseline, look

log = logging.getLogger(__name__)

OWN_REQUEST = "own_request"
# Between two tries to send what could not be sent.
_LONGEST_PAUSE_S = 600.0
_PIECE_BYTES = 1 << 18


def keep(records: Records, path: Path, draft: Draft, approval: Approval) -> None:
    """Keep the requests of a create that waits; only then is it shown to anybody.

    Raises:
        StateUnusable: they cannot be kept, and nobody is asked.
    """
    try:
        records.kept.keep(Copy(path, draft.body, draft.body_bytes)).close()
    except CallError:
        records.ledger.approvals.withdraw(approval.id)
        raise
    records.ledger.approvals.kept(approval.id, draft)


async def pending(account: Account) -> list[Approval]:
    """What waits for an answer that the caller is shown, the oldest first.

    Raises:
        CallError: the state cannot be used.
    """
    records, caller = account.begun_records(), account.runtime.caller
    if records is None or caller is None:
        return []
    found = await anyio.to_thread.run_sync(records.ledger.approvals.pending)
    return [each for each in found if owns(caller, each)]


async def answer(account: Account, approval_id: str, *, approve: bool) -> Approval:
    """Approve or deny a create in the caller's name; the approval as it is then.

    To give the same answer again changes nothing.

    Raises:
        CallError: there is none that the caller may answer, or it was answered otherwise.
    """
    records, caller = account.begun_records(), account.runtime.caller
    approvals = None if records is None else records.ledger.approvals
    found = None if approvals is None else await anyio.to_thread.run_sync(approvals.find, approval_id)
    if approvals is None or found is None or caller is None or not found.kept or not owns(caller, found):
        raise absent(approval_id)
    if found.principal == caller.name:
        raise await anyio.to_thread.run_sync(refuse_own, approvals, approval_id, caller.name)
    return await anyio.to_thread.run_sync(answered, approvals.answer, approval_id, caller.name, approve)


def refuse_own(approvals: Approvals, approval_id: str, approver: str) -> CallError:
    """Write down that somebody tried to answer their own request; the error that tells them."""
    approvals.refused(approval_id, approver, OWN_REQUEST)
    message = f"{approval_id} is your own request, which somebody else has to approve."
    advice = "Ask somebody else with batches:approve."
    return CallError(ErrorReport("permission_error", message, advice, status=403, at_shell="Ask somebody else."))


def answered(
    give: Callable[..., tuple[Approval | None, bool]], approval_id: str, approver: str, approve: bool
) -> Approval:
    """What an answer comes to that was found to be the approver's to give; `give` is `Approvals.answer`.

    Raises:
        CallError: it was answered otherwise, or too late.
    """
    found, changed = give(approval_id, approver, approve=approve)
    if found is None:
        raise absent(approval_id)
    same = {Answer.APPROVED, Answer.USED} if approve else {Answer.DENIED}
    if not changed and found.state not in same:
        raise _not_pending(found)
    return found


@dataclass(slots=True)
class Sender:
    """Sends what was approved of one account, whoever approved it and wherever, as long as the server lives."""

    account: Account
    _failures: dict[str, int] = field(default_factory=dict)
    _not_before_s: dict[str, float] = field(default_factory=dict)

    async def keep_sending(self) -> None:
        while True:
            try:
                await self.account.look_up()
                records = self.account.begun_records()
                if records is not None:
                    for approval in await anyio.to_thread.run_sync(records.ledger.approvals.approved):
                        await self.send(approval)
            except MissingVariable:
                return  # no credential, so no account, and every call will say so
            except CallError as error:
                log.warning("creates that were approved cannot be looked for: %s", error)
            await anyio.sleep(self.account.limits.approvals_look_s)

    async def send(self, approval: Approval) -> None:
        """Send one, unless that failed a moment ago; what failed is tried again later, and later each time."""
        now_s = self.account.upstream.clock.now_s()
        if self._not_before_s.get(approval.id, now_s) > now_s:
            return
        try:
            await send(self.account, approval)
        except CallError as error:
            failures = self._failures[approval.id] = self._failures.get(approval.id, 0) + 1
            pause_s = min(_LONGEST_PAUSE_S, self.account.limits.approvals_look_s * 2**failures)
            self._not_before_s[approval.id] = now_s + pause_s
            log.warning("%s, which was approved, was not sent: %s", approval.id, error)


async def send(account: Account, approval: Approval) -> None:
    """Send a create that was approved, unless somebody else has begun it or something else stands against it.

    Raises:
        CallError: it was not sent, and may be later.
    """
    records = account.records()
    assert records is not None  # noqa: S101 - it has approvals
    approvals = records.ledger.approvals
    origin = Origin(approval.tool, approval.door or "", approval.request_id or "")
    rules = ClaimRules(approval.again, approval_id=approval.id, origin=origin)
    delivery = None
    with ExitStack() as sources:
        try:
            outgoing = await account.runtime.long_work(_restored, account, records, approval, sources)
        except FileNotFoundError:
            log.warning("the requests of %s, which was approved, are no longer there", approval.id)
            await anyio.to_thread.run_sync(approvals.reject, approval.id, "requests_not_kept")
            return
        upstream = await baseline(account)
        # What is claimed must be sent or given back, so that nothing may come in between.
        with anyio.CancelScope(shield=True):
            claim = await anyio.to_thread.run_sync(records.claim, approval.draft, upstream, rules)
            if isinstance(claim, Begun):
                file = await anyio.to_thread.run_sync(records.keep, outgoing.path, claim.entry)
                stack = ExitStack()
                stack.enter_context(file)
                key = (account.name, approval.team, approval.content)
                delivery = start(account, outgoing, key, claim.entry, file, stack, records)
    match claim:
        case Made():
            await anyio.to_thread.run_sync(approvals.reject, approval.id, "duplicate_create")
        case Changed():
            await anyio.to_thread.run_sync(approvals.reject, approval.id, "source_changed")
        case Unsettled(entry):
            await look(account, records, entry)
        case _:
            pass
    if delivery is None:
        return
    await delivery.done.wait()
    failure = delivery.failure
    if isinstance(failure, UpstreamError) and failure.report.retry is Retry.USELESS:
        await anyio.to_thread.run_sync(approvals.reject, approval.id, failure.report.type)
    elif isinstance(failure, CallError):
        raise failure


def _restored(account: Account, records: Records, approval: Approval, sources: ExitStack) -> OutgoingCreate:
    """What is sent of a create that waited: its requests are brought to where a create's are before it is begun.

    Raises:
        FileNotFoundError: they are not kept any more.
    """
    arguments = {"requests": [], **({"betas": approval.betas.split(",")} if approval.betas else {})}
    around = frame(account.tool.request, arguments, account.forward.variables, account.limits)
    if around.beta != approval.betas:
        message = f"{account.tool.name} cannot send the betas {approval.betas!r} that {approval.id} was asked for with."
        raise CallError(ErrorReport("not_declared", message, "Tell the user."))
    here = drafts(account.runtime)
    path = sources.enter_context(here.draft())
    with records.kept.opened(approval.body, approval.betas) as file:
        here.write(path, iter(partial(unpacked(file).read, _PIECE_BYTES), b""), approval.betas)
    return OutgoingCreate(account.tool, arguments, path, approval.draft)


def subject(approval: Approval) -> str:
    """What an approval is about, in a few words."""
    about = approval.label or approval.source or "requests of a call"
    if approval.job_id is None:
        return about
    batches = count(approval.parts or 0, "batch", "batches")
    return f"job {approval.job_id}: {batches} for {approval.models}, {about}"


def shown(approval: Approval, caller: Principal | None = None) -> dict[str, object]:
    """An approval as it is listed; times are RFC 3339, costs in USD.

    `may_answer` tells whether the caller, who may approve, may answer this one: nobody answers their own request.
    """
    return {
        "id": approval.id,
        "state": str(approval.state),
        "principal": approval.principal,
        "client": approval.client,
        "team": approval.team,
        "label": approval.label,
        "source": approval.source,
        "part": approval.part,
        "parts": approval.parts if approval.job_id is None else None,
        "job": approval.job_id,
        "batches": 1 if approval.job_id is None else approval.parts,
        "models": approval.models,
        "retry_of": approval.parent,
        "rows": approval.rows,
        "estimate_usd": approval.estimate_usd,
        "over_usd": approval.over_usd,
        "asked_at": rfc3339(approval.asked_s),
        "expires_at": rfc3339(approval.expires_s),
        "approver": approval.approver,
        "may_answer": approval.state is Answer.PENDING and (caller is None or approval.principal != caller.name),
    }


def absent(approval_id: str) -> CallError:
    """The error for an approval that is not there, or none of the caller's business."""
    message = f"there is no create {excerpt(approval_id, 100)} that waits for your approval."
    return CallError(ErrorReport("not_found_error", message, "List what waits, and take an id from there.", status=404))


def _not_pending(approval: Approval) -> CallError:
    by = f" by {approval.approver}" if approval.approver else ""
    message = f"{approval.id} is {approval.state}{by} already; an answer is given once."
    advice = "Nothing was changed. The same create again asks for a new approval."
    return CallError(ErrorReport("conflict_error", message, advice, status=409, at_shell=advice))
