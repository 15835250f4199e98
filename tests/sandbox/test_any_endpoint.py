"""What every endpoint checks before it looks at anything else, and what every answer carries."""

from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Any

import anthropic
import httpx2
import pytest

from batches_mcp.sandbox import ManualClock, Sandbox

Refusal = Callable[[httpx2.Response], tuple[int, str, str]]

PATH = "/v1/messages/batches"
ENDPOINTS = [
    ("POST", PATH),
    ("GET", PATH),
    ("GET", f"{PATH}/msgbatch_x"),
    ("DELETE", f"{PATH}/msgbatch_x"),
    ("POST", f"{PATH}/msgbatch_x/cancel"),
    ("GET", f"{PATH}/msgbatch_x/results"),
]
VERSION = {"anthropic-version": "2026-10-21"}
UNKNOWN_BETAS = (
    "Unexpected value(s) {} for the `anthropic-beta` header. "
    "Please consult our documentation at docs.anthropic.com or try again without the header."
)


@pytest.mark.parametrize(("method", "path"), ENDPOINTS)
@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (VERSION, (401, "authentication_error", "x-api-key header is required")),
        ({**VERSION, "x-api-key": ""}, (401, "authentication_error", "x-api-key header is required")),
        ({**VERSION, "authorization": "Basic a2V5"}, (401, "authentication_error", "x-api-key header is required")),
        ({**VERSION, "x-api-key": "sk-Invalid"}, (401, "authentication_error", "API key is invalid.")),
        ({**VERSION, "authorization": "Bearer invalid"}, (401, "authentication_error", "API key is invalid.")),
        ({"x-api-key": "k"}, (400, "invalid_request_error", "anthropic-version: header is required")),
        (
            {"x-api-key": "k", "anthropic-version": "2020-01-01"},
            (400, "invalid_request_error", 'anthropic-version: "2020-01-01" is not a valid version'),
        ),
        (
            {**VERSION, "x-api-key": "k", "anthropic-beta": "message-batches-2024-09-24, nope-1,nope-2"},
            (400, "invalid_request_error", UNKNOWN_BETAS.format("`nope-1`, `nope-2`")),
        ),
    ],
)
def test_refused_headers(
    sandbox: Sandbox,
    refusal: Refusal,
    method: str,
    path: str,
    headers: dict[str, str],
    expected: tuple[int, str, str],
) -> None:
    response = httpx2.request(method, sandbox.url + path, headers=headers)
    assert refusal(response) == expected


@pytest.mark.parametrize("version", ["2023-06-01", "2026-10-21"])
@pytest.mark.parametrize("credential", [{"x-api-key": "k"}, {"authorization": "Bearer k"}])
def test_accepted_headers(sandbox: Sandbox, version: str, credential: dict[str, str]) -> None:
    headers = {"anthropic-version": version, "anthropic-beta": "message-batches-2024-09-24", **credential}
    response = httpx2.get(sandbox.url + PATH, params={"beta": "true"}, headers=headers)
    assert response.status_code == 200


def test_repeated_beta_header(sandbox: Sandbox, refusal: Refusal) -> None:
    headers = [*VERSION.items(), ("x-api-key", "k"), ("anthropic-beta", "pdfs-2024-09-25"), ("anthropic-beta", "x")]
    response = httpx2.get(sandbox.url + PATH, headers=headers)
    assert refusal(response)[2] == UNKNOWN_BETAS.format("`x`")


def test_x_api_key_wins_over_bearer(sandbox: Sandbox, raw: httpx2.Client, ask: Callable[..., Any]) -> None:
    raw.post(PATH, json={"requests": [ask()]})
    both = raw.get(PATH, headers={"authorization": "Bearer another"})
    assert len(both.json()["data"]) == 1


def test_both_credential_headers_are_one_tenant(
    raw: httpx2.Client, client: anthropic.Anthropic, ask: Callable[..., Any]
) -> None:
    created = raw.post(PATH, json={"requests": [ask()]}).json()
    assert client.messages.batches.retrieve(created["id"]).id == created["id"]


def test_sdk_errors(sandbox: Sandbox) -> None:
    with (
        anthropic.Anthropic(base_url=sandbox.url, api_key="invalid", max_retries=0) as client,
        pytest.raises(anthropic.AuthenticationError, match="API key is invalid") as caught,
    ):
        client.messages.batches.list()
    assert caught.value.type == "authentication_error"
    assert str(caught.value.request_id).startswith("req_")


@pytest.mark.parametrize("path", ["/index.html", "/v1", f"{PATH}/", f"{PATH}/x/", f"{PATH}/x/other", f"{PATH}/a%2Fb"])
def test_unknown_path(raw: httpx2.Client, refusal: Refusal, path: str) -> None:
    assert refusal(raw.get(path)) == (404, "not_found_error", "Not found")


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PUT", PATH, {"GET", "POST"}),
        ("DELETE", PATH, {"GET", "POST"}),
        ("POST", f"{PATH}/x", {"GET", "DELETE"}),
        ("GET", f"{PATH}/x/cancel", {"POST"}),
        ("POST", f"{PATH}/x/results", {"GET"}),
    ],
)
def test_wrong_method(raw: httpx2.Client, refusal: Refusal, method: str, path: str, allow: set[str]) -> None:
    response = raw.request(method, path)
    assert refusal(response) == (405, "invalid_request_error", "Method Not Allowed")
    assert set(response.headers["allow"].split(", ")) == allow


def test_request_ids_differ(raw: httpx2.Client, client: anthropic.Anthropic) -> None:
    seen = {raw.get(PATH).headers["request-id"], raw.get("/nowhere").headers["request-id"]}
    response = client.messages.batches.with_raw_response.list()
    seen.add(str(response.request_id))
    assert len(seen) == 3
    assert all(len(request_id) == len("req_") + 24 for request_id in seen)


def test_date_is_the_sandboxes(raw: httpx2.Client, clock: ManualClock) -> None:
    date = parsedate_to_datetime(raw.get(PATH).headers["date"])
    assert date == clock.now().replace(microsecond=0)
