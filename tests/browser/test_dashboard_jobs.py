"""Jobs on the dashboard, in a host and in a browser, with a real database; run by `make browser`."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
from mcp.client.client import Client

from tests.browser.conftest import BACKGROUNDS, Host, watched
from tests.browser.test_dashboard_looks import CONTROLS, HIGHEST, HOSTILE, NOWHERE, SEEN, WIDE, themes, widths
from tests.support.contrast import GRAPHICS, TEXT, contrast
from tests.support.job_cluster import Cluster
from tests.support.servers import LIST, http_server, server_for
from tests.support.teams import service

pytestmark = [pytest.mark.anyio, pytest.mark.browser]

JOBS = "batches://jobs"


def settings(cluster: Cluster) -> dict[str, Any]:
    return {**cluster.environment("server"), "key": cluster.key}


@pytest.fixture
async def host(tab: Any, cluster: Cluster) -> AsyncIterator[Host]:
    await tab.clock.install()
    async with Client(server_for(cluster.sandbox.url, cluster.key)) as client:
        found = Host(tab, client, problems=watched(tab))
        await found.open()
        yield found
        await found.check()


async def test_a_job_is_followed_to_its_end_and_leads_to_its_batches(host: Host, cluster: Cluster) -> None:
    cluster.table("a", 22, "'x'")
    job_id = cluster.submit("--label", "May")
    await host.call(LIST, {})
    await host.press("Jobs: 1")
    await host.until("0 of 5")
    assert "running" in await host.text()
    await host.press("May")
    await host.until("22 rows · 0 succeeded · 0 failed")
    shown = await host.text()
    assert f"{job_id} · running · submitted" in shown
    assert "5 waiting" in shown
    assert "estimated cost up to $" in shown
    with cluster.worker("one"):
        cluster.until(job_id, "done")
    # The page asks by itself, so that waiting costs no tokens.
    await host.tab.clock.run_for(16_000)
    await host.until("22 rows · 22 succeeded · 0 failed")
    shown = await host.text()
    assert "5 done" in shown
    assert "cost $" in shown
    await host.press("Batches")
    await host.until("Batches of May")
    [batch_id] = [each.id for each in cluster.parts(job_id)[2].batches]
    await host.press(batch_id)
    await host.until("5 of 5 done")
    await host.press("The job")
    await host.until("22 rows")
    # Nothing more is asked for once it has ended.
    reads = len(await host.sent("resources/read"))
    await host.tab.clock.run_for(600_000)
    assert len(await host.sent("resources/read")) == reads
    await host.press("All jobs")
    await host.until("5 of 5")
    await host.press("All batches")
    await host.until("Jobs: 1")


async def test_a_job_says_why_rows_failed_and_what_it_waits_for(host: Host, cluster: Cluster) -> None:
    cluster.table("a", 5)
    failing = cluster.submit("--model", "claude-nowhere-1")
    with cluster.worker("one"):
        cluster.until(failing, "done")
    with cluster.jobs() as jobs:
        [part] = jobs.parts(failing)
        jobs.waits(part, HOSTILE)
    await host.call(LIST, {})
    await host.press("Jobs: 1")
    await host.press(failing)
    await host.until("5 rows · 0 succeeded · 5 failed")
    shown = await host.text()
    assert "not_found_error: " in shown
    assert "needs fixing first" in shown
    assert f"part 1: {HOSTILE[:200]}" in shown
    assert await host.frame.locator("img, b").count() == 0


async def test_a_job_that_cannot_be_read_for_a_while_is_still_shown(host: Host, cluster: Cluster) -> None:
    cluster.table("a", 5)
    job_id = cluster.submit()
    await host.call(LIST, {})
    await host.press("Jobs: 1")
    await host.press(job_id)
    await host.until("5 rows")
    host.reads = False
    await host.tab.clock.run_for(16_000)
    await host.until("Method not found")
    assert "5 rows" in await host.text()
    host.reads = True
    await host.tab.clock.run_for(31_000)
    await host.frame.get_by_text("Method not found").wait_for(state="detached")
    assert "5 rows" in await host.text()


async def test_a_host_that_reads_no_resources_shows_no_jobs(host: Host, cluster: Cluster) -> None:
    cluster.table("a", 5)
    cluster.submit()
    host.reads = False
    await host.call(LIST, {})
    await host.until("There are none.")
    await host.tab.wait_for_function("sent.some(each => each.method === 'resources/read')")
    await host.press("Refresh")
    await host.until("There are none.")
    assert "Jobs" not in await host.text()
    assert "Method not found" not in await host.text()


async def test_in_a_browser_a_team_sees_its_jobs_and_no_other_team_does(tab: Any, cluster: Cluster) -> None:
    problems = watched(tab)
    cluster.table("a", 5)
    with service(cluster.sandbox.url, cluster.folder, **settings(cluster)) as served:
        cluster.submit("--teams", "teams.yaml", "--team", "search", "--label", HOSTILE[:200])

        async def connect(secret: str) -> None:
            await tab.goto(served.mcp.replace("/mcp", "/"))
            await tab.get_by_label("the key that was given to you").fill(secret)
            async with tab.expect_response(lambda answer: JOBS in (answer.request.post_data or "")):
                await tab.get_by_role("button", name="Connect").click()

        await connect("search-key")
        await tab.get_by_role("button", name="Jobs: 1").click()
        await tab.get_by_role("button", name=HOSTILE[:200]).click()
        await tab.get_by_text("5 rows · 0 succeeded · 0 failed").wait_for()
        assert await tab.locator("img, b").count() == 0
        await connect("ads-key")
        await tab.get_by_text("There are none.").wait_for()
        assert await tab.get_by_role("button", name="Jobs").count() == 0
    # A browser says of an answer of 401 or 403 that there was one.
    assert [each for each in problems if "401" not in each and "403" not in each] == []


async def test_a_server_that_lists_no_batches_shows_jobs_at_once(tab: Any, cluster: Cluster) -> None:
    problems = watched(tab)
    with http_server("--exclude", LIST, **settings(cluster)) as url:
        await tab.goto(url.replace("/mcp", "/"))
        await tab.get_by_text("There are none.").wait_for()
        assert await tab.get_by_role("button", name="All batches").count() == 0
    assert problems == []


# What jobs look like

STATES = ("waiting", "prepared", "submitted", "ended", "retrying", "done", "failed", "canceled")
CAUSE = {"type": "invalid_request_error", "message": "max_tokens: 200000 is too many " * 9, "count": 200}
JOB = {
    "id": "0123456789ab",
    "state": "running",
    "rows": 100_000_000,
    "succeeded": 61_000_000,
    "failed": 1_000_000,
    "parts": dict.fromkeys(STATES, 130),
    "batches": 1_000,
    "estimate_usd": 91_234.5,
    "cost_usd": 61_234.5,
    "label": HOSTILE[:200],
    "team": "search",
    "created_at": "2026-01-01T00:00:00Z",
    "finished_at": None,
}
LISTED: Mapping[str, Any] = {"jobs": [{**JOB, "id": f"{each:012}"} for each in range(50)], "has_more": True}
ONE: Mapping[str, Any] = {
    **JOB,
    "input": "s3://in/*.parquet",
    "output": "s3://out",
    "error": HOSTILE,
    "message_batches": [
        {"id": f"msgbatch_{each:022}", "part": each, "rows": 100_000, "part_state": "submitted"} for each in range(100)
    ],
    "causes": [{**CAUSE, "custom_id": "r0", "retryable": False}] * 10,
    "notes": [{"part": each, "note": HOSTILE * 3} for each in range(10)],
}


class Canned(Host):
    """A host whose jobs are those above."""

    async def read(self, uri: str) -> dict[str, Any]:
        return {"contents": [{"uri": uri, "text": json.dumps(LISTED if uri == JOBS else ONE)}]}


@asynccontextmanager
async def showing(tab: Any, view: str, width: int = WIDE, theme: str = "light") -> AsyncIterator[Host]:
    """A host that shows many jobs, or one."""
    await tab.set_viewport_size({"width": width, "height": 900})
    async with Client(server_for(NOWHERE)) as client:
        host = Canned(tab, client, theme, problems=watched(tab))
        await host.open()
        result = {"content": [], "structuredContent": {"data": [], "has_more": False}}
        await host.post("ui/notifications/tool-result", result, "McpUiToolResultNotification")
        await host.press("Jobs: 50")
        await host.until("1 to 5 of 50")
        if view != "many jobs":
            await host.frame.get_by_role("button", name=HOSTILE[:20]).first.click()
            await host.until("100,000,000 rows")
        if view == "its batches":
            await host.press("Batches")
            await host.until("1 to 5 of 100")
        yield host
        await host.check()


views = pytest.mark.parametrize("view", ["many jobs", "one job", "its batches"])


@themes
@views
async def test_every_color_of_jobs_stands_out(tab: Any, cluster: Cluster, theme: str, view: str) -> None:
    async with showing(tab, view, theme=theme) as host:
        seen = await host.frame.evaluate(SEEN)
    assert seen["texts"]
    for kind, least in (("texts", TEXT), ("marks", GRAPHICS)):
        assert [each for each in seen[kind] if contrast(each[1], each[2] or BACKGROUNDS[theme]) < least] == []


@widths
@views
async def test_jobs_are_no_higher_and_no_wider_than_hosts_allow(
    tab: Any, cluster: Cluster, width: int, view: str
) -> None:
    async with showing(tab, view, width) as host:
        height = await host.frame.evaluate("document.querySelector('main').getBoundingClientRect().height")
        inside = await host.frame.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        controls = await host.frame.evaluate(CONTROLS)
    assert height <= HIGHEST
    assert inside[0] <= inside[1] == width
    for each in controls:
        assert min(each["width"], each["height"]) >= 44, each
        assert 0 <= each["left"] < each["right"] <= width, each
