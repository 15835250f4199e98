"""The dashboard as hosts and browsers get it. What the page does is shown by `tests/browser`."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import httpx2
import mcp.types as t
import pytest
from jsonschema import Draft202012Validator
from mcp import MCPError
from mcp.client.client import Client

from batches_mcp import language
from batches_mcp.core.settings import BatchSettings
from batches_mcp.language.compile import compile_server
from batches_mcp.sandbox import Sandbox
from batches_mcp.serve import dashboard
from batches_mcp.serve.minify import SHORT
from batches_mcp.tools.behaviors import behaviors, contributions
from tests.support.contrast import GRAPHICS, TEXT, contrast
from tests.support.creates import made_by_another
from tests.support.servers import (
    CANCEL,
    CAPABILITY,
    CREATE,
    LIST,
    RESULTS,
    RETRIEVE,
    ROOT,
    SEED,
    Era,
    connected,
    http_server,
    server_for,
)

pytestmark = pytest.mark.anyio

URI = "ui://batches/dashboard.html"
# Definitions of MCP Apps' own schema of its messages.
SCHEMAS: dict[str, Any] = json.loads((ROOT / "tests" / "browser" / "ext-apps-2.0.4.schema.json").read_text("utf-8"))[
    "$defs"
]
TOKEN = "a-token-of-32-characters-or-so-00"
NOWHERE = "http://127.0.0.1:9"

eras = pytest.mark.parametrize("era", ["auto", "legacy"])


class Page(HTMLParser):
    """The elements of a page with their attributes, and the texts of its scripts and styles."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.elements and self.elements[-1][0] in {"script", "style"} and data.strip():
            tag, attributes = self.elements[-1]
            self.texts.setdefault(attributes.get("id") or tag, []).append(data)

    @property
    def config(self) -> dict[str, Any]:
        [text] = self.texts["config"]
        found: dict[str, Any] = json.loads(text)
        return found


async def read(client: Client) -> t.TextResourceContents:
    [contents] = (await client.read_resource(URI)).contents
    assert isinstance(contents, t.TextResourceContents)
    return contents


@eras
async def test_tools_that_tell_of_batches_are_linked_to_a_page_that_is_listed_and_read(era: Era) -> None:
    async with Client(server_for(NOWHERE), mode=era) as client:
        metas = {tool.name: tool.meta or {} for tool in (await client.list_tools()).tools}
        linked = {name: meta["ui"] for name, meta in metas.items() if "ui" in meta}
        [listed] = (await client.list_resources()).resources
        contents = await read(client)
        capabilities = client.server_capabilities
    assert set(linked) == {CREATE, RETRIEVE, LIST, RESULTS}
    for name, ui in linked.items():
        Draft202012Validator(SCHEMAS["McpUiToolMeta"]).validate(ui)
        assert ui["resourceUri"] == metas[name]["ui/resourceUri"] == listed.uri == contents.uri == URI
    assert listed.mime_type == contents.mime_type == "text/html;profile=mcp-app"
    assert listed.meta == contents.meta
    assert contents.meta is not None
    Draft202012Validator(SCHEMAS["McpUiResourceMeta"]).validate(contents.meta["ui"])
    # Nothing from elsewhere is asked for, so that hosts keep their default Content-Security-Policy.
    assert "csp" not in contents.meta["ui"]
    assert capabilities is not None
    # The revisions before 2026-07-28 have no place where servers announce extensions.
    assert (capabilities.extensions or {}) == ({"io.modelcontextprotocol/ui": {}} if era == "auto" else {})


def page_of(*, jobs: bool) -> str:
    """The page as hosts get it, of a server that has jobs or none."""
    table = behaviors(BatchSettings())
    plan = compile_server(language.read(CAPABILITY), NOWHERE, contributions=contributions(table))
    return dashboard.contents(plan.tools, jobs=jobs).text


async def test_a_server_without_a_database_has_the_page_without_jobs() -> None:
    async with Client(server_for(NOWHERE)) as client:
        assert (await read(client)).text.count("batches://jobs") == 0
        with pytest.raises(MCPError, match="Unknown resource: batches://jobs"):
            await client.read_resource("batches://jobs")


@pytest.mark.parametrize("jobs", [False, True], ids=["without jobs", "with jobs"])
def test_the_page_is_small_and_needs_nothing_from_elsewhere(jobs: bool) -> None:
    html = page_of(jobs=jobs)
    assert len(html.encode()) <= 16 * 1024
    assert "@@" not in html
    page = Page(html)
    attributes = [name for _, found in page.elements for name in found]
    assert not [name for name in attributes if name.startswith("on") or name in {"src", "href", "style", "action"}]
    code = "".join(page.texts["script"])
    assert not re.search(r"\beval\b|new Function|innerHTML|outerHTML|insertAdjacent|document\.write|import\(", code)
    assert "://" not in html.replace(URI, "").replace("batches://jobs", "")
    assert "fetch(" not in html


def test_the_page_that_is_sent_says_what_its_source_says() -> None:
    script = _script()
    html, _ = dashboard.browser_page((), None, jobs=True)
    sent = html[html.index("(()=>{") : html.rindex("</script>")]
    # Texts stand there as they were written.
    assert re.findall(r'"[^"\n]*"', sent) == re.findall(r'"[^"\n]*"', script)
    assert _texts(sent) == _texts(script)
    # With names in full again, so does the code, as far as it is not blanks and a block's last semicolon.
    letters = {letter: name for name, letter in SHORT.items()}
    assert [letters.get(each, each) for each in _tokens(sent)] == [
        "let" if each == "const" else each for each in _tokens(script)
    ]


def _script() -> str:
    """All of the page's script as it was written, but for comments."""
    folder = ROOT / "src" / "batches_mcp" / "serve"
    source = (folder / "dashboard.html").read_text("utf-8")
    for name in ("jobs", "server"):
        source = source.replace(f"@@{name}@@", (folder / f"dashboard_{name}.js").read_text("utf-8"))
    script = source[source.index("(() => {") : source.rindex("</script>")]
    return re.sub(r"^ *//.*\n", "", script, flags=re.MULTILINE)


def _texts(script: str) -> list[str]:
    """The templates of a script, without the values in them."""
    return [re.sub(r"\$\{[^}]*\}", "${}", each) for each in re.findall(r"`[^`]*`", script)]


def _tokens(script: str) -> list[str]:
    """The words and signs of a script, those within templates too, but for semicolons that end a block."""
    code = re.sub(r";(?=\s*\})", "", re.sub(r'"[^"\n]*"', '""', script))
    code = re.sub(r"`[^`]*`", lambda found: " ".join(re.findall(r"\$\{[^}]*\}", found[0])), code)
    return re.findall(r"[A-Za-z_$][\w$]*|\d[\w.]*|\+\+|--|[^\w\s]", code)


@pytest.mark.parametrize("name", SHORT)
def test_names_that_are_shortened_are_no_members(name: str) -> None:
    code = re.sub(r'"[^"\n]*"', '""', _script())
    assert not re.search(rf"\{{ {name}(,| \}})|, {name} \}}|(?<![{{,] )\b{name}\b\s*:", code)
    assert SHORT[name] not in _tokens(code)


# Backgrounds of hosts in their light and dark themes; the page's own is transparent.
LIGHT, DARK = ("#ffffff", "#faf9f5", "#f3f3f3"), ("#000000", "#121212", "#1e1e1e", "#30302e")
COLORS = {"ink": TEXT, "soft": TEXT, "bad": TEXT, "good": GRAPHICS, "warn": GRAPHICS}


@pytest.mark.parametrize("name", COLORS)
def test_colors_stand_out_in_both_themes(name: str) -> None:
    page = dashboard.contents(()).text
    found = re.search(rf"--{name}:var\(--color-[a-z-]+,light-dark\((#\w+),(#\w+)\)\)", page)
    assert found is not None
    for color, backgrounds in zip(found.groups(), (LIGHT, DARK), strict=True):
        for background in backgrounds:
            assert contrast(color, background) >= COLORS[name], (color, background)


def test_every_color_of_the_page_is_looked_at() -> None:
    page = dashboard.contents(()).text
    defined = set(re.findall(r"--(\w+):var\(--color-", page))
    assert defined == COLORS.keys() | {"line"}  # lines between rows and what is left of a bar tell nothing
    assert set(re.findall(r"#[0-9a-f]{6}", page)) == set(re.findall(r"#[0-9a-f]{6}", page.partition("}")[0]))


def test_contrast_is_reckoned_as_wcag_has_it() -> None:
    assert contrast("#000000", "rgb(255, 255, 255)") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)
    assert contrast("#ffffff", "#ffffff") == 1


@pytest.mark.parametrize(
    ("flags", "behaviors"),
    [
        ((), {"list", "submit", "status", "results", "cancel"}),
        (("--read-only",), {"list", "status", "results"}),
        (("--exclude", f"{LIST},{CANCEL}"), {"submit", "status", "results"}),
    ],
)
async def test_the_page_knows_the_tools_that_are_served(flags: tuple[str, ...], behaviors: set[str]) -> None:
    async with connected("stdio", "auto", NOWHERE, flags=flags) as client:
        [tools] = Page((await read(client)).text).config["tools"]
    assert tools.keys() == behaviors
    assert tools["status"] == {"name": RETRIEVE, "argument": "message_batch_id"}
    assert tools["results"] == {"name": RESULTS, "argument": "message_batch_id"}


async def test_a_capability_without_batches_has_no_page() -> None:
    async with Client(server_for(NOWHERE, file=SEED)) as client:
        assert not [tool.name for tool in (await client.list_tools()).tools if tool.meta and "ui" in tool.meta]
        assert client.server_capabilities is not None
        assert client.server_capabilities.resources is None
    with http_server("--base-url", NOWHERE, "--capability", str(SEED)) as url:
        assert httpx2.get(url.replace("/mcp", "/")).status_code == 404


def test_a_name_cannot_end_the_element_that_it_stands_in() -> None:
    assert "<" not in dashboard.encoded({"name": "</script><script>alert(1)</script>"})


def test_a_browser_gets_the_page_that_calls_this_server_itself() -> None:
    with http_server("--base-url", NOWHERE) as url:
        answer = httpx2.get(url.replace("/mcp", "/"))
        foreign = [
            httpx2.get(url.replace("/mcp", "/"), headers=headers).status_code
            for headers in ({"host": "evil.example"}, {"origin": "https://evil.example"})
        ]
        posted = httpx2.post(url.replace("/mcp", "/"))
    assert foreign == [421, 403]
    assert posted.status_code == 405
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    page = Page(answer.text)
    assert page.config["http"] == {}
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    for tag in ("script", "style"):
        [text] = page.texts[tag]
        assert f"{tag}-src 'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" in policy


def test_a_page_of_a_server_with_a_token_shows_nothing_without_it() -> None:
    with http_server("--base-url", NOWHERE, BATCHES_MCP_TOKEN=TOKEN) as url:
        answer = httpx2.get(url.replace("/mcp", "/"))
        elsewhere = httpx2.get(url.replace("/mcp", "/x"))
        foreign = httpx2.get(url.replace("/mcp", "/"), headers={"host": "evil.example"})
        call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": LIST, "arguments": {}}}
        called = httpx2.post(url, json=call)
    assert (answer.status_code, elsewhere.status_code, foreign.status_code, called.status_code) == (200, 401, 421, 401)
    assert TOKEN not in answer.text
    config = Page(answer.text).config
    assert config["http"] == {"header": "Authorization", "scheme": "Bearer", "name": "BATCHES_MCP_TOKEN"}


@pytest.mark.parametrize("rest", [(), ("--rest", "--rest-port", "0")], ids=["MCP", "MCP and REST"])
def test_without_the_token_there_is_nothing_but_the_page_and_the_health_check(
    rest: tuple[str, ...], sandbox: Sandbox, key: str, tmp_path: Path
) -> None:
    made_by_another(sandbox.url, key, 1)
    (tmp_path / "rows.csv").write_text("secret")
    flags = ["--base-url", sandbox.url, "--root", str(tmp_path), *rest]
    with httpx2.Client(trust_env=False) as client, http_server(*flags, key=key, BATCHES_MCP_TOKEN=TOKEN) as url:
        origin = url.removesuffix("/mcp")

        def statuses(method: str, *paths: str) -> dict[str, int]:
            return {path: client.request(method, origin + path).status_code for path in paths}

        others = ("/mcp", "/mcp/", "/results/a/b.jsonl", "/v1/messages/batches", "/openapi.json", "/rows.csv", "/index.html",
                  "/dashboard.html", "//", "/./mcp", "/healthz/", "/healthz/../mcp", "/healthz%2f..%2fmcp")  # fmt: skip
        for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"):
            assert set(statuses(method, *others).values()) == {401}, method
        assert statuses("GET", "/", "/?token=x", "/healthz") == {"/": 200, "/?token=x": 200, "/healthz": 200}
        assert set(statuses("POST", "/", "/healthz").values()) == {405}
        page = client.get(f"{origin}/").text
        assert client.get(f"{origin}/healthz").json().keys() == {"status", "version"}
    # The page is the same whatever there is: it holds the names of tools and how the token is sent.
    config = Page(page).config
    assert config.keys() == {"version", "tools", "http"}
    assert "msgbatch_" not in page
    assert TOKEN not in page
    assert key not in page
    assert str(tmp_path) not in page
    with http_server("--base-url", NOWHERE, key=None, BATCHES_MCP_TOKEN="another-token-of-32-characters-00") as url:
        assert client_text(url.replace("/mcp", "/")) == page


def client_text(url: str) -> str:
    with httpx2.Client(trust_env=False) as client:
        return client.get(url).text


def test_a_browser_is_asked_for_a_basic_credential_by_the_server() -> None:
    file = ROOT / "tests" / "corpus" / "valid" / "inbound-basic.yaml"
    with http_server("--capability", str(file), SHOP_CALLERS="secret") as url:
        assert httpx2.get(url.replace("/mcp", "/")).status_code == 401
