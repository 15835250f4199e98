"""Whose a batch is: a team sees its own and no other, and what may be spent is counted by the team."""

from __future__ import annotations

from dataclasses import replace
from http import HTTPStatus

import anyio.to_thread

from batches_mcp.access.principal import Principal
from batches_mcp.api.batch import ID_FORM
from batches_mcp.core.errors import ErrorReport, UpstreamError
from batches_mcp.core.redact import excerpt
from batches_mcp.store.claim_rules import Cap, Window
from batches_mcp.store.entry import Draft
from batches_mcp.work.account import Account


def in_name_of(caller: Principal | None, draft: Draft) -> Draft:
    """A create as it is written down: with who makes it."""
    if caller is None:
        return draft
    return replace(draft, principal=caller.name, client=caller.client, team=caller.team_name)


def caps_of(caller: Principal | None, max_cost_usd: float | None) -> tuple[Cap, ...]:
    """The caps that a create must pass, all of them: the operator's own, and those of the caller's team."""
    caps = [] if max_cost_usd is None else [Cap(max_cost_usd)]
    if caller is not None and caller.team is not None:
        named = ((Window.DAY, caller.team.caps.day_usd), (Window.MONTH, caller.team.caps.month_usd))
        caps += [Cap(usd, window, caller.team.name) for window, usd in named if usd is not None]
    return tuple(caps)


def approve_over_usd(caller: Principal | None) -> float | None:
    """What a caller's create may cost without somebody's approval; None: any amount."""
    return None if caller is None or caller.team is None else caller.team.approve_over_usd


def sees_all(caller: Principal | None) -> bool:
    """Whether a caller is shown every batch of the account: an admin is, and whoever is told apart from nobody."""
    return caller is None or caller.is_admin


def owns(caller: Principal | None, entry: Draft) -> bool:
    """Whether a caller is shown the batch of an entry."""
    return caller is None or caller.is_admin or entry.team == caller.team_name


async def own_ids(account: Account) -> list[str]:
    """The batches that the caller's team has made, newest first.

    Raises:
        CallError: the ledger cannot be read.
    """
    records, caller = account.begun_records(), account.runtime.caller
    if records is None or caller is None:
        return []
    return await anyio.to_thread.run_sync(records.ledger.batch_ids, caller.team_name)


async def require_own(account: Account, batch_id: str, *, candidates: bool = False) -> None:
    """Return if the caller is shown a batch; `candidates` also one that may be of a create in doubt.

    Nothing is asked of the upstream: a batch of somebody else and one that does not exist cannot be told apart, by
    the answer or by how long it takes.

    Raises:
        UpstreamError: it is none of the caller's.
        CallError: the ledger cannot be read.
    """
    caller = account.runtime.caller
    if caller is None or caller.is_admin:
        return
    records = account.begun_records()
    if records is not None:
        find = [records.ledger.find, *([records.ledger.doubted] if candidates else [])]
        for each in find:
            entry = await anyio.to_thread.run_sync(each, batch_id)
            if entry is not None and owns(caller, entry):
                return
    raise absent(batch_id)


def absent(batch_id: str) -> UpstreamError:
    """The error for a batch that the caller's team has not made, whether it exists or not."""
    message = f"there is no batch {excerpt(batch_id, 100)} among those that your team made."
    next_step = (
        f"Check the id. Ids of batches have the form {ID_FORM}; list the batches to find the right one. One that is "
        "not there was deleted, or never was."
    )
    report = ErrorReport("not_found_error", message, next_step, status=HTTPStatus.NOT_FOUND)
    return UpstreamError(report)
