"""A browser, and a host in it that shows the dashboard as hosts with MCP Apps do."""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from mcp.client.client import Client

from batches_mcp.core.settings import DATABASE_URL
from batches_mcp.sandbox import ManualClock, Sandbox, running_sandbox
from tests.support.job_cluster import Cluster
from tests.support.postgres import url_of
from tests.support.states import OBJECT_STORE

HERE = Path(__file__).parent
SCHEMAS: dict[str, Any] = json.loads((HERE / "ext-apps-2.0.4.schema.json").read_text("utf-8"))["$defs"]

# What hosts set when the resource asks for nothing else (ext-apps, 2026-01-26).
POLICY = (
    "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "media-src 'self' data:; connect-src 'none'"
)
# The messages of MCP Apps that a page may send, by method.
DEFINITIONS = {
    "ui/initialize": "McpUiInitializeRequest",
    "ui/notifications/initialized": "McpUiInitializedNotification",
    "ui/notifications/size-changed": "McpUiSizeChangedNotification",
    "ui/message": "McpUiMessageRequest",
    "ui/update-model-context": "McpUiUpdateModelContextRequest",
}
# The schema wants each of them to be there, if only as null.
_CONTEXT = SCHEMAS["McpUiInitializeResult"]["properties"]["hostContext"]["properties"]
VARIABLES: list[str] = _CONTEXT["styles"]["properties"]["variables"]["required"]
# Backgrounds of hosts: the page's own is transparent.
BACKGROUNDS = {"light": "#ffffff", "dark": "#30302e"}
URI = "ui://batches/dashboard.html"


@dataclass
class Host:
    """A host with MCP Apps: `tab` is the browser's, `frame` the dashboard's, `client` its connection to our server.

    It lets the page read resources only if it `reads` them.
    """

    tab: Any
    client: Client
    theme: str = "light"
    variables: dict[str, str] = field(default_factory=dict)
    most_height: int | None = None
    reads: bool = True
    problems: list[str] = field(default_factory=list)

    @property
    def frame(self) -> Any:
        return self.tab.frames[-1]

    async def text(self) -> str:
        shown: str = await self.frame.inner_text("main")
        return shown

    async def press(self, name: str) -> None:
        await self.frame.get_by_role("button", name=name, exact=True).click()

    async def until(self, text: str) -> None:
        await self.frame.get_by_text(text).first.wait_for()

    async def sent(self, method: str) -> list[dict[str, Any]]:
        """The parameters of what the page has sent with a method."""
        messages = await self.tab.evaluate("sent")
        return [message.get("params", {}) for message in messages if message.get("method") == method]

    async def called(self) -> list[str]:
        return [params["name"] for params in await self.sent("tools/call")]

    async def open(self) -> None:
        """Load the page into a frame and wait until it says that it is ready."""
        [contents] = (await self.client.read_resource(URI)).contents
        await self.tab.expose_function("answer", self._answer)
        await self.tab.goto((HERE / "host.html").as_uri())
        page, background = getattr(contents, "text", ""), BACKGROUNDS[self.theme]
        arguments = [page, POLICY, self.theme, background]
        await self.tab.evaluate("([html, policy, theme, color]) => open(html, policy, theme, color)", arguments)
        await self.tab.wait_for_function("sent.some(each => each.method === 'ui/notifications/initialized')")

    async def post(self, method: str, params: Any, definition: str) -> None:
        message = {"method": method, "params": params}
        Draft202012Validator(SCHEMAS[definition]).validate(message)
        await self.tab.evaluate("message => post(message)", message)

    async def call(self, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """Call a tool as the model would, and hand the page its arguments and its result."""
        await self.post("ui/notifications/tool-input", {"arguments": arguments}, "McpUiToolInputNotification")
        result = (await self.client.call_tool(name, arguments)).model_dump(
            by_alias=True, mode="json", exclude_none=True
        )
        await self.post("ui/notifications/tool-result", result, "McpUiToolResultNotification")
        return result

    async def check(self) -> None:
        """Everything that the page has sent is as the schema has it, and the browser had nothing to say against it."""
        for message in await self.tab.evaluate("sent"):
            kind = {name: value for name, value in message.items() if name not in {"jsonrpc", "id"}}
            assert message["jsonrpc"] == "2.0"
            if message.get("method") == "tools/call":
                assert message["params"].keys() == {"name", "arguments"}
            elif message.get("method") == "resources/read":
                assert message["params"].keys() == {"uri"}
            elif "method" in message:
                Draft202012Validator(SCHEMAS[DEFINITIONS[message["method"]]]).validate(kind)
            else:
                assert kind.keys() == {"result"}
        assert self.problems == []

    async def reply(self, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """The answer to a call of the page's."""
        called = await self.client.call_tool(name, arguments)
        return called.model_dump(by_alias=True, mode="json", exclude_none=True)

    async def read(self, uri: str) -> dict[str, Any]:
        """The answer to a read of the page's."""
        found = await self.client.read_resource(uri)
        return found.model_dump(by_alias=True, mode="json", exclude_none=True)

    async def _answer(self, text: str) -> str:
        message = json.loads(text)
        match message["method"]:
            case "ui/initialize":
                style = {"variables": {**dict.fromkeys(VARIABLES), **self.variables}}
                context = {"theme": self.theme, "displayMode": "inline", "locale": "en-US", "styles": style}
                capabilities: dict[str, Any] = {
                    "serverTools": {},
                    "updateModelContext": {"text": {}},
                    "message": {"text": {}},
                }
                info = {"name": "host", "version": "1"}
                result = {
                    "protocolVersion": "2026-01-26",
                    "hostInfo": info,
                    "hostCapabilities": capabilities,
                    "hostContext": context,
                }
                Draft202012Validator(SCHEMAS["McpUiInitializeResult"]).validate(result)
                if self.most_height is not None:
                    # Its two alternatives each exclude the other's member in the JSON Schema, which no object can fulfil.
                    context["containerDimensions"] = {"maxHeight": self.most_height, "maxWidth": 800}
                return json.dumps(result)
            case "tools/call":
                params = message["params"]
                return json.dumps(await self.reply(params["name"], params["arguments"]))
            case "resources/read" if self.reads:
                return json.dumps(await self.read(message["params"]["uri"]))
            case "resources/read":
                return json.dumps({"error": {"code": -32601, "message": "Method not found"}})
            case _:
                return "{}"


@pytest.fixture
async def tab() -> AsyncIterator[Any]:
    """A tab of a headless browser."""
    from playwright.async_api import async_playwright

    program = shutil.which("chromium") or shutil.which("google-chrome")
    assert program is not None, "no Chromium: install Debian's package chromium"
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        tab = await browser.new_page(viewport={"width": 800, "height": 500})
        tab.set_default_timeout(60_000)
        yield tab
        await browser.close()


def watched(tab: Any) -> list[str]:
    """What the browser complains of: errors of scripts, and what a Content-Security-Policy has kept from happening."""
    problems: list[str] = []
    tab.on("pageerror", lambda error: problems.append(f"error: {error}"))
    tab.on("console", lambda message: problems.extend([f"console: {message.text}"] * (message.type == "error")))
    return problems


@pytest.fixture(scope="module")
def quick_sandbox() -> Iterator[Sandbox]:
    """One whose batches end at once, for jobs."""
    with running_sandbox(process_seconds=0, retry_after_seconds=0, clock=ManualClock()) as running:
        yield running


@pytest.fixture
def cluster(
    quick_sandbox: Sandbox, key: str, postgres: str, job_schema: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Cluster:
    """Servers of the test's own process share its state as well."""
    found = Cluster(tmp_path, quick_sandbox, key, url_of(postgres, job_schema))
    monkeypatch.setenv(DATABASE_URL, found.database_url)
    monkeypatch.setenv(OBJECT_STORE, f"file://{tmp_path}/store")
    return found
