"""`approvals`: the creates of a service, and the jobs, that wait for somebody to approve them."""

from __future__ import annotations

import json

import click

from batches_mcp.cli.flags import flag
from batches_mcp.cli.ledgers import databases, state_flags
from batches_mcp.cli.person import person
from batches_mcp.cli.startup import say
from batches_mcp.core.errors import BatchesMcpError
from batches_mcp.core.redact import excerpt, printable
from batches_mcp.core.settings import BatchSettings


@click.group()
def approvals() -> None:
    """Creates and jobs that wait for an approval, since they may cost more than approve_over_usd of their team.

    Who can use these commands has the state itself, and is an approver without a scope; the audit calls them
    shell:USER@HOST.
    """


@approvals.command("list")
@flag("--json", "as_json", is_flag=True, help="Print a JSON array.")
@state_flags
def list_pending(*, as_json: bool, batch: BatchSettings) -> None:
    """Show what waits, the oldest first."""
    from batches_mcp.cli.display import console, show_table, up_to
    from batches_mcp.store.approvals import Approvals
    from batches_mcp.store.entry import rfc3339
    from batches_mcp.work.approvals import shown, subject

    with databases(batch) as found:
        waiting = [each for name, database in found.items() if name for each in Approvals(database).pending()]
    waiting.sort(key=lambda each: (each.asked_s, each.id))
    if as_json:
        click.echo(json.dumps([shown(each) for each in waiting], indent=2, ensure_ascii=False))
        return
    if not waiting:
        say("nothing waits for an approval")
        return
    head = ["id", "team", "asked by", "rows", "cost", "until", "what"]
    lines = [
        [
            each.id,
            each.team or "",
            each.principal or "",
            f"{each.rows:,}",
            up_to(each.estimate_usd),
            rfc3339(each.expires_s),
            excerpt(subject(each), 60),
        ]
        for each in waiting
    ]
    show_table(console(error=False), head, lines)


@approvals.command("approve")
@click.argument("approval_id", metavar="ID")
@state_flags
def approve(*, approval_id: str, batch: BatchSettings) -> None:
    """Approve a create, which a server of the service sends within a few seconds, once; or a job, which goes on."""
    _answer(approval_id, batch, approve=True)


@approvals.command("deny")
@click.argument("approval_id", metavar="ID")
@state_flags
def deny(*, approval_id: str, batch: BatchSettings) -> None:
    """Deny a create or a job: it is not sent, and what was reserved for it is free again."""
    _answer(approval_id, batch, approve=False)


def _answer(approval_id: str, batch: BatchSettings, *, approve: bool) -> None:
    from batches_mcp.store.approvals import Approvals
    from batches_mcp.store.entry import Answer
    from batches_mcp.work.approvals import answered, refuse_own

    approver = person()
    with databases(batch) as found:
        for name, database in found.items():
            known = Approvals(database).find(approval_id) if name else None
            if known is not None and known.kept:
                if known.principal == approver:
                    raise refuse_own(Approvals(database), approval_id, approver)
                answer = answered(Approvals(database).answer, approval_id, approver, approve)
                break
        else:
            shown = printable(excerpt(approval_id, 100))
            raise BatchesMcpError(f"nothing with the id {shown} waits for an approval; see `approvals list`")
    if answer.state is Answer.DENIED:
        say(f"{approval_id} is denied")
    elif answer.state is Answer.USED and answer.job_id is None:
        say(f"{approval_id} was approved and begun before")
    elif answer.job_id is not None:
        say(f"{approval_id} is approved; the workers of job {answer.job_id} go on within a minute")
    else:
        say(f"{approval_id} is approved; a server of the service sends it within a few seconds")
