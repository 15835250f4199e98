"""Whether the server can take calls now, for load balancers: `GET /readyz`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import anyio
import anyio.to_thread
from starlette.requests import Request
from starlette.responses import JSONResponse

from batches_mcp import __version__
from batches_mcp.core.errors import StateUnusable
from batches_mcp.serve.draining import Draining

log = logging.getLogger(__name__)

# A probe of Kubernetes waits for 1 s, unless configured otherwise.
_CHECK_S = 0.8
_UNUSABLE = "it cannot be used; the server's log has the details"
_HANGS = "it does not answer"


@dataclass(slots=True)
class Readiness:
    """Answers `/readyz`. A check of `checks` is run in a thread, and raises StateUnusable when what it names cannot be
    used; one that hangs is not begun a second time.

    What callers see, who need no credential, are names only: the details are in the log.
    """

    draining: Draining
    checks: Mapping[str, Callable[[], None]]
    _since_s: dict[str, float] = field(default_factory=dict)
    _found: dict[str, str | None] = field(default_factory=dict)

    async def __call__(self, _: Request) -> JSONResponse:
        """200, or 503 with `not_ready`: what is not ready, and why. `checks` says of each check how it went."""
        headers = {"cache-control": "no-store"}
        if self.draining.begun.is_set():
            not_ready, checked = {"server": "it is shutting down"}, {}
        else:
            not_ready = await self._not_ready()
            checked = {name: not_ready.get(name, "ok") for name in self.checks}
        if not_ready:
            return JSONResponse({"status": "not ready", "not_ready": not_ready, "checks": checked}, 503, headers)
        return JSONResponse({"status": "ready", "version": __version__, "checks": checked}, headers=headers)

    async def _not_ready(self) -> dict[str, str]:
        found: dict[str, str] = {}

        async def look(name: str) -> None:
            if problem := await self._problem(name):
                found[name] = problem

        async with anyio.create_task_group() as tasks:
            for name in self.checks:
                tasks.start_soon(look, name)
        return dict(sorted(found.items()))

    async def _problem(self, name: str) -> str | None:
        since_s = self._since_s.get(name)
        if since_s is not None:
            return self._found.get(name) if anyio.current_time() < since_s + _CHECK_S else _HANGS
        self._since_s[name] = anyio.current_time()
        with anyio.move_on_after(_CHECK_S):
            await anyio.to_thread.run_sync(self._check, name, abandon_on_cancel=True)
            return self._found[name]
        return _HANGS

    def _check(self, name: str) -> None:
        """In a thread, which goes on when nobody waits for it any more."""
        try:
            self.checks[name]()
            self._found[name] = None
        except StateUnusable as error:
            if self._found.get(name) is None:
                log.warning("not ready: %s: %s", name, error.report.message)
            self._found[name] = _UNUSABLE
        finally:
            del self._since_s[name]
