"""What the dashboard looks like, and how it is used without a mouse: contrast, height, width, controls."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
from mcp.client.client import Client

from tests.browser.conftest import BACKGROUNDS, Host, watched
from tests.support.contrast import GRAPHICS, TEXT, contrast
from tests.support.servers import CANCEL, RETRIEVE, server_for

pytestmark = [pytest.mark.anyio, pytest.mark.browser]

NOWHERE = "http://127.0.0.1:9"
HOSTILE = "</script><img src=x onerror=alert(1)><b>bold</b> " + "W" * 300 + "\u202etxt.exe"
ESTIMATE = {"cost_usd": {"low": 0.8, "high": 4.1}}
FAILURES = [
    {
        "type": "invalid_request_error",
        "message": "max_tokens: 200000 is too many " * 9,
        "count": 200,
        "retryable": False,
    },
    *(
        {"type": f"overloaded_error_{each}", "message": "Overloaded", "count": 9, "retryable": True}
        for each in range(9)
    ),
]
# The smallest height of a frame that hosts give a page inline, and the width of a small telephone.
HIGHEST, NARROW, WIDE = 500, 320, 760

themes = pytest.mark.parametrize("theme", ["light", "dark"])
widths = pytest.mark.parametrize("width", [NARROW, WIDE])


def batch(number: int, status: str = "in_progress", **counts: int) -> dict[str, Any]:
    ended = "2026-01-01T01:00:00Z" if status == "ended" else None
    return {
        "id": f"msgbatch_{number:022}",
        "type": "message_batch",
        "processing_status": status,
        "request_counts": {"processing": 0, "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0, **counts},
        "created_at": "2026-01-01T00:00:00Z",
        "expires_at": "2026-01-02T00:00:00Z",
        "ended_at": ended,
        "results_url": ended and "there",
    }


BATCHES = [batch(each, "ended", succeeded=400, errored=each, expired=3, canceled=2) for each in range(100)]
LABELS = {each["id"]: {"label": f"{each['id'][-3:]} {HOSTILE}", "estimate": ESTIMATE} for each in BATCHES}
ROW = {"custom_id": "row-000001-3f9c" * 9, "type": "errored", "error_message": HOSTILE}
VIEWS: Mapping[str, Mapping[str, Any]] = {
    "no batches": {"data": [], "has_more": False},
    "a hundred batches": {"data": BATCHES, "has_more": True, "batches_mcp": {"known": LABELS}},
    "a batch that runs": {
        **batch(1, processing=900, succeeded=80, errored=20),
        "batches_mcp": {"label": HOSTILE, "estimate": ESTIMATE},
    },
    "a batch that failed": {
        **batch(1, "ended", succeeded=400, errored=300, expired=30, canceled=20),
        "batches_mcp": {"label": HOSTILE, "estimate": ESTIMATE, "cost_usd": 1.43, "next_step": "Send them again. " * 50},
    },
    "results": {"message_batch_id": BATCHES[0]["id"], "rows": [ROW] * 50, "has_more": True, "next_cursor": "c",
                "counts": {"failures": FAILURES}, "usage": {"cost_usd": 1.4}, "notice": "Cut. " * 80},
    "a dry run": {"batches_mcp": {"dry_run": {"requests": 9, "errors": 1, "warnings": 2, "estimate": ESTIMATE}}},
}  # fmt: skip
views = pytest.mark.parametrize("name", VIEWS)

# Every text with its color, and every mark that tells something by its color, each with what is behind it.
SEEN = """() => {
  const behind = element => {
    for (let each = element; each; each = each.parentElement) {
      const color = getComputedStyle(each).backgroundColor;
      if (!/, 0\\)$/.test(color)) return color;
    }
    return null;
  };
  const found = { texts: [], marks: [] };
  const walker = document.createTreeWalker(document.querySelector("main"), NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (element.checkVisibility()) found.texts.push([walker.currentNode.data, getComputedStyle(element).color, behind(element)]);
  }
  for (const each of document.querySelectorAll("button, input")) {
    found.marks.push([`edge of ${each.textContent}`, getComputedStyle(each).borderTopColor, behind(each.parentElement)]);
  }
  for (const each of document.querySelectorAll(".bar i")) {
    found.marks.push([each.className, getComputedStyle(each).backgroundColor, behind(each.parentElement)]);
  }
  return found;
}"""
CONTROLS = """() => [...document.querySelectorAll("button")].map(each => {
  const { width, height, left, right } = each.getBoundingClientRect();
  return { name: each.textContent, width, height, left, right };
})"""
FOCUSED = """() => {
  const style = getComputedStyle(document.activeElement);
  return [document.activeElement.textContent, style.outlineStyle, parseFloat(style.outlineWidth), style.outlineColor];
}"""


@asynccontextmanager
async def showing(
    tab: Any, view: Mapping[str, Any], *, theme: str = "light", width: int = WIDE, most_height: int | None = None
) -> AsyncIterator[Host]:
    """A host of this theme and width whose page shows a tool's answer."""
    await tab.set_viewport_size({"width": width, "height": 900})
    async with Client(server_for(NOWHERE)) as client:
        host = Answering(tab, client, theme, most_height=most_height, problems=watched(tab))
        await host.open()
        await host.show(view)
        yield host
        await host.check()


class Answering(Host):
    """A host whose server answers from here: a batch that runs, or why requests failed."""

    async def show(self, view: Mapping[str, Any]) -> None:
        result = {"content": [{"type": "text", "text": ""}], "structuredContent": view}
        await self.post("ui/notifications/tool-result", result, "McpUiToolResultNotification")
        await self.frame.wait_for_function("!document.querySelector('main').textContent.includes('Waiting')")
        if view.get("results_url"):
            await self.until("overloaded_error_0")
        # The height is told once the browser has laid the page out.
        await self.tab.wait_for_function(
            "height => sent.findLast(each => each.method === 'ui/notifications/size-changed')?.params.height === height",
            arg=await self.frame.evaluate(
                f"Math.min({self.most_height or HIGHEST}, Math.ceil(document.querySelector('main').getBoundingClientRect().height))"
            ),
        )

    async def reply(self, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        states = {RETRIEVE: "in_progress", CANCEL: "canceling"}
        content = (
            batch(int(arguments["message_batch_id"][-3:]), states[name], processing=900)
            if name in states
            else VIEWS["results"]
        )
        return {"content": [{"type": "text", "text": ""}], "structuredContent": content}


@themes
@views
async def test_every_color_stands_out_from_what_is_behind_it(tab: Any, theme: str, name: str) -> None:
    async with showing(tab, VIEWS[name], theme=theme) as host:
        seen = await host.frame.evaluate(SEEN)
    assert seen["texts"]
    for kind, least in (("texts", TEXT), ("marks", GRAPHICS)):
        low = [each for each in seen[kind] if contrast(each[1], each[2] or BACKGROUNDS[theme]) < least]
        assert low == []


@widths
@views
async def test_it_is_no_higher_than_hosts_allow_and_no_wider_than_its_frame(tab: Any, width: int, name: str) -> None:
    async with showing(tab, VIEWS[name], width=width) as host:
        heights = [each["height"] for each in await host.sent("ui/notifications/size-changed")]
        inside = await host.frame.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        controls = await host.frame.evaluate(CONTROLS)
    assert max(heights) <= HIGHEST
    assert inside[0] <= inside[1] == width
    for each in controls:
        assert min(each["width"], each["height"]) >= 44, each
        assert 0 <= each["left"] < each["right"] <= width, each


async def test_all_of_a_hundred_batches_can_be_reached(tab: Any) -> None:
    names: list[str] = []
    async with showing(tab, VIEWS["a hundred batches"]) as host:
        while True:
            names += [each["name"][:3] for each in await host.frame.evaluate(CONTROLS) if HOSTILE in each["name"]]
            if not await host.frame.get_by_role("button", name="Next", exact=True).count():
                break
            await host.press("Next")
        assert await host.frame.get_by_role("button", name="Older", exact=True).count() == 1
        await host.press("Previous")
        await host.until("91 to 95 of 100")
        assert await host.called() == []
    assert names == [f"{each:03}" for each in range(100)]


async def test_in_a_lower_frame_it_scrolls(tab: Any) -> None:
    async with showing(tab, VIEWS["a hundred batches"], most_height=200) as host:
        assert {each["height"] for each in await host.sent("ui/notifications/size-changed")} <= set(range(201))
        await host.frame.evaluate("scrollTo(0, 10_000)")
        assert await host.frame.evaluate("scrollY > 0")
        await host.frame.get_by_role("button", name="Next", exact=True).focus()
        box = await host.frame.get_by_role("button", name="Next", exact=True).bounding_box()
        assert 0 <= box["y"] <= 200 - box["height"]


@themes
@views
async def test_the_keyboard_reaches_every_control_in_order_and_shows_where_it_is(
    tab: Any, theme: str, name: str
) -> None:
    async with showing(tab, VIEWS[name], theme=theme) as host:
        controls = [each["name"] for each in await host.frame.evaluate(CONTROLS)]
        for each in controls:
            await tab.keyboard.press("Tab")
            text, line, width, color = await host.frame.evaluate(FOCUSED)
            assert (text, line) == (each, "solid")
            assert width >= 2
            assert contrast(color, BACKGROUNDS[theme]) >= GRAPHICS


async def test_the_keyboard_stays_in_the_page_when_its_control_goes(tab: Any) -> None:
    async with showing(tab, VIEWS["a hundred batches"]) as host:

        async def presses(key: str, at: str) -> None:
            await tab.keyboard.press(key)
            await host.frame.wait_for_function("name => document.activeElement.textContent === name", arg=at)

        await presses("Tab", f"000 {HOSTILE}")
        await presses("Enter", "All batches")
        await presses("Tab", "Refresh")
        await presses("Enter", "Refresh")
        await presses("Tab", "Cancel batch")
        await presses("Enter", "All batches")
        await presses("Tab", "Refresh")
        await presses("Tab", "Keep it running")
        await presses("Tab", "Cancel it now")
        await presses("Enter", "All batches")
        await host.until("canceling")
        assert await host.called() == [RETRIEVE, RETRIEVE, CANCEL]
