"""The one boundary, of MCP and REST alike: whatever goes wrong in an answer is a report by here."""

from __future__ import annotations

import logging
from collections.abc import Awaitable
from typing import TypeVar

from mcp.shared.exceptions import MCPError
from starlette.requests import ClientDisconnect

from batches_mcp.core.errors import CallError, ErrorReport
from batches_mcp.serve.requestids import request_id

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")


async def attempt(what: str, answer: Awaitable[Answer]) -> Answer | ErrorReport:
    """The answer, or the report of what went wrong; `what` names it in the log.

    Raises:
        MCPError: the answer is an error of the protocol.
        ClientDisconnect: nobody waits for an answer any more.
    """
    try:
        return await answer
    except CallError as error:
        return error.report
    except (MCPError, ClientDisconnect):
        raise
    except Exception:
        # The SDK would hand the exception's text to clients of the 2025 revisions.
        reference = request_id()
        log.exception("%s failed unexpectedly (reference %s)", what, reference)
        return ErrorReport(
            "internal_error",
            f"internal error (reference {reference}).",
            f"Tell the user; the server's log (stderr) has the details under {reference}.",
        )
