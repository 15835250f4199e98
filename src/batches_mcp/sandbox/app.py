"""The sandbox as an ASGI app: what it is made of, and the one error handler."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from batches_mcp.sandbox import errors
from batches_mcp.sandbox.config import SandboxConfig
from batches_mcp.sandbox.control import control_routes, is_own, unknown_control
from batches_mcp.sandbox.endpoints import Endpoints
from batches_mcp.sandbox.errors import ApiError
from batches_mcp.sandbox.faults import Faults
from batches_mcp.sandbox.labels import labelled
from batches_mcp.sandbox.requestlog import RequestLog, RequestRecorder
from batches_mcp.sandbox.steering import Steering
from batches_mcp.sandbox.store import Store
from batches_mcp.sandbox.wire import BATCHES_PATH, COUNT_PATH, MESSAGES_PATH, MOCK_PATH, error_json

__all__ = ["create_app"]


def create_app(config: SandboxConfig) -> Starlette:
    """The sandbox as an ASGI app. Its lifespan opens and closes the state (StateFileError if that cannot be used).

    `app.state.steering` is its `Steering`. Faults that break connections need the sandbox's own server.
    """
    store, faults, log = Store(config.state), Faults(), RequestLog()
    endpoints = Endpoints(config, store, faults)
    steering = Steering(config.clock, store, faults, log, config.seed, endpoints.late_creates, endpoints.rate_limiter)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        store.open()
        try:
            steering.go_on()
            yield
            steering.leave()
        finally:
            store.close()

    async def answer_error(request: Request, error: Exception) -> Response:
        """Every answer that is not a success, in the API's envelope."""
        if is_own(request.url.path):
            return unknown_control(error)
        match error:
            case ApiError():
                return _answer(request, error)
            case HTTPException() if request.url.path == MESSAGES_PATH:
                return _answer(request, errors.single_message())
            case HTTPException(status_code=405):
                status = int(config.choices.wrong_method)
                return _answer(request, errors.method_not_allowed(status, error.headers or {}))
            case HTTPException():
                return _answer(request, errors.path_not_found())
            case _:
                return _answer(request, errors.internal_error())

    app = Starlette(
        routes=[
            *endpoints.routes(BATCHES_PATH),
            *endpoints.routes(MOCK_PATH),
            endpoints.count_route(COUNT_PATH),
            *control_routes(steering),
        ],
        middleware=[Middleware(RequestRecorder, log=log, clock=config.clock, own_path=is_own)],
        exception_handlers={ApiError: answer_error, HTTPException: answer_error, Exception: answer_error},
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    app.state.steering = steering
    return app


def _answer(request: Request, error: ApiError) -> Response:
    request_id: str = request.state.request_id
    body = error_json(error.error_type, error.message, request_id, error.error_code)
    if error.bare:
        body = {"error": body["error"]}
    said: dict[str, str] = getattr(request.state, "headers", {})
    headers = {**said, **error.headers, "request-id": request_id}
    return labelled(JSONResponse(body, error.status, headers), error.answer)
