"""Asking the user, through the host, before a create that may cost more than the operator lets pass unasked."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from batches_mcp.core.errors import CallError, ErrorReport
from batches_mcp.core.settings import BatchSettings
from batches_mcp.core.text import count

if TYPE_CHECKING:
    from batches_mcp.tools.call import Call
    from batches_mcp.work.intake import Body
    from batches_mcp.work.send import Confirm

ARGUMENT = "confirmed_cost_usd"


class Reply(StrEnum):
    """What came of a question: yes, no, or nothing, since nobody could be asked or nobody answered."""

    YES = "yes"
    NO = "no"
    NONE = "none"


Ask = Callable[[str], Awaitable[Reply]]
"""Asks the user a question that is answered with yes or no."""


async def nobody(_: str) -> Reply:
    """The way to ask where there is no user."""
    return Reply.NONE


def confirmation(call: Call, settings: BatchSettings, body: Body) -> Confirm | None:
    """The question that a create has to pass since it may cost more than `--confirm-over`; None when there is none.

    Asking raises CallError when the user said no, or when there was no answer.
    """
    limit_usd, most_usd = settings.confirm_over_usd, body.high_usd
    if limit_usd is None or settings.sandbox:
        return None
    if most_usd is not None and most_usd <= max(limit_usd, call.arguments.get(ARGUMENT, 0)):
        return None

    async def confirm() -> None:
        match await call.ask(f"Send {count(body.rows, 'request')} as a batch, {_cost(body.estimate)}?"):
            case Reply.NO:
                raise _declined(body)
            case Reply.NONE:
                raise _unconfirmed(body, limit_usd)
            case Reply.YES:
                pass

    return confirm


def _cost(estimate: Mapping[str, Any]) -> str:
    from batches_mcp.requests.cost import rounded  # for a create only: servers start without it

    cost = rounded(estimate)["cost_usd"]
    if cost["high"] is None:
        return "whose cost cannot be estimated"
    least = f"{_usd(cost['low'])} to" if cost["low"] else "up to"
    return f"for {least} {_usd(cost['high'])} (half the standard price)"


def _declined(body: Body) -> CallError:
    message = f"the user said no to sending {count(body.rows, 'request')}, {_cost(body.estimate)}."
    return CallError(ErrorReport("declined", message, "Nothing was sent. Ask the user what to do instead."))


def _unconfirmed(body: Body, limit_usd: float) -> CallError:
    from batches_mcp.requests.cost import rounded
    from batches_mcp.work.refusals import unpriced

    most_usd = rounded(body.estimate)["cost_usd"]["high"]
    asks = f"Above {_usd(limit_usd)} (--confirm-over) the user is asked first, and gave no answer through this host."
    if most_usd is None:
        unknown = unpriced(body.estimate).report.message
        next_step = "Nothing was sent. Tell the user; only the operator can let it pass, without --confirm-over."
        return CallError(ErrorReport("confirmation_needed", f"{unknown} {asks}", next_step))
    message = f"sending {count(body.rows, 'request')} may cost {_usd(most_usd)}. {asks}"
    next_step = (
        f"Nothing was sent. Tell the user that it may cost up to {_usd(most_usd)}, and only after a yes make the same "
        f"call again with {ARGUMENT} {most_usd}."
    )
    return CallError(ErrorReport("confirmation_needed", message, next_step))


def _usd(amount_usd: float) -> str:
    return f"${amount_usd:,.2f}" if amount_usd >= 1 else f"${amount_usd:g}"
