"""The dashboard: a page that shows batches, in hosts that render MCP Apps and, from the HTTP server, in a browser.

The page is complete in itself. What it must be told, the names of the tools that it calls and how to reach them, stands
in it as JSON; whatever it shows later comes from those tools.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

import mcp.types as t

from batches_mcp import __version__
from batches_mcp.core.plan import BehaviorName, Feed, ToolPlan
from batches_mcp.core.settings import Admission

URI = "ui://batches/dashboard.html"
# The extension of MCP and the kind of HTML that hosts with MCP Apps know (ext-apps, 2026-01-26).
EXTENSION = "io.modelcontextprotocol/ui"
MIME_TYPE = "text/html;profile=mcp-app"
_RESOURCE_META: Mapping[str, Any] = {"ui": {"prefersBorder": True}}

# What the page shows the answers of.
_SHOWN = frozenset({BehaviorName.SUBMIT, BehaviorName.STATUS, BehaviorName.LIST, BehaviorName.RESULTS})
_CALLED = (_SHOWN | {BehaviorName.CANCEL}) - {BehaviorName.SUBMIT}

# Where the page calls its server, if it is not told another place.
_ENDPOINT = "mcp"
# A browser sends a basic credential by itself, once it has been asked for one.
SENT_BY_BROWSERS = "Basic"


def tool_meta(tool: ToolPlan) -> dict[str, Any]:
    """What links a tool to the page; the second key is the older form of the first, which some hosts still read."""
    return {"ui": {"resourceUri": URI}, "ui/resourceUri": URI} if tool.behavior in _SHOWN else {}


def is_served(tools: Sequence[ToolPlan]) -> bool:
    """Whether there is a tool that the page shows anything of."""
    return any(tool.behavior in _SHOWN for tool in tools)


def resource() -> t.Resource:
    """The page as it is listed."""
    return t.Resource(
        uri=URI,
        name="dashboard",
        title="Dashboard of batches",
        description="The page in which hosts with MCP Apps show batches.",
        mime_type=MIME_TYPE,
        _meta=dict(_RESOURCE_META),
    )


def contents(tools: Sequence[ToolPlan], *, jobs: bool = False) -> t.TextResourceContents:
    """The page as it is read by hosts, in whose frame it runs; it shows `jobs` where the server has any."""
    text = _page(tools, jobs=jobs)
    return t.TextResourceContents(uri=URI, mime_type=MIME_TYPE, text=text, _meta=dict(_RESOURCE_META))


def browser_page(
    tools: Sequence[ToolPlan],
    asked: Admission | None,
    path: str = _ENDPOINT,
    approvals: str | None = None,
    *,
    jobs: bool = False,
) -> tuple[str, Mapping[str, str]]:
    """The page that calls this server itself, at `path`, and its headers; `asked` is what callers have to show.

    `approvals` is where those are answered, if there are any; it shows `jobs` where the server has any.
    """
    typed = asked is not None and asked.scheme != SENT_BY_BROWSERS
    http = {"header": asked.header, "scheme": asked.scheme, "name": asked.name} if asked and typed else {}
    if approvals is not None:
        http["approvals"] = approvals
    if path != _ENDPOINT:
        http["path"] = path
    page = _page(tools, http, jobs=jobs)
    policy = (
        f"default-src 'none'; style-src {_source('style', page)}; script-src {_source('script', page)}; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return page, {
        "content-security-policy": policy,
        "cache-control": "no-store",
        "referrer-policy": "no-referrer",
        "x-content-type-options": "nosniff",
    }


def _page(tools: Sequence[ToolPlan], http: Mapping[str, str] | None = None, *, jobs: bool = False) -> str:
    from batches_mcp.serve.minify import minified  # its patterns take a while to compile, and few ask for the page

    here = files(__package__)
    page = here.joinpath("dashboard.html").read_text("utf-8")
    for name, wanted in (("jobs", jobs), ("server", http is not None)):
        more = here.joinpath(f"dashboard_{name}.js").read_text("utf-8") if wanted else ""
        page = page.replace(f"@@{name}@@", more)
    config = {"version": __version__, "tools": _groups(tools), "http": http}
    return minified(page).replace("@@config@@", encoded(config))


def encoded(value: Any) -> str:
    """JSON to stand in HTML: nothing in it can end the element that it stands in."""
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")


def _groups(tools: Sequence[ToolPlan]) -> list[dict[str, dict[str, str]]]:
    """The tools for each account, by what they do: `{name, argument?}`, the argument being that of the batch's id."""
    groups: dict[tuple[Any, ...], dict[str, dict[str, str]]] = {}
    for tool in tools:
        if tool.behavior in _SHOWN | _CALLED:
            group = groups.setdefault((tool.request.base_uri, tool.request.credential), {})
            ids = [name for part in tool.request.path if isinstance(part, Feed) for name in part.value.arguments]
            group.setdefault(tool.behavior, {"name": tool.name, **({"argument": ids[0]} if ids else {})})
    return list(groups.values())


def _source(tag: str, page: str) -> str:
    """The hash by which a Content-Security-Policy lets the page's own style or script pass, and no other."""
    found = re.search(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
    assert found is not None  # noqa: S101 - the page is part of this package
    return f"'sha256-{base64.b64encode(hashlib.sha256(found[1].encode()).digest()).decode()}'"
