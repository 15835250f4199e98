"""Which call something is done for. It is known to all that runs for a call, in its tasks and threads alike."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(slots=True)
class CallContext:
    """A call of MCP or REST. What becomes known of it on its way is filled in; `address` is its client's.

    `upstream_request_id` is the upstream's id of the latest exchange that was made for it.
    """

    request_id: str
    trace_id: str | None = None
    team: str | None = None
    principal: str | None = None
    address: str | None = None
    upstream_request_id: str | None = None

    @property
    def is_known(self) -> bool:
        """Whether it is known whose call it is."""
        return bool(self.team or self.principal)

    @property
    def caller(self) -> str:
        """With whom it shares its turns: its team, else its principal, else its client's address."""
        return self.team or self.principal or self.address or ""


_current: ContextVar[CallContext | None] = ContextVar("batches_mcp.call", default=None)


def current() -> CallContext | None:
    """The call that this is done for; None outside of any."""
    return _current.get()


def enter(context: CallContext) -> None:
    """From here on, what this task does and begins is done for a call."""
    _current.set(context)
