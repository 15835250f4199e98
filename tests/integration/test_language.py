"""What only a running server shows of the language: values from files, and callers that have to show a credential."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import httpx2
import pytest

from tests.e2e.test_cli import run
from tests.support.scripted import answer, scripted_upstream
from tests.support.servers import http_client, http_server, running

pytestmark = pytest.mark.anyio

VALID = Path(__file__).parents[1] / "corpus" / "valid"
PING = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
HEADERS = {"accept": "application/json, text/event-stream", "content-type": "application/json"}
SECRET = "callers-secret"


@pytest.mark.parametrize(
    ("name", "key", "region"), [("binds-yaml", "from-yaml", "eu"), ("binds-json", "from-json", "7")]
)
def test_values_from_a_file_feed_requests_and_are_shown_nowhere(name: str, key: str, region: str) -> None:
    echo = answer(200, {"you_sent": f"Bearer {key}"})
    with scripted_upstream(echo) as upstream:
        call = ["call", "list-items", "--base-url", upstream.url, "--capability", str(VALID / f"{name}.yaml")]
        code, out, err = run(*call, "--log-level", "debug", key=None)
    assert code == 0
    [request] = upstream.received
    assert request.headers["authorization"] == f"Bearer {key}"
    assert request.target == f"/v1/{region}/items"
    assert json.loads(out) == {"you_sent": "Bearer ***"}
    assert key not in out + err


def test_a_missing_file_is_a_diagnostic_and_not_a_server(tmp_path: Path) -> None:
    file = tmp_path / "shop.yaml"
    file.write_text((VALID / "binds-yaml.yaml").read_text("utf-8"), "utf-8")
    code, out, err = run("serve", "--capability", str(file))
    assert (code, out) == (1, "")
    assert f"{file}:6:13: file: cannot read the file" in err


ALLOWED = {
    "inbound-bearer": {"authorization": f"Bearer {SECRET}"},
    "inbound-apikey": {"x-shop": SECRET},
    "inbound-basic": {"authorization": f"Basic {base64.b64encode(f'callers:{SECRET}'.encode()).decode()}"},
}
WRONG = {
    "inbound-bearer": [{"authorization": "Bearer other"}, {"authorization": f"Basic {SECRET}"}, {"x-shop": SECRET}],
    "inbound-apikey": [{"x-shop": "other"}, {"x-shop": f"Bearer {SECRET}"}, {"authorization": f"Bearer {SECRET}"}],
    "inbound-basic": [{"authorization": f"Bearer {SECRET}"}, {"authorization": f"Basic {SECRET}"}],
}


@pytest.mark.parametrize("name", ALLOWED)
async def test_callers_show_what_the_capability_asks_for(name: str) -> None:
    flags = ["--capability", str(VALID / f"{name}.yaml")]
    with http_server(*flags, key=None, SHOP_CALLERS=SECRET) as url:
        refusals = [httpx2.post(url, json=PING, headers=HEADERS | headers) for headers in [{}, *WRONG[name]]]
        assert {refusal.status_code for refusal in refusals} == {401}
        # The same for a missing and a wrong one, with nothing of the secret.
        assert len({refusal.text for refusal in refusals}) == 1
        assert SECRET not in refusals[0].text
        assert refusals[0].headers["www-authenticate"]
        assert httpx2.get(url.replace("/mcp", "/healthz")).status_code == 200
        async with http_client(url, ALLOWED[name]) as client:
            assert [tool.name for tool in (await client.list_tools()).tools] == ["list-items"]


def test_the_operators_token_is_asked_for_in_its_place() -> None:
    flags = ["--capability", str(VALID / "inbound-apikey.yaml")]
    with http_server(*flags, key=None, SHOP_CALLERS=SECRET, BATCHES_MCP_TOKEN="operators") as url:
        statuses = {
            header: httpx2.post(url, json=PING, headers=HEADERS | {header: value}).status_code
            for header, value in (("x-shop", SECRET), ("authorization", "Bearer operators"))
        }
    assert statuses == {"x-shop": 401, "authorization": 200}


def test_a_server_that_could_let_nobody_in_does_not_start() -> None:
    code, out, err = run(
        "serve", "--transport", "http", "--port", "0", "--capability", str(VALID / "inbound-bearer.yaml"), key=None
    )
    assert (code, out) == (2, "")
    assert "the capability asks callers over HTTP for a credential, and SHOP_CALLERS is not set" in err


def test_over_stdio_nobody_is_asked() -> None:
    with running(["serve", "--capability", str(VALID / "inbound-bearer.yaml")], key=None) as process:
        assert process.popen.stdin is not None
        process.popen.stdin.close()
        assert process.popen.wait(30) == 0


def test_rest_asks_its_callers_for_the_same() -> None:
    with scripted_upstream(answer(200, {"items": []})) as upstream:
        flags = [
            "--capability",
            str(VALID / "inbound-basic.yaml"),
            "--base-url",
            upstream.url,
            "--rest",
            "--rest-port",
            "0",
        ]
        with running(["serve", "--transport", "http", "--port", "0", *flags], key=None, SHOP_CALLERS=SECRET) as process:
            url = process.say_until(r"and REST at (http://\S+)")[1]
            refusals = [httpx2.get(f"{url}/items", headers=headers) for headers in [{}, *WRONG["inbound-basic"]]]
            assert {refusal.status_code for refusal in refusals} == {401}
            assert upstream.received == []
            allowed = httpx2.get(f"{url}/items", headers=ALLOWED["inbound-basic"])
    assert (allowed.status_code, allowed.json()) == (200, {"items": []})
