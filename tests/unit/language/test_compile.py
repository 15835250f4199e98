"""From linked names to a server: where requests go, which tools are served, what is secret."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from batches_mcp.core.errors import UsageError
from batches_mcp.language.compile import compile_server
from batches_mcp.language.defaults import known_origins
from batches_mcp.language.link import Linked, link
from batches_mcp.language.load import load
from batches_mcp.language.offer import Choice, offer
from batches_mcp.language.source import parse
from tests.unit.plans import tool_plan

UPSTREAM = """
  - type: http
    namespace: {name}
    baseUri: {uri}
    authentication: {{type: bearer, token: '{{{{env.API_KEY}}}}'}}
    resources:
    - {{name: r, path: /r, operations: [{{name: get, method: GET}}]}}"""
TOOL = """
    - {{name: {name}-get, description: Get it., call: {name}.get}}"""


def linked(*uris: str) -> Linked:
    """A file that consumes each of the base URIs with one tool."""
    names = [f"up{number}" for number in range(len(uris))]
    text = (
        "naftiko: 1.0.0-alpha2\ninfo: {label: Test}\nbinds:\n- namespace: env\n  keys: {API_KEY: API_KEY, REGION: REGION, "
        "OTHER: my_token}\ncapability:\n  consumes:"
        + "".join(UPSTREAM.format(name=name, uri=uri) for name, uri in zip(names, uris, strict=True))
        + "\n  exposes:\n  - type: mcp\n    namespace: m\n    tools:"
        + "".join(TOOL.format(name=name) for name in names)
    )
    return linked_text(text.encode())


def linked_text(content: bytes) -> Linked:
    loaded = load(parse(content, "f.yaml"))
    result = link(loaded.document, "f.yaml", origins=known_origins())
    assert not [each for each in (*loaded.problems, *result.problems) if each.severity == "error"]
    return result


def base_uris(file: Linked, base_url: str | None = None, environment: Mapping[str, str] | None = None) -> set[str]:
    return {tool.request.base_uri for tool in compile_server(file, base_url, environment).tools}


ANTHROPIC = "https://api.anthropic.com/v1"
OTHER = "https://api.example.com/api/v2"
SDK = "ANTHROPIC_BASE_URL"


@pytest.mark.parametrize(
    ("own", "base_url", "environment", "expected"),
    [
        (ANTHROPIC, None, {}, "https://api.anthropic.com/v1"),
        (f"{ANTHROPIC}/", None, {}, "https://api.anthropic.com/v1"),
        (OTHER, None, {}, "https://api.example.com/api/v2"),
        # A bare origin keeps the file's path; one with a path replaces it.
        (ANTHROPIC, "https://gw.example.com", {}, "https://gw.example.com/v1"),
        (ANTHROPIC, "https://gw.example.com/", {}, "https://gw.example.com/v1"),
        (ANTHROPIC, "https://gw.example.com:8443", {}, "https://gw.example.com:8443/v1"),
        (ANTHROPIC, "https://gw.example.com/anthropic/v1/", {}, "https://gw.example.com/anthropic/v1"),
        (OTHER, "https://gw.example.com", {}, "https://gw.example.com/api/v2"),
        # The SDKs' variable names the root before /v1, and only for Anthropic's own files.
        (ANTHROPIC, None, {SDK: "https://gw.example.com"}, "https://gw.example.com/v1"),
        (ANTHROPIC, None, {SDK: "https://gw.example.com/anthropic/"}, "https://gw.example.com/anthropic/v1"),
        (OTHER, None, {SDK: "https://gw.example.com"}, "https://api.example.com/api/v2"),
        (ANTHROPIC, None, {SDK: ""}, "https://api.anthropic.com/v1"),
        (ANTHROPIC, None, {SDK: " \n"}, "https://api.anthropic.com/v1"),
        # The flag wins over it.
        (ANTHROPIC, "https://flag.example.com", {SDK: "https://gw.example.com"}, "https://flag.example.com/v1"),
        # Plain http to this machine only.
        (ANTHROPIC, "http://localhost:8080", {}, "http://localhost:8080/v1"),
        (ANTHROPIC, "http://127.0.0.1:8080", {}, "http://127.0.0.1:8080/v1"),
        (ANTHROPIC, "http://[::1]:8080", {}, "http://[::1]:8080/v1"),
    ],
)
def test_where_requests_go(own: str, base_url: str | None, environment: dict[str, str], expected: str) -> None:
    assert base_uris(linked(own), base_url, environment) == {expected}


@pytest.mark.parametrize(
    ("base_url", "problem"),
    [
        ("http://gw.example.com", "would send the key unencrypted: plain http goes to loopback only"),
        ("http://127.0.0.1.example.com", "would send the key unencrypted"),
        ("http://0.0.0.0:8080", "would send the key unencrypted"),
        ("ftp://gw.example.com", "is not an http or https URL"),
        ("gw.example.com", "is not an http or https URL"),
        ("https://", "is not an http or https URL"),
        ("https://[::1", "is not a URL"),
        ("https://gw.example.com:port", "is not a URL"),
        ("https://me:secret@gw.example.com", "holds a user name or password"),
        ("https://@gw.example.com", "holds a user name or password"),
        ("https://gw.example.com/v1?x=1", "holds more than scheme, host and path"),
        ("https://gw.example.com/v1?", "holds more than scheme, host and path"),
        ("https://gw.example.com#x", "holds more than scheme, host and path"),
        ("https://gw.example.com/{x}", "holds more than scheme, host and path"),
        ("https://gw.example.com/a b", "holds more than scheme, host and path"),
        ("https://gw.exam\nple.com", "holds more than scheme, host and path"),
        ("https://gw.example.com\\@evil.example.com", "holds a user name or password"),
    ],
)
@pytest.mark.parametrize("source", ["--base-url", SDK])
def test_a_base_url_that_cannot_be_used_is_refused(source: str, base_url: str, problem: str) -> None:
    flag, environment = (base_url, {}) if source == "--base-url" else (None, {SDK: base_url})
    with pytest.raises(UsageError) as caught:
        compile_server(linked(ANTHROPIC), flag, environment)
    assert str(caught.value).startswith(f"{source}: the URL ")
    assert problem in str(caught.value)
    assert "secret" not in str(caught.value)


def test_one_base_url_cannot_stand_for_several_origins() -> None:
    several = linked(ANTHROPIC, OTHER)
    assert base_uris(several) == {ANTHROPIC, OTHER}
    with pytest.raises(UsageError, match="it consumes several origins"):
        compile_server(several, "https://gw.example.com")
    # The SDKs' variable concerns one of them.
    assert base_uris(several, None, {SDK: "https://gw.example.com"}) == {"https://gw.example.com/v1", OTHER}


def test_several_upstreams_of_one_origin_take_one_base_url() -> None:
    file = linked("https://api.example.com/v1", "https://API.example.com:443/v2")
    assert base_uris(file, "https://gw.example.com") == {"https://gw.example.com/v1", "https://gw.example.com/v2"}


def test_credentials_and_what_is_called_like_one_are_secret() -> None:
    plan = compile_server(linked(OTHER))
    assert plan.bound == {"API_KEY", "REGION", "my_token"}
    assert plan.secrets == {"API_KEY", "my_token"}


def test_a_file_without_tools_compiles_to_none() -> None:
    plan = compile_server(link(load(parse(b"{}", "f.yaml")).document, "f.yaml"))
    assert (plan.title, plan.instructions, plan.port, plan.tools) == ("", "", None, ())
    assert offer(plan, None, Choice(read_only=True)).server.tools == ()
    with pytest.raises(UsageError, match="there is no tool called list-items"):
        offer(plan, None, Choice(only=["list-items"]))


@pytest.mark.parametrize(
    ("method", "idempotent", "repeatable"),
    [("GET", False, True), ("POST", False, False), ("DELETE", False, False), ("DELETE", True, True)],
)
def test_what_may_be_sent_again(method: str, idempotent: bool, repeatable: bool) -> None:
    assert tool_plan(method=method, idempotent=idempotent).repeatable is repeatable
