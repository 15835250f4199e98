"""Creates as an agent makes them, and what then exists upstream."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import httpx2
from mcp.client.client import Client

from batches_mcp.core.limits import Limits
from batches_mcp.core.settings import BatchSettings
from batches_mcp.exchange.upstream import Clock
from batches_mcp.sandbox import NotPossible, Sandbox
from batches_mcp.store.entry import DOUBT_S
from tests.support.servers import CREATE, REQUEST, error_of, server_for

# Long enough for a sandbox on a busy machine, and short enough to be waited for.
QUICK = Limits(call_s=20.0, upload_s=20.0, connect_s=2.0)


def requests(count: int, name: str = "r", **params: Any) -> list[dict[str, Any]]:
    """Requests that nothing is wrong with; those of another name are other content."""
    given = {**REQUEST["params"], **params}  # type: ignore[dict-item]
    return [{"custom_id": f"{name}{number}", "params": given} for number in range(count)]


async def no_time(_: float) -> None:
    """A sleep that takes none, but lets others run."""
    await anyio.lowlevel.checkpoint()


INSTANT = Clock(sleep=no_time, jitter=lambda: 0.0)


@asynccontextmanager
async def agent(
    url: str,
    key: str,
    *,
    limits: Limits = QUICK,
    clock: Clock = INSTANT,
    batch: BatchSettings | None = None,
    state: Path | None = None,
) -> AsyncIterator[Client]:
    """A client of a server in this process whose pauses take no time."""
    async with Client(server_for(url, key, limits=limits, clock=clock, batch=batch, state=state)) as client:
        yield client


async def create(client: Client, arguments: Mapping[str, Any]) -> tuple[str | None, dict[str, Any]]:
    """One call: the id of the batch, if one was named, and what was said beside it or of the error."""
    result = await client.call_tool(CREATE, dict(arguments))
    if result.is_error:
        return None, error_of(result)
    content = result.structured_content
    return content.get("id"), content["batches_mcp"]


async def persist(
    client: Client, arguments: Mapping[str, Any], calls: int = 6, *, passing: Sandbox | None = None
) -> str:
    """Call the same create as long as the answers say that this is right, and return the id of the batch.

    As long as it is in doubt whether there is one, time passes in the sandbox that is named as `passing`.
    """
    said: list[Any] = []
    for _ in range(calls):
        batch_id, words = await create(client, arguments)
        said.append(words)
        if batch_id is not None and not words.get("candidate"):
            return batch_id
        if words.get("type") == "duplicate_create":  # an answer that was given, but did not arrive
            return str(re.search(r"batch (msgbatch_\w+)", words["message"])[1])  # type: ignore[index]
        assert words.get("submitting") or words.get("retryable") or words.get("candidate"), words
        if words.get("submitting"):
            await anyio.sleep(0.05)
        elif passing is not None and words.get("candidate"):
            end(passing, str(batch_id))
        elif passing is not None and words.get("in_doubt"):
            for each in re.findall(r"msgbatch_\w+", words["message"]):
                end(passing, each)
            passing.clock.advance(DOUBT_S + 1)
    raise AssertionError(said[-3:])


def end(sandbox: Sandbox, batch_id: str) -> None:
    """Let a batch end, unless it has."""
    with suppress(NotPossible):
        sandbox.end(batch_id)


def existing(url: str, key: str) -> list[str]:
    """The ids of the batches that exist upstream, newest first."""
    headers = {"x-api-key": key, "anthropic-version": "2023-06-01"}
    found: list[str] = []
    with httpx2.Client(trust_env=False) as client:
        more = True
        while more:
            after = {"after_id": found[-1]} if found else {}
            asked: dict[str, str | int] = {"limit": 1000, **after}
            page = client.get(f"{url}/v1/messages/batches", params=asked, headers=headers).json()
            found += [batch["id"] for batch in page["data"]]
            more = page["has_more"]
    return found


def made_by_another(url: str, key: str, count: int, name: str = "r") -> str:
    """Create a batch past our server, as another program of the same account does; its id."""
    headers = {"x-api-key": key, "anthropic-version": "2023-06-01"}
    with httpx2.Client(trust_env=False) as client:
        answer = client.post(f"{url}/v1/messages/batches", json={"requests": requests(count, name)}, headers=headers)
    return str(answer.raise_for_status().json()["id"])
