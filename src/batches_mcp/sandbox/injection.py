"""What happens to a request that meets a fault."""

import json
from collections.abc import Awaitable, Callable, Generator
from functools import partial

from anyio import sleep
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from batches_mcp.sandbox import errors, streams
from batches_mcp.sandbox.answers import Answer
from batches_mcp.sandbox.connection import Reset, ResultStream
from batches_mcp.sandbox.faults import Fault, FaultKind
from batches_mcp.sandbox.labels import labelled

__all__ = ["inject"]

# Inferred texts; of the spend limit's, the first sentence is documented.
_TEXTS = {
    FaultKind.RATE_LIMIT: (Answer.INJECTED_RATE_LIMIT, "This request would exceed your organization's rate limit."),
    FaultKind.SPEND_CAP: (Answer.INJECTED_SPEND_CAP, "Your organization has reached its monthly spend limit."),
    FaultKind.SPEND_LIMIT: (
        Answer.INJECTED_SPEND_LIMIT,
        "You have reached your specified API usage limits. You will regain access on the first of next month.",
    ),
    FaultKind.SERVER_ERROR: (Answer.INJECTED_SERVER_ERROR, "Internal server error"),
    FaultKind.TIMEOUT: (Answer.INJECTED_TIMEOUT, "Request timed out"),
    FaultKind.LATE_CREATE: (Answer.INJECTED_LATE_CREATE, "Request timed out"),
    FaultKind.OVERLOADED: (Answer.INJECTED_OVERLOADED, "Overloaded"),
}
_GATEWAY_PAGE = "<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>\n"


async def inject(fault: Fault, request: Request, handle: Callable[[], Awaitable[Response]]) -> Response:
    """The answer to a request that meets `fault`; `handle` gives the one it would get without. May raise ApiError."""
    match fault.kind:
        case FaultKind.BAD_GATEWAY:
            return labelled(HTMLResponse(_GATEWAY_PAGE, 502), Answer.INJECTED_BAD_GATEWAY)
        case FaultKind.NOT_FOUND:
            raise errors.batch_missing(Answer.INJECTED_NOT_FOUND, request.path_params["batch_id"])
        case FaultKind.REDIRECT:
            return labelled(RedirectResponse(fault.location, 307), Answer.INJECTED_REDIRECT)
        case FaultKind.DELAY:
            await sleep(fault.seconds)
            return await handle()
        case FaultKind.RESET:
            return Reset()
        case FaultKind.RESET_AFTER:
            await handle()
            return Reset()
        case FaultKind.LATE_CREATE:
            request.state.late_s = fault.seconds
            await handle()
            if fault.reset:
                return Reset()
            raise errors.injected(*_TEXTS[fault.kind])
        case FaultKind.DATE_SKEW:
            request.state.date_skew_s = fault.seconds
            return await handle()
        case FaultKind.EXTRA_COUNT:
            return _with_count(await handle(), fault.counter, fault.number)
        case FaultKind.CUT:
            response = await handle()
            return response.cut(fault.rows, mid_row=fault.mid_row) if isinstance(response, ResultStream) else response
        case FaultKind.REPEAT_ROWS | FaultKind.FOREIGN_ROWS | FaultKind.GARBLE_ROWS | FaultKind.ENDLESS:
            response = await handle()
            return response.altered(partial(_alter, fault)) if isinstance(response, ResultStream) else response
        case kind:
            answer, text = _TEXTS[kind]
            error_code = "enforced_spend_limit_reached" if kind is FaultKind.SPEND_CAP else None
            raise errors.injected(answer, text, fault.retry_after, error_code)


def _with_count(response: Response, counter: str, number: int) -> Response:
    """An answer with a batch, or with a page of batches, each with one more of `request_counts`."""
    body = json.loads(bytes(response.body))
    for batch in body.get("data", [body]):
        batch["request_counts"][counter] = number
    changed = JSONResponse(body)
    for name, value in response.headers.items():
        changed.headers.setdefault(name, value)
    return changed


def _alter(fault: Fault, blocks: Generator[bytes]) -> Generator[bytes]:
    match fault.kind:
        case FaultKind.REPEAT_ROWS:
            return streams.repeated(blocks, fault.rows, fault.lines)
        case FaultKind.FOREIGN_ROWS:
            return streams.with_foreign(blocks, fault.rows, fault.lines)
        case FaultKind.GARBLE_ROWS:
            return streams.garbled(blocks, fault.rows, fault.lines)
        case _:
            return streams.endless(blocks, mid_row=fault.mid_row)
