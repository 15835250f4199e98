"""What published capability files say sends the right request: each form of them over MCP and REST, on real sockets."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from mcp.client.client import Client

from tests.e2e.test_cli import run
from tests.support.rest import Reply, raw, rest_server
from tests.support.scripted import Received, answer, scripted_upstream
from tests.support.servers import error_of, server_for

pytestmark = pytest.mark.anyio

VALID = Path(__file__).parents[1] / "corpus" / "valid"
OK = answer(200, {"ok": True})
SECRETS = {
    "ITEMS_API_KEY": "items-key",
    "NOTES_TOKEN": "notes-token",
    "REGION": "eu",
    "ACCOUNT_SID": "AC1",
    "WIDGETS_TOKEN": "w-token",
    "PARTS_TOKEN": "p-token",
}
SMS = {"SMS_USER": "user", "SMS_PASSWORD": "pass"}

EVERYTHING = {
    "$orderby": "name desc",
    "$top": 5,
    "page[size]": 20,
    "filter[user.name]": "a&b",
    "ids.in": "1,2",
    "created<": "2026",
    "X-Trace-Id": "t-1",
}
QUERY = "%24orderby=name%20desc&%24top=5&page%5Bsize%5D=20&filter%5Buser.name%5D=a%26b&ids.in=1%2C2&created%3C=2026"


async def called(
    name: str, tool: str, arguments: Mapping[str, Any], step: bytes = OK
) -> tuple[Received, dict[str, Any], dict[str, Any]]:
    """The request that a call of a tool makes, its structured content, and the tool's input schema."""
    with scripted_upstream(step) as upstream:
        server = server_for(upstream.url, None, file=VALID / f"{name}.yaml", variables={**SECRETS, **SMS})
        async with Client(server) as client:
            schemas = {each.name: each.input_schema for each in (await client.list_tools()).tools}
            result = await client.call_tool(tool, dict(arguments))
        assert not result.is_error, result
        [request] = upstream.received
        return request, result.structured_content or {}, schemas[tool]


CALLS = [
    # file, tool, arguments, what is sent, with headers, with this body, and the arguments that the tool has
    ("references", "list-users", EVERYTHING, f"GET /v1.0/users?{QUERY}", {"x-trace-id": "t-1"}, None, set(EVERYTHING)),
    (
        "references",
        "add-user",
        {"@odata.type": "#user", "display name": "Ann"},
        "POST /v1.0/users",
        {},
        {"@odata.type": "#user", "display name": "Ann"},
        {"@odata.type", "display name"},
    ),
    (
        "references",
        "get-part",
        {"user-id": "u/1", "$part": "photo"},
        "GET /v1.0/users/u%2F1/photo",
        {},
        None,
        {"user-id", "$part"},
    ),
    ("names-twice", "list-items", {"limit": 3}, "GET /items?limit=3", {}, None, {"limit"}),
    ("names-twice", "get-item", {"id": "7"}, "GET /items/7", {}, None, {"id"}),
    (
        "header-is-credential",
        "get-item",
        {"id": "7", "X-Kept": "k"},
        "GET /v1/items/7",
        {"authorization": "Bearer items-key", "x-kept": "k"},
        None,
        {"id", "X-Kept"},
    ),
    ("query-is-credential", "get-item", {"id": "7"}, "GET /v1/items/7?key=items-key", {}, None, {"id"}),
    ("get-with-body", "get-item", {"id": "7"}, "GET /v1/items/7", {}, None, {"id"}),
    ("get-with-body-input", "get-item", {"id": "7"}, "GET /v1/items/7", {}, None, {"id"}),
    (
        "rest-path-by-form",
        "get-page",
        {"page-id": "p 1", "filterProperties": "t"},
        "GET /v1/pages/p%201?filterProperties=t",
        {},
        None,
        {"page-id", "filterProperties"},
    ),
    ("rest-broken", "get-item", {"id": "7"}, "GET /v1/items/7", {}, None, {"id"}),
    (
        "tool-names",
        "list-all-the-items-of-the-shop-that-have-been-added-since-the-day-before",
        {},
        "GET /v1/items",
        {},
        None,
        set(),
    ),
    ("tool-names", "items.list", {}, "GET /v1/items", {}, None, set()),
    (
        "undeclared-variable",
        "list-messages",
        {},
        "GET /accounts/AC1/eu/messages",
        {"authorization": f"Basic {base64.b64encode(b'user:pass').decode()}", "x-user": "u-user"},
        None,
        set(),
    ),
    (
        "path-forms",
        "reset-password",
        {"id": "7", "region": "north", "more": "1"},
        "POST /v1/accounts/7/reset?tempPassword=false&in=north&also=eu&x=&region=north&more=1",
        {},
        None,
        {"id", "region", "more"},
    ),
    (
        "older-forms",
        "create-widget",
        {"account_id": "a", "name": "W", "domains": ["x.example"]},
        "POST /v4/accounts/a/widgets",
        {"authorization": f"Basic {base64.b64encode(b'w-token:').decode()}"},
        {"name": "W", "domains": ["x.example"], "note": "for W"},
        {"account_id", "name", "domains"},
    ),
    (
        "path-parts",
        "get-part",
        {"uniqueName": "a'/b", "$select": ["id", "x y"]},
        "GET /v1/parts(uniqueName='a%27%2Fb')/getAll()?%24select=id&%24select=x%20y",
        {"authorization": "Bearer p-token"},
        None,
        {"uniqueName", "$select"},
    ),
    (
        "path-parts",
        "count-country",
        {"country_id": "7.8"},
        "GET /v1/countries/7%2E8.json/$count",
        {},
        None,
        {"country_id"},
    ),
    ("no-info", "get-ship", {"imo": "IMO-1"}, "GET /ships/IMO-1", {}, None, {"imo"}),
]


@pytest.mark.parametrize(
    ("name", "tool", "arguments", "sent", "headers", "body", "known"),
    CALLS,
    ids=[f"{each[0]}-{each[1]}"[:60] for each in CALLS],
)
async def test_a_tool_sends_the_right_request(
    name: str,
    tool: str,
    arguments: Mapping[str, Any],
    sent: str,
    headers: Mapping[str, str],
    body: Any,
    known: set[str],
) -> None:
    request, content, schema = await called(name, tool, arguments)
    assert f"{request.method} {request.target}" == sent
    assert headers.items() <= request.headers.items()
    assert (json.loads(request.body) if request.body else None) == body
    assert content == {"ok": True}
    assert set(schema["properties"]) == known


async def test_what_the_authentication_sets_cannot_be_given() -> None:
    with scripted_upstream(OK) as upstream:
        server = server_for(upstream.url, None, file=VALID / "header-is-credential.yaml", variables=SECRETS)
        async with Client(server) as client:
            refused = await client.call_tool("get-item", {"id": "7", "Authorization": "Bearer mine"})
    assert "Authorization" in error_of(refused)["message"]
    assert upstream.received == []


ROUTES = [
    (
        "references",
        f"/v1/users?{QUERY}",
        f"GET /v1.0/users?{QUERY}",
        {"x_trace_id": "t-1"},
        {"x-trace-id": "t-1"},
    ),
    ("references", "/v1/users/u/photo", "GET /v1.0/users/u/photo", {}, {}),
    ("rest-path-by-form", "/v1/pages/p1?filter-properties=t", "GET /v1/pages/p1?filterProperties=t", {}, {}),
    ("rest-path-by-form", "/v1/pages/p1/comments/c1", "GET /v1/pages/p1/comments/c1", {}, {}),
    ("names-twice", "/v1/items/7", "GET /items/7", {}, {}),
    (
        "header-is-credential",
        "/v1/items/7",
        "GET /v1/items/7",
        {"x_kept": "k", "authorization": "Bearer mine"},
        {"x-kept": "k", "authorization": "Bearer items-key"},
    ),
    ("rest-only", "/items/7", "GET /v1/items/7", {}, {"authorization": "Bearer items-key"}),
    ("mcp-broken", "/v1/items/7", "GET /v1/items/7", {}, {}),
]


@pytest.mark.parametrize(
    ("name", "target", "sent", "given", "headers"),
    ROUTES,
    ids=[f"{each[0]}-{number}" for number, each in enumerate(ROUTES)],
)
def test_a_route_sends_the_right_request(
    name: str, target: str, sent: str, given: Mapping[str, str], headers: Mapping[str, str]
) -> None:
    reply, [request] = routed(name, "GET", target, headers=given)
    assert (reply.status, json.loads(reply.body)) == (200, {"ok": True})
    assert f"{request.method} {request.target}" == sent
    assert headers.items() <= request.headers.items()


def routed(
    name: str,
    method: str,
    target: str,
    body: bytes | None = None,
    step: bytes = OK,
    headers: Mapping[str, str] | None = None,
) -> tuple[Reply, list[Received]]:
    """What a route of a file answers, and what it sent upstream."""
    with (
        scripted_upstream(step) as upstream,
        rest_server(upstream.url, "--capability", str(VALID / f"{name}.yaml"), key=None, **SECRETS) as served,
    ):
        return raw(served, method, target, body, **(headers or {})), upstream.received


def test_a_query_of_a_path_may_be_written_by_callers_too() -> None:
    reply, [request] = routed("path-forms", "POST", "/v1/accounts/7/reset?tempPassword=false&region=n")
    assert reply.status == 200
    assert request.target == "/v1/accounts/7/reset?tempPassword=false&in=n&also=eu&x=&region=n"


def test_a_query_of_a_path_cannot_be_changed() -> None:
    reply, received = routed("path-forms", "POST", "/v1/accounts/7/reset?tempPassword=true&region=n")
    assert (reply.status, received) == (400, [])
    assert b"tempPassword: this server sets that part of the query itself" in reply.body


@pytest.mark.parametrize("name", ["rest-only", "mcp-broken"])
def test_without_tools_a_server_over_stdio_does_not_start(name: str) -> None:
    code, out, err = run("serve", "--capability", str(VALID / f"{name}.yaml"))
    assert (code, out) == (2, "")
    assert "served over MCP; add --transport http --rest" in err


def test_a_rest_part_that_is_broken_is_not_served() -> None:
    flags = ["--transport", "http", "--port", "0", "--rest", "--capability", str(VALID / "rest-broken.yaml")]
    code, out, err = run("serve", *flags)
    assert (code, out) == (2, "")
    assert "--rest: the capability file exposes nothing over REST" in err


BASE = """
ikanos: 1.0.0-beta5
info: {display: Items, description: Items of a shop.}
capability:
  consumes:
  - type: http
    namespace: items
    baseUri: http://{item-host}:{Port}/{tenant}
    resources:
      item: {path: '/items/{id}', operations: {get: {method: GET}}}
  exposes:
  - type: mcp
    namespace: items-mcp
    tools:
      get-item: {description: Get one item of the shop., call: items.get}
"""


@pytest.fixture
def base(tmp_path: Path) -> Path:
    file = tmp_path / "base.yaml"
    file.write_text(BASE, "utf-8")
    return file


def test_variables_of_a_base_uri_are_taken_from_the_environment(base: Path) -> None:
    with scripted_upstream(OK) as upstream:
        port = upstream.url.rpartition(":")[2]
        values = {"ITEM_HOST": "127.0.0.1", "Port": port, "TENANT": "acme"}
        code, out, err = run("call", "get-item", "id=7", "--capability", str(base), key=None, cwd=None, **values)
        assert (code, json.loads(out)) == (0, {"ok": True})
        assert f"requests go to {upstream.url}" in err
        [request] = upstream.received
    assert request.target == "/acme/items/7"


def test_a_base_url_stands_in_for_variables(base: Path) -> None:
    with scripted_upstream(OK) as upstream:
        flags = ("--capability", str(base), "--base-url")
        # A bare origin keeps the path, and with it the path's variable.
        code, _, _ = run("call", "get-item", "id=7", *flags, upstream.url, TENANT="acme")
        other, _, _ = run("call", "get-item", "id=8", *flags, f"{upstream.url}/other")
    assert (code, other) == (0, 0)
    assert [request.target for request in upstream.received] == ["/acme/items/7", "/other/items/8"]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "the environment variable ITEM_HOST for http://{item-host}:{Port}/{tenant} is not set"),
        ({"ITEM_HOST": "localhost", "PORT": "1"}, "the environment variable TENANT for "),
        ({"ITEM_HOST": "shop.example.com", "PORT": "1", "TENANT": "a"}, "would send the key unencrypted"),
        ({"ITEM_HOST": "localhost/x", "PORT": "1", "TENANT": "a"}, "holds more than a host, or a part of one"),
        ({"ITEM_HOST": "localhost", "PORT": "x", "TENANT": "a"}, "is not a URL"),
        ({"ITEM_HOST": "localhost", "PORT": "1", "TENANT": "a?b"}, "holds more than scheme, host and path"),
    ],
)
def test_a_base_uri_that_is_not_complete_or_none_is_said_by_calls(
    base: Path, values: Mapping[str, str], said: str
) -> None:
    code, out, err = run("call", "get-item", "id=7", "--capability", str(base), key=None, cwd=None, **values)
    assert (code, out) == (1, "")
    assert said in err
    assert "nothing was sent" in err
    listed, _, _ = run("tools", "--capability", str(base))
    assert listed == 0


async def test_an_answer_of_bytes_is_base64() -> None:
    picture = bytes(range(256)) * 4
    _, content, _ = await called("binary", "get-picture", {"id": "7"}, answer(200, picture, kind="image/png"))
    assert content == {"media_type": "image/png", "bytes": 1024, "base64": base64.b64encode(picture).decode()}


async def test_json_is_json_where_bytes_are_declared() -> None:
    _, content, _ = await called("binary", "get-picture", {"id": "7"})
    assert content == {"ok": True}


async def test_bytes_that_one_result_cannot_hold_are_refused_at_the_call() -> None:
    with scripted_upstream(answer(200, b"\0" * 31_000, kind="image/png")) as upstream:
        async with Client(server_for(upstream.url, None, file=VALID / "binary.yaml")) as client:
            refused = error_of(await client.call_tool("get-picture", {"id": "7"}))
    assert refused["type"] == "unusable_answer"
    assert "image/png, 31,000 bytes" in refused["message"]


def test_bytes_are_handed_on_over_rest() -> None:
    picture = bytes(range(256)) * 200
    reply, _ = routed("binary", "GET", "/v1/people/7/picture", None, answer(200, picture, kind="image/png"))
    assert (reply.status, reply.headers["content-type"], reply.body) == (200, "image/png", picture)


@pytest.mark.parametrize(
    ("method", "target", "body", "sent"),
    [
        ("GET", "/notes/boards/7?size=2", None, "GET /v1/boards/7?plan=team&size=2"),
        ("GET", "/notes/a%2Fb/c%20d/$value", None, "GET /v1/a%2Fb/c%20d/$value?plan=team"),
        ("POST", "/notes/boards", b'{"name": "x"}', "POST /v1/boards?plan=team"),
        ("DELETE", "/notes/boards/7", None, "DELETE /v1/boards/7?plan=team"),
        # What is exposed by itself comes first.
        ("GET", "/notes/pages", None, "GET /v1/pages?plan=team"),
    ],
)
def test_a_path_is_handed_on(method: str, target: str, body: bytes | None, sent: str) -> None:
    headers = {"notes_zone": "z1", "x_other": "no", "x_api_version": "2020", "authorization": "Bearer mine"}
    reply, [request] = routed("forward", method, target, body, headers=headers)
    assert reply.status == 200
    assert f"{request.method} {request.target}" == sent
    assert request.headers["authorization"] == "Bearer notes-token"
    assert request.headers["x-api-version"] == "2026-03-03"
    assert request.headers.get("notes-zone") == (None if target == "/notes/pages" else "z1")
    assert not {"x-other", "x-not-given"} & request.headers.keys()
    assert (json.loads(request.body) if request.body else None) == (json.loads(body) if body else None)


@pytest.mark.parametrize("target", ["/notes/../admin", "/notes/%2e%2e/admin", "/notes/a/./b", "/notes/..", "/other"])
def test_a_path_is_not_handed_on_to_elsewhere(target: str) -> None:
    reply, received = routed("forward", "GET", target)
    assert reply.status in (400, 404)
    assert received == []


def test_read_only_hands_on_what_reads_only() -> None:
    flags = ("--read-only", "--capability", str(VALID / "forward.yaml"))
    with scripted_upstream(OK) as upstream, rest_server(upstream.url, *flags, key=None, **SECRETS) as served:
        statuses = [raw(served, method, "/notes/a").status for method in ("GET", "POST", "DELETE")]
    assert statuses == [200, 405, 405]
    assert [request.method for request in upstream.received] == ["GET"]


DOOR = """
ikanos: 1.0.0-beta5
info: {display: Notes, description: Notes of a team.}
capability:
  consumes:
  - type: http
    namespace: notes
    baseUri: https://notes.example.com
    resources:
      notes: {path: /notes, operations: {list: {method: GET}, add: {method: POST}}}
  exposes:
  - type: mcp
    namespace: notes-mcp
    tools:
      list-notes: {description: List the notes of the team., call: notes.list, hints: {readOnly: true}}
      add-note: {description: Add a note to those of the team., call: notes.add}
  - type: rest
    namespace: notes-rest
    resources:
      notes: {path: /notes, operations: {list: {method: GET, call: notes.list}}}
      any: {path: '/any/{path}', forward: {targetNamespace: notes}}
"""


@pytest.mark.parametrize(("flags", "status"), [((), 200), (("--exclude", "add-note"), 404)])
def test_what_hands_on_is_no_second_door_to_a_tool_that_is_withheld(
    tmp_path: Path, flags: tuple[str, ...], status: int
) -> None:
    file = tmp_path / "door.yaml"
    file.write_text(DOOR, "utf-8")
    with scripted_upstream(OK) as upstream, rest_server(upstream.url, *flags, "--capability", str(file)) as served:
        assert raw(served, "POST", "/any/notes", b"{}").status == status
        described = json.loads(raw(served, "GET", "/openapi.json").body)
    assert len(upstream.received) == (1 if status == 200 else 0)
    # What is behind such a path is not known.
    assert set(described["paths"]) == {"/notes"}


async def test_a_file_of_several_megabytes_is_served(tmp_path: Path) -> None:
    operation = (
        "      op{0}: {{method: GET, description: 'Get the items of kind {0}, with all that belongs to them.'}}\n"
    )
    tool = "      get-{0}: {{description: Get the items of kind {0}., call: shop.op{0}, hints: {{readOnly: true}}}}\n"
    kinds = range(10_000)
    text = (
        "ikanos: 1.0.0-beta5\ninfo: {display: Shop}\ncapability:\n  consumes:\n  - type: http\n    namespace: shop\n"
        "    baseUri: https://shop.example.com\n    resources: {items: {path: /items, operations: {\n"
        + "".join(operation.format(kind).rstrip("\n") + ",\n" for kind in kinds)
        + "    }}}\n  exposes:\n  - type: mcp\n    namespace: shop-mcp\n    tools:\n"
        + "".join(tool.format(kind) for kind in kinds)
    )
    file = tmp_path / "large.yaml"
    file.write_text(text, "utf-8")
    assert file.stat().st_size > 1_900_000
    with scripted_upstream(OK) as upstream:
        async with Client(server_for(upstream.url, None, file=file)) as client:
            assert not (await client.call_tool("get-9999", {})).is_error
    assert [request.target for request in upstream.received] == ["/items"]


def test_inputs_are_found_within_the_body() -> None:
    body = {"user": {"id": "u1", "name": 'A "q"'}, "tags": [{"name": "x"}, {"name": "y"}], "plan": "p", "more": 1}
    _, [request] = routed("rest-jsonpath", "POST", "/users", json.dumps(body).encode())
    assert json.loads(request.body) == {"id": "u1", "name": 'A "q"', "tags": ["x", "y"], "plan": "p"}
    _, [request] = routed("rest-jsonpath", "PUT", "/users", b'{"user": {"id": "a&b"}}')
    assert f"{request.method} {request.target}" == "GET /create?q=a%26b"


def test_what_is_not_in_the_body_is_left_out() -> None:
    _, [request] = routed("rest-jsonpath", "PUT", "/users", b'{"user": {}}')
    assert request.target == "/create"
