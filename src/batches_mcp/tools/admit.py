"""What a caller may do: the one check before any behaviour answers, of MCP and REST alike."""

from __future__ import annotations

from batches_mcp.access.principal import needed
from batches_mcp.core.errors import CallError, ErrorReport, UpstreamError
from batches_mcp.core.plan import BehaviorName
from batches_mcp.tools.call import Call
from batches_mcp.work import audited
from batches_mcp.work.ownership import require_own

_OF_ONE_BATCH = (BehaviorName.STATUS, BehaviorName.RESULTS, BehaviorName.CANCEL, BehaviorName.DELETE)


async def admit(call: Call) -> None:
    """Return if the caller may make a call: it has the scopes, and the batch is its team's.

    Raises:
        CallError: it may not.
    """
    if call.tool.behavior is not None:
        await call.account.look_up()
    caller = call.runtime.caller
    if caller is None:
        return
    if lacking := caller.lacks(needed(call.tool.request.method)):
        await audited.refused(call.runtime, call.tool.name, "insufficient_scope")
        raise lacks(lacking)
    if call.tool.behavior in _OF_ONE_BATCH:
        # A batch in doubt is looked at by its status, which finds out whose it is.
        candidates = call.tool.behavior is BehaviorName.STATUS
        try:
            await require_own(call.account, call.batch_id, candidates=candidates)
        except UpstreamError:
            await audited.refused(call.runtime, call.tool.name, "not_own_batch", batch_id=call.batch_id)
            raise


def lacks(scopes: frozenset[str]) -> CallError:
    """The error for a call that needs scopes which its caller has not."""
    named = " and ".join(sorted(scopes))
    message = f"this call needs the scope {named}, which your credential does not have."
    return CallError(
        ErrorReport(
            "permission_error", message, "Nothing was sent. Tell the user to ask the operator for it.", status=403
        )
    )
