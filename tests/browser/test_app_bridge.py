"""The dashboard in a real host's hands: the AppBridge of the official package, offline; run by `make hosts`."""

from __future__ import annotations

import os
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from mcp.client.client import Client

from batches_mcp import __version__
from batches_mcp.sandbox import ManualClock, Sandbox
from tests.browser.conftest import HERE, POLICY, URI, Host, watched
from tests.support.job_cluster import Cluster
from tests.support.servers import CANCEL, CREATE, LIST, RESULTS, RETRIEVE, server_for

pytestmark = [pytest.mark.anyio, pytest.mark.hosts]

PROGRAMS = Path(os.environ.get("BATCHES_MCP_HOSTS", ".hosts/node_modules/.bin")).absolute()


class Bridged(Host):
    """A host whose messages the AppBridge writes and reads."""

    async def open(self) -> None:
        [contents] = (await self.client.read_resource(URI)).contents
        arguments = [getattr(contents, "text", ""), POLICY, self.theme]
        await self.tab.expose_function("answer", self._answer)
        [app, capabilities] = await self.tab.evaluate(
            "([html, policy, theme]) => start(html, policy, theme)", arguments
        )
        assert app == {"name": "batches-mcp", "version": __version__}
        assert capabilities == {"availableDisplayModes": ["inline", "fullscreen"]}

    async def call(self, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        await self.tab.evaluate("arguments => bridge.sendToolInput({ arguments })", arguments)
        result = await self.reply(name, arguments)
        await self.tab.evaluate("result => bridge.sendToolResult(result)", result)
        return result


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The host's script in one file, with the package in it."""
    assert (PROGRAMS / "esbuild").exists(), "run `make hosts`"
    bundle = tmp_path_factory.mktemp("app-bridge") / "host.js"
    subprocess.run(
        [PROGRAMS / "esbuild", HERE / "app_bridge.js", "--bundle", "--format=iife", "--log-level=warning", f"--outfile={bundle}"],
        env={**os.environ, "NODE_PATH": str(PROGRAMS.parent)}, check=True,
    )  # fmt: skip
    return bundle


@pytest.fixture
async def host(tab: Any, sandbox: Sandbox, key: str, script: Path) -> AsyncIterator[Bridged]:
    await tab.clock.install(time=sandbox.clock.now())
    async with bridged(tab, sandbox.url, key, script) as found:
        yield found


@asynccontextmanager
async def bridged(tab: Any, base_url: str, key: str, script: Path) -> AsyncIterator[Bridged]:
    page = script.with_name("host.html")
    page.write_text("<!doctype html><title>A host</title><body></body>")
    async with Client(server_for(base_url, key)) as client:
        found = Bridged(tab, client, problems=watched(tab))
        await tab.goto(page.as_uri())
        await tab.add_script_tag(path=script)
        await found.open()
        yield found
        assert found.problems == []


def request(custom_id: str, model: str = "claude-haiku-5-5") -> dict[str, Any]:
    message = {"role": "user", "content": "hi"}
    return {"custom_id": custom_id, "params": {"model": model, "max_tokens": 10, "messages": [message]}}


async def test_a_batch_is_followed_to_its_end_and_asked_about(host: Bridged, sandbox: Sandbox) -> None:
    assert isinstance(sandbox.clock, ManualClock)
    requests = [request("good"), request("bad", "claude-nowhere-1")]
    created = await host.call(CREATE, {"requests": requests, "label": "tickets of May"})
    batch_id = created["structuredContent"]["id"]
    await host.until("tickets of May")
    await host.until("0 of 2 done")
    sandbox.clock.advance(60)
    await host.tab.clock.run_for(61_000)
    await host.until("needs fixing first")
    await host.tab.wait_for_function("sent.some(each => each.method === 'ui/update-model-context')")
    [context] = await host.sent("ui/update-model-context")
    assert context["content"][0]["text"].startswith(f"Batch {batch_id} has ended: 1 succeeded, 1 errored")
    await host.press("Ask about failures")
    await host.tab.wait_for_function("sent.some(each => each.method === 'ui/message')")
    [message] = await host.sent("ui/message")
    assert message["role"] == "user"
    assert batch_id in message["content"][0]["text"]
    await host.press("Show failures")
    await host.until("Results of")
    assert await host.called() == [RETRIEVE, RESULTS, RESULTS]


async def test_a_list_leads_to_a_cancel_in_two_steps(host: Bridged) -> None:
    await host.client.call_tool(CREATE, {"requests": [request("a")], "label": "May"})
    await host.call(LIST, {})
    await host.press("May")
    await host.press("Cancel batch")
    await host.press("Cancel it now")
    await host.until("canceling")
    assert await host.called() == [RETRIEVE, CANCEL]


async def test_jobs_are_read_through_the_bridge(tab: Any, cluster: Cluster, script: Path) -> None:
    cluster.table("a", 5)
    cluster.submit("--label", "May")
    async with bridged(tab, cluster.sandbox.url, cluster.key, script) as host:
        await host.call(LIST, {})
        await host.press("Jobs: 1")
        await host.press("May")
        await host.until("5 rows · 0 succeeded · 0 failed")


async def test_themes_heights_and_the_end_are_heard(host: Bridged) -> None:
    for number in range(9):
        await host.client.call_tool(CREATE, {"requests": [request(f"a{number}")]})
    await host.call(LIST, {})
    await host.until("1 to 5 of 9")
    await host.tab.wait_for_function("sent.some(each => each.params?.height === 400)")
    assert max(each["height"] for each in await host.sent("ui/notifications/size-changed")) == 400
    await host.tab.evaluate("bridge.setHostContext({ theme: 'dark', displayMode: 'inline' })")
    await host.frame.wait_for_function("document.documentElement.style.colorScheme === 'dark'")
    assert await host.tab.evaluate("bridge.teardownResource({})") == {}


async def test_an_error_and_a_call_that_was_canceled_are_shown(host: Bridged) -> None:
    await host.call(RETRIEVE, {"message_batch_id": "msgbatch_nowhere"})
    await host.until("msgbatch_nowhere")
    await host.tab.evaluate("bridge.sendToolCancelled({ reason: 'the user' })")
    await host.until("The call was canceled.")
