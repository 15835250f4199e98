"""The dashboard at work, in Chromium under the default policy of MCP Apps; run by `make browser`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from mcp.client.client import Client

from batches_mcp.sandbox import ManualClock, Sandbox
from tests.browser.conftest import Host, watched
from tests.support.servers import CANCEL, CREATE, LIST, RESULTS, RETRIEVE, http_server, server_for
from tests.support.teams import Caller, service

pytestmark = [pytest.mark.anyio, pytest.mark.browser]

TOKEN = "a-token-of-32-characters-or-so-00"
HOSTILE = "</script><img src=x onerror=alert(1)><b>bold</b>"


def request(custom_id: str, model: str = "claude-haiku-5-5", text: str = "hi") -> dict[str, Any]:
    message = {"role": "user", "content": text}
    return {"custom_id": custom_id, "params": {"model": model, "max_tokens": 10, "messages": [message]}}


@pytest.fixture
async def host(tab: Any, sandbox: Sandbox, key: str) -> AsyncIterator[Host]:
    await tab.clock.install(time=sandbox.clock.now())
    async with Client(server_for(sandbox.url, key)) as client:
        found = Host(tab, client, variables={"--color-text-primary": "rgb(1, 2, 3)"}, problems=watched(tab))
        await found.open()
        yield found
        await found.check()


async def test_a_batch_is_followed_to_its_end_without_the_model(host: Host, sandbox: Sandbox) -> None:
    assert isinstance(sandbox.clock, ManualClock)
    requests = [request("good"), request("bad", "claude-nowhere-1")]
    created = await host.call(CREATE, {"requests": requests, "label": HOSTILE})
    batch_id = created["structuredContent"]["id"]
    await host.until(batch_id)
    shown = await host.text()
    assert HOSTILE in shown
    assert "in progress · expires in 24.0 h" in shown
    assert "0 of 2 done" in shown
    assert await host.called() == []
    sandbox.clock.advance(60)
    await host.tab.clock.run_for(61_000)
    await host.until("2 of 2 done · 1 succeeded · 1 failed · 0 canceled")
    await host.until("needs fixing first")
    assert await host.called() == [RETRIEVE, RESULTS]
    [context] = await host.sent("ui/update-model-context")
    assert context["content"][0]["text"] == (
        f"Batch {batch_id} has ended: 1 succeeded, 1 errored, 0 expired, 0 canceled. Its results can be retrieved."
    )
    assert "cost $" in await host.text()
    await host.press("Ask about failures")
    await host.tab.wait_for_function("sent.some(each => each.method === 'ui/message')")
    [message] = await host.sent("ui/message")
    assert batch_id in message["content"][0]["text"]
    await host.press("Show failures")
    await host.until("Results of")
    assert "bad" in await host.text()
    await host.press("Back")
    await host.press("Show results")
    await host.until("Answer or error")
    # Nothing more is asked for once a batch has ended.
    calls = len(await host.called())
    await host.tab.clock.run_for(600_000)
    assert len(await host.called()) == calls


async def test_a_cancel_takes_two_steps(host: Host) -> None:
    await host.call(CREATE, {"requests": [request("a")]})
    await host.press("Cancel batch")
    await host.press("Keep it running")
    assert await host.called() == []
    await host.press("Cancel batch")
    await host.press("Cancel it now")
    await host.until("canceling")
    assert await host.called() == [CANCEL]
    assert await host.frame.get_by_role("button", name="Cancel batch").count() == 0


async def test_a_list_leads_to_its_batches(host: Host) -> None:
    await host.client.call_tool(CREATE, {"requests": [request("a")], "label": "May"})
    await host.client.call_tool(CREATE, {"requests": [request("b")], "label": HOSTILE})
    await host.call(LIST, {})
    await host.press(HOSTILE)
    await host.until("0 of 1 done")
    await host.press("All batches")
    await host.press("May")
    await host.until("0 of 1 done")
    assert (await host.called())[0] == RETRIEVE


async def test_what_a_model_wrote_is_text(host: Host) -> None:
    row = {"custom_id": "a", "type": "succeeded", "text": HOSTILE, "stop_reason": "end_turn", "output_tokens": 1}
    content = {"message_batch_id": HOSTILE, "rows": [row], "has_more": False, "counts": {}, "notice": HOSTILE}
    result = {"content": [{"type": "text", "text": "{}"}], "structuredContent": content}
    await host.post("ui/notifications/tool-result", result, "McpUiToolResultNotification")
    await host.until("Answer or error")
    assert (await host.text()).count(HOSTILE) == 3
    assert await host.frame.locator("img, b").count() == 0


async def test_an_error_is_shown_and_a_page_that_is_taken_down_answers(host: Host) -> None:
    await host.call(RETRIEVE, {"message_batch_id": "msgbatch_nowhere"})
    await host.until("msgbatch_nowhere")
    await host.post("ui/notifications/host-context-changed", {"theme": "dark"}, "McpUiHostContextChangedNotification")
    await host.tab.evaluate("post({ id: 'end', method: 'ui/resource-teardown', params: {} })")
    await host.tab.wait_for_function("sent.some(each => each.id === 'end')")
    assert await host.frame.evaluate("document.documentElement.style.colorScheme") == "dark"
    assert await host.frame.evaluate("getComputedStyle(document.body).color") == "rgb(1, 2, 3)"


@pytest.mark.parametrize("token", [None, TOKEN])
async def test_in_a_browser_the_page_calls_the_server_itself(
    tab: Any, sandbox: Sandbox, key: str, token: str | None
) -> None:
    problems = watched(tab)
    async with Client(server_for(sandbox.url, key)) as client:
        await client.call_tool(CREATE, {"requests": [request("a")], "label": "May"})
    environment = {"BATCHES_MCP_TOKEN": token} if token else {}
    with http_server("--base-url", sandbox.url, key=key, **environment) as url:
        await tab.goto(url.replace("/mcp", "/"))
        if token:
            for typed in ("wrong", token):
                await tab.get_by_label("BATCHES_MCP_TOKEN").fill(typed)
                await tab.get_by_role("button", name="Connect").click()
                if typed == "wrong":
                    await tab.get_by_text("That was not right.").wait_for()
        await tab.get_by_role("button", name="May").click()
        await tab.get_by_text("0 of 1 done").wait_for()
        await tab.get_by_role("button", name="Cancel batch").click()
        await tab.get_by_role("button", name="Cancel it now").click()
        await tab.get_by_text("canceling").first.wait_for()
        assert token is None or token not in await tab.evaluate(
            "JSON.stringify([localStorage, sessionStorage, document.cookie, location.href])"
        )
    # A browser says of an answer of 401 that there was one.
    assert [each for each in problems if "401" not in each] == []


def dear(name: str) -> list[dict[str, Any]]:
    found = request(name)
    return [{**found, "params": {**found["params"], "max_tokens": 10_000}}]


async def test_what_waits_for_an_approval_is_answered_by_who_may(
    tab: Any, sandbox: Sandbox, key: str, tmp_path: Path
) -> None:
    problems = watched(tab)
    teams = {"search": {"approve_over_usd": 0.001}, "ads": {}}
    with service(sandbox.url, tmp_path, key=key, teams=teams) as served:
        search, lead = Caller(served, "search-key"), Caller(served, "search-lead")
        for name in ("yes", "no"):
            search.call(CREATE, requests=dear(name), label=f"{HOSTILE} {name}")
        lead.call(CREATE, requests=dear("own"), label="own")

        async def connect(secret: str) -> None:
            await tab.goto(served.mcp.replace("/mcp", "/"))
            await tab.get_by_label("the key that was given to you").fill(secret)
            await tab.get_by_role("button", name="Connect").click()

        await connect("search-key")
        await tab.get_by_text("There are none.").wait_for()
        assert await tab.get_by_role("button", name="Approvals").count() == 0
        await connect("search-lead")
        await tab.get_by_role("button", name="Approvals: 3").click()
        await tab.get_by_text("for somebody else").wait_for()
        assert await tab.get_by_role("button", name="Approve").count() == 2
        assert HOSTILE in await tab.inner_text("main")
        await tab.get_by_role("button", name=f"Deny {HOSTILE} no", exact=True).click()
        await tab.locator("tbody tr").nth(2).wait_for(state="detached")
        await tab.get_by_role("button", name=f"Approve {HOSTILE} yes", exact=True).click()
        await tab.locator("tbody tr").nth(1).wait_for(state="detached")
        await tab.get_by_role("button", name="All batches").click()
        await tab.get_by_role("button", name=f"{HOSTILE} yes").wait_for()
        # Who may approve and no more sees that alone.
        await connect("search-approver")
        await tab.get_by_role("button", name="Approvals: 1").click()
        await tab.get_by_role("button", name="Approve own").click()
        await tab.get_by_text("Nothing waits.").wait_for()
    assert search.key not in str(problems)
    # A browser says of an answer of 401 or 403 that there was one.
    assert [each for each in problems if "401" not in each and "403" not in each] == []
