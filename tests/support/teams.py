"""A service with teams, and callers that show keys of theirs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from batches_mcp.access import keys
from tests.support.rest import Served, rest_server

READ, WRITE, APPROVE, ADMIN = "batches:read", "batches:write", "batches:approve", "batches:admin"
HEADERS = {"accept": "application/json, text/event-stream", "content-type": "application/json"}

# Named keys, each its own name, its team and what it allows.
KEYS: Mapping[str, tuple[str, Sequence[str]]] = {
    "search-key": ("search", (READ, WRITE)),
    "search-two": ("search", (READ, WRITE)),
    "ads-key": ("ads", (READ, WRITE)),
    "ads-reader": ("ads", (READ,)),
    "ads-writer": ("ads", (WRITE,)),
    "boss": ("ads", (READ, WRITE, ADMIN)),
    "search-lead": ("search", (READ, WRITE, APPROVE)),
    "search-approver": ("search", (APPROVE,)),
    "ads-approver": ("ads", (APPROVE,)),
    "chief": ("ads", (APPROVE, ADMIN)),
}


def teams_file(folder: Path, teams: Mapping[str, Any] | None = None, **more: Any) -> Path:
    """A teams file with these keys; JSON is YAML as well."""
    rows = [
        {"name": name, "sha256": keys.hash_of(name), "team": team, "scopes": list(scopes)}
        for name, (team, scopes) in KEYS.items()
    ]
    path = folder / "teams.yaml"
    path.write_text(json.dumps({"teams": teams or {"search": {}, "ads": {}}, "keys": rows, **more}))
    return path


@contextmanager
def service(
    base_url: str,
    folder: Path,
    *flags: str,
    key: str | None,
    teams: Mapping[str, Any] | None = None,
    limits: str | None = None,
    **env: str,
) -> Iterator[Served]:
    """A service with teams, over MCP and REST."""
    file = teams_file(folder, teams)
    with rest_server(base_url, "--teams", str(file), *flags, key=key, limits=limits, **env) as served:
        yield served


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def door(served: Served) -> str:
    """Where named keys are shown."""
    return served.mcp.replace("/mcp", "/key/mcp")


@dataclass(frozen=True)
class Caller:
    """Calls tools with one key, in a single request of the 2025 revision each."""

    served: Served
    key: str

    def call(self, name: str, **arguments: Any) -> tuple[dict[str, Any], bool]:
        """The result's content, or its error as data; and whether it is an error."""
        result = self.method("tools/call", name=name, arguments=arguments)
        if result.get("isError"):
            return result["_meta"]["batches-mcp/error"] | {"text": result["content"][0]["text"]}, True
        return result["structuredContent"], False

    def method(self, method: str, /, **params: Any) -> dict[str, Any]:
        """The result of a request, or its error."""
        message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        answer = httpx2.post(door(self.served), json=message, headers=HEADERS | bearer(self.key), timeout=30)
        assert answer.status_code == 200, answer.text
        lines = [line[5:] for line in answer.text.splitlines() if line.startswith("data:") and line[5:].strip()]
        found: dict[str, Any] = json.loads(lines[-1])
        result: dict[str, Any] = found.get("result") or {"error": found["error"]}
        return result

    def approvals(self) -> list[dict[str, Any]]:
        """What waits for an approval that this key may see."""
        answer = httpx2.get(self._approvals_url(), headers=bearer(self.key), timeout=30)
        assert answer.status_code == 200, answer.text
        found: list[dict[str, Any]] = answer.json()["approvals"]
        return found

    def answer(self, approval_id: str, answer: str = "approve") -> httpx2.Response:
        """Answer an approval."""
        url = f"{self._approvals_url()}/{approval_id}"
        return httpx2.post(url, json={"answer": answer}, headers=bearer(self.key), timeout=30)

    def _approvals_url(self) -> str:
        return self.served.mcp.removesuffix("/mcp") + "/approvals"

    def rest(self, method: str, path: str, body: Any = None) -> httpx2.Response:
        content = None if body is None else json.dumps(body)
        headers = {"x-api-key": self.key, "content-type": "application/json"}
        return httpx2.request(method, self.served.url + path, content=content, headers=headers, timeout=30)
