"""The control surface: steering by HTTP, from this machine only. JSON in and out, errors in plain words."""

import json
from collections.abc import Awaitable, Callable
from ipaddress import IPv6Address, ip_address

from anyio import to_thread
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from batches_mcp.sandbox.caller import shown
from batches_mcp.sandbox.faults import Fault
from batches_mcp.sandbox.origin import host_name, origin
from batches_mcp.sandbox.page import PAGE_HEADERS, render
from batches_mcp.sandbox.requestlog import RecordedRequest
from batches_mcp.sandbox.steering import NotPossible, Steering, UnknownBatch
from batches_mcp.sandbox.wire import Json

__all__ = ["CONTROL_PATH", "PAGE_PATH", "control_routes", "is_own", "unknown_control"]

CONTROL_PATH = "/_sandbox"
PAGE_PATH = "/"

_MAX_BODY_BYTES = 64 * 1024
_SHOWN_BATCHES = 100
_SHOWN_ROWS = 50
_BODY_CHARS = 2_000

_Action = Callable[[Request, Json], Json]


def is_own(path: str) -> bool:
    """Whether a path belongs to the sandbox and not to the API it stands in for."""
    return path == PAGE_PATH or path.startswith(f"{CONTROL_PATH}/")


def unknown_control(error: Exception) -> Response:
    """The answer where nothing is at a path of the sandbox's own, or where it failed."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    text = {404: f"nothing is here; see docs/sandbox.md for what is under {CONTROL_PATH}/", 405: "not with this method"}
    return JSONResponse({"error": text.get(status, "the sandbox itself failed")}, status)


class _Refused(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def control_routes(steering: Steering) -> list[Route]:
    """The control surface and the status page."""
    actions = _Actions(steering)
    table: list[tuple[str, str, _Action]] = [
        ("GET", "/clock", actions.clock),
        ("POST", "/clock/advance", actions.advance),
        ("POST", "/clock/freeze", actions.freeze),
        ("POST", "/clock/unfreeze", actions.unfreeze),
        ("GET", "/batches", actions.batches),
        ("GET", "/batches/{batch_id}", actions.batch),
        ("POST", "/batches/{batch_id}/end", actions.end),
        ("POST", "/batches/{batch_id}/expire", actions.expire),
        ("POST", "/batches/{batch_id}/archive", actions.archive),
        ("GET", "/faults", actions.faults),
        ("POST", "/faults", actions.add_fault),
        ("DELETE", "/faults", actions.clear_faults),
        ("GET", "/requests", actions.requests),
        ("POST", "/reset", actions.reset),
    ]

    async def page(request: Request) -> Response:
        try:
            _check_caller(request)
        except _Refused as refused:
            return Response(f"{refused}\n", refused.status, media_type="text/plain")
        content = await to_thread.run_sync(render, steering, origin(request))
        return Response(content, headers=PAGE_HEADERS, media_type="text/html")

    return [
        Route(PAGE_PATH, page, methods=["GET"]),
        *(Route(CONTROL_PATH + path, _answering(action), methods=[method]) for method, path, action in table),
    ]


def _answering(action: _Action) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        try:
            _check_caller(request)
            arguments = {} if request.method == "GET" else await _arguments(request)
            return JSONResponse(await to_thread.run_sync(action, request, arguments))
        except _Refused as refused:
            return JSONResponse({"error": str(refused)}, refused.status)
        except UnknownBatch as error:
            return JSONResponse({"error": str(error)}, 404)
        except NotPossible as error:
            return JSONResponse({"error": str(error)}, 409)
        except ValueError as error:
            return JSONResponse({"error": str(error)}, 400)

    return endpoint


def _check_caller(request: Request) -> None:
    """Only programs of this machine, and no web page that is open in a browser of it.

    The address keeps other machines out, the Host header a page that rebound its name to loopback, and the Origin
    header, which browsers send with whatever a page may send elsewhere, all other pages.
    """
    if request.client is None or not _is_loopback(request.client.host):
        raise _Refused(403, "the control surface answers programs on the same machine only")
    host = request.headers.get("host", "")
    if not _is_loopback(host_name(host) or ""):
        raise _Refused(403, f"the control surface is at a loopback address, not at {host[:100]!r}")
    came_from = request.headers.get("origin")
    if came_from is not None and came_from != f"{request.scope['scheme']}://{host}":
        raise _Refused(403, "the control surface does not answer web pages of other sites")


def _is_loopback(name: str) -> bool:
    if name == "localhost":
        return True
    try:
        address = ip_address(name.strip("[]"))
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (mapped or address).is_loopback


async def _arguments(request: Request) -> Json:
    """The body, a JSON object or nothing."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > _MAX_BODY_BYTES:
            raise _Refused(413, "the body is too long")
    try:
        arguments = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        raise _Refused(400, "the body is not JSON") from None
    if not isinstance(arguments, dict):
        raise _Refused(400, "the body is not a JSON object")
    return arguments


class _Actions:
    """What each path does. Every one takes (the request, the arguments in its body) and returns the answer."""

    def __init__(self, steering: Steering) -> None:
        self._steering = steering

    def clock(self, _: Request, __: Json) -> Json:
        clock = self._steering.clock
        return {"now": clock.now().isoformat(), "frozen": clock.frozen}

    def advance(self, request: Request, arguments: Json) -> Json:
        if set(arguments) != {"seconds"}:
            raise ValueError('send {"seconds": …} and nothing else')
        _check_option("seconds", arguments["seconds"])
        self._steering.clock.advance(arguments["seconds"])
        return self._moved(request)

    def freeze(self, request: Request, arguments: Json) -> Json:
        _nothing(arguments)
        self._steering.clock.freeze()
        return self._moved(request)

    def unfreeze(self, request: Request, arguments: Json) -> Json:
        _nothing(arguments)
        self._steering.clock.unfreeze()
        return self._moved(request)

    def batches(self, _: Request, __: Json) -> Json:
        steering = self._steering
        seen = steering.batches(_SHOWN_BATCHES)
        return {"total": steering.total(), "batches": [each.to_json() for each in seen]}

    def batch(self, request: Request, _: Json) -> Json:
        seen, rows = self._steering.opened(request.path_params["batch_id"], _SHOWN_ROWS)
        return {**seen.to_json(), "requests": rows}

    def end(self, request: Request, arguments: Json) -> Json:
        _nothing(arguments)
        self._steering.end(request.path_params["batch_id"])
        return {"ended": request.path_params["batch_id"]}

    def expire(self, request: Request, arguments: Json) -> Json:
        _nothing(arguments)
        self._steering.expire(request.path_params["batch_id"])
        return {"expired": request.path_params["batch_id"]}

    def archive(self, request: Request, arguments: Json) -> Json:
        _nothing(arguments)
        self._steering.archive(request.path_params["batch_id"])
        return {"archived": request.path_params["batch_id"]}

    def faults(self, _: Request, __: Json) -> Json:
        return {"faults": [_fault_json(fault) for fault in self._steering.faults.pending()]}

    def add_fault(self, _: Request, arguments: Json) -> Json:
        kind = arguments.pop("kind", None)
        if not isinstance(kind, str):
            raise ValueError('say which fault: {"kind": "overloaded"}')
        for name, value in arguments.items():
            _check_option(name, value)
        return _fault_json(self._steering.faults.add(kind, **arguments))

    def clear_faults(self, request: Request, arguments: Json) -> Json:
        _nothing(arguments)
        self._steering.faults.clear()
        return self.faults(request, {})

    def requests(self, _: Request, __: Json) -> Json:
        return {"requests": [_request_json(entry) for entry in self._steering.log.entries()]}

    def reset(self, request: Request, arguments: Json) -> Json:
        _nothing(arguments)
        self._steering.reset()
        return self._moved(request)

    def _moved(self, request: Request) -> Json:
        self._steering.leave()
        return self.clock(request, {})


# The JSON types of a value, and how they are called.
_TEXT = ((str,), "a text")
_WHOLE = ((int,), "a whole number")
_NUMBER = ((int, float), "a number")
_YES_OR_NO = ((bool,), "true or false")

_OPTIONS: dict[str, tuple[tuple[type, ...], str]] = {
    "on": _TEXT,
    "count": _WHOLE,
    "key": _TEXT,
    "retry_after": _WHOLE,
    "seconds": _NUMBER,
    "rows": _WHOLE,
    "lines": _WHOLE,
    "mid_row": _YES_OR_NO,
    "reset": _YES_OR_NO,
    "counter": _TEXT,
    "number": _WHOLE,
    "location": _TEXT,
}


def _check_option(name: str, value: object) -> None:
    if name not in _OPTIONS:
        raise ValueError(f"there is no option {name[:40]!r}; there are {', '.join(_OPTIONS)}")
    types, called = _OPTIONS[name]
    if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
        raise ValueError(f"{name} is not {called}")


def _nothing(arguments: Json) -> None:
    if arguments:
        raise ValueError("this takes no arguments")


def _fault_json(fault: Fault) -> Json:
    key = None if fault.key_hash is None else shown(fault.key_hash)
    return {"kind": fault.kind.value, "on": fault.on, "count": fault.count, "key": key, **fault.options()}


def _request_json(entry: RecordedRequest) -> Json:
    return {
        "at": entry.at.isoformat(),
        "method": entry.method,
        "path": entry.path,
        "query": entry.query,
        "headers": [list(header) for header in entry.headers],
        "body": entry.body.decode(errors="replace")[:_BODY_CHARS],
        "body_bytes": entry.body_bytes,
        "status": entry.status,
        "answer": entry.answer,
        "request_id": entry.request_id,
    }
