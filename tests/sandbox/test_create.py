"""Create: the answer, and every reason to refuse a whole batch."""

import gzip
import http.client
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import datetime, timedelta
from typing import Any

import anthropic
import httpx2
import pytest

from batches_mcp.sandbox import Sandbox

Ask = Callable[..., dict[str, Any]]
Refusal = Callable[[httpx2.Response], tuple[int, str, str]]

PATH = "/v1/messages/batches"
PARAMS = {"model": "claude-haiku-5-5", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}
GZIP = gzip.compress(json.dumps({"requests": [{"custom_id": "a", "params": PARAMS}]}).encode())
CAPTURED_ORDER = [
    "id",
    "type",
    "processing_status",
    "request_counts",
    "ended_at",
    "created_at",
    "expires_at",
    "archived_at",
    "cancel_initiated_at",
    "results_url",
]


def test_answer_on_the_wire(raw: httpx2.Client, ask: Ask) -> None:
    response = raw.post(PATH, json={"requests": [ask("a"), ask("b")]})
    batch = response.json()
    assert response.status_code == 200
    assert "retry-after" not in response.headers
    assert list(batch) == CAPTURED_ORDER
    assert batch["id"].startswith("msgbatch_01")
    assert len(batch["id"]) == len("msgbatch_") + 24
    assert batch["type"] == "message_batch"
    assert batch["processing_status"] == "in_progress"
    assert batch["request_counts"] == {"processing": 2, "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0}
    nullable = ("ended_at", "archived_at", "cancel_initiated_at", "results_url")
    assert [batch[name] for name in nullable] == [None] * 4
    assert batch["created_at"].endswith("+00:00")
    assert len(batch["created_at"]) == len("2025-01-29T14:24:59.570697+00:00")
    lifetime = datetime.fromisoformat(batch["expires_at"]) - datetime.fromisoformat(batch["created_at"])
    assert lifetime == timedelta(hours=24)


def test_from_a_list_and_from_a_generator(client: anthropic.Anthropic, ask: Ask) -> None:
    def requests() -> Iterator[Any]:
        for number in range(3):
            yield ask(f"row-{number}")

    listed: Any = list(requests())
    assert client.messages.batches.create(requests=listed).request_counts.processing == 3
    assert client.messages.batches.create(requests=requests()).request_counts.processing == 3


def test_same_body_twice_is_two_batches(raw: httpx2.Client, ask: Ask) -> None:
    body = {"requests": [ask()]}
    assert raw.post(PATH, json=body).json()["id"] != raw.post(PATH, json=body).json()["id"]


def test_custom_ids_may_recur_in_another_batch_and_be_64_long(raw: httpx2.Client, ask: Ask) -> None:
    for _ in range(2):
        assert raw.post(PATH, json={"requests": [ask("a-Z_9" + "x" * 59)]}).status_code == 200


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "requests: Field required"),
        ({"requests": []}, "requests: List should have at least 1 item after validation, not 0"),
        ({"requests": {}}, "requests: Input should be a valid list"),
        ({"requests": None}, "requests: Input should be a valid list"),
        ([], "Input should be a valid dictionary"),
        ("text", "Input should be a valid dictionary"),
        ({"requests": ["x"]}, "requests.0: Input should be a valid dictionary"),
        ({"requests": [{"params": PARAMS}]}, "requests.0.custom_id: Field required"),
        (
            {"requests": [{"custom_id": "a", "params": PARAMS}, {"params": PARAMS}]},
            "requests.1.custom_id: Field required",
        ),
        ({"requests": [{"custom_id": 1, "params": PARAMS}]}, "requests.0.custom_id: Input should be a valid string"),
        (
            {"requests": [{"custom_id": "x" * 65, "params": PARAMS}]},
            "requests.0.custom_id: String should have at most 64 characters",
        ),
        (
            {"requests": [{"custom_id": "", "params": PARAMS}]},
            "requests.0.custom_id: String should have at least 1 character",
        ),
        *(
            (
                {"requests": [{"custom_id": custom_id, "params": PARAMS}]},
                "requests.0.custom_id: String should match pattern '^[a-zA-Z0-9_-]{1,64}$'",
            )
            for custom_id in ("a:b", "a.b", "a b", "a\n", "é")
        ),
        (
            {"requests": [{"custom_id": "dup", "params": PARAMS}, {"custom_id": "dup", "params": PARAMS}]},
            "requests: custom_id's must be unique within a batch. Duplicate custom_id found: dup",
        ),
        ({"requests": [{"custom_id": "a"}]}, "requests.0.params: Field required"),
        ({"requests": [{"custom_id": "a", "params": []}]}, "requests.0.params: Input should be a valid dictionary"),
        (
            {"requests": [{"custom_id": "a", "params": PARAMS, "method": "POST"}]},
            "requests.0.method: Extra inputs are not permitted",
        ),
        (
            {"requests": [{"custom_id": "a", "params": PARAMS, "": 1}]},
            "requests.0.: Extra inputs are not permitted",
        ),
        (
            {"metadata": {"name": "x"}, "requests": [{"custom_id": "a", "params": PARAMS}]},
            "metadata: Extra inputs are not permitted",
        ),
        (
            {"requests": [{"custom_id": "a", "params": PARAMS}], "betas": []},
            "betas: Extra inputs are not permitted",
        ),
    ],
    ids=str,
)
def test_refused_bodies(raw: httpx2.Client, refusal: Refusal, body: Any, message: str) -> None:
    assert refusal(raw.post(PATH, json=body)) == (400, "invalid_request_error", message)
    assert raw.get(PATH).json()["data"] == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"requests": [',
        b'{"requests": [{"custom_id": "a", "params": {}}',
        b'{"requests": [{"custom_id": "a", "params": {}}]',
        b'{"requests": [{"custom_id": "a", "params": {}}]} x',
        b'{"requests": [{"custom_id": "a", "params": {}},]}',
        b'{"requests": [{"custom_id": "a", "params": {"x": NaN}}]}',
        b'{"requests": [{"custom_id": "a", "params": {"x": "\\ud800"}}]}',
        b'{"requests": [{"custom_id": "a", "params": {"x": "\xff"}}]}',
        b'{"custom_id": "a", "params": {}}\n{"custom_id": "b", "params": {}}\n',
    ],
    ids=str,
)
def test_broken_json(raw: httpx2.Client, refusal: Refusal, body: bytes) -> None:
    status, error_type, message = refusal(raw.post(PATH, content=body))
    assert (status, error_type) == (400, "invalid_request_error")
    assert message.startswith("The request body is not valid JSON: ")
    assert "line" in message
    assert raw.get(PATH).json()["data"] == []


def test_broken_json_is_reported_before_anything_else(raw: httpx2.Client, refusal: Refusal) -> None:
    assert "not valid JSON" in refusal(raw.post(PATH, content=b'{"x": 1, "requests": [{}], '))[2]


def test_sdk_sees_a_bad_request(client: anthropic.Anthropic, ask: Ask) -> None:
    bad: Any = [ask("a.b")]
    with pytest.raises(anthropic.BadRequestError, match="String should match pattern"):
        client.messages.batches.create(requests=bad)


def test_contents_of_params_are_not_looked_at(raw: httpx2.Client) -> None:
    body = {"requests": [{"custom_id": "a", "params": {}}]}
    assert raw.post(PATH, json=body).status_code == 200


def _small_rows(number: int) -> bytes:
    return b'{"requests":[' + b",".join(b'{"custom_id":"%d","params":{}}' % i for i in range(number)) + b"]}"


def test_100_000_requests_are_the_limit(raw: httpx2.Client, refusal: Refusal) -> None:
    assert raw.post(PATH, content=_small_rows(100_000)).json()["request_counts"]["processing"] == 100_000
    message = "requests: List should have at most 100000 items after validation, not 100002"
    assert refusal(raw.post(PATH, content=_small_rows(100_002))) == (400, "invalid_request_error", message)
    assert len(raw.get(PATH).json()["data"]) == 1


def test_announced_body_over_256_mb(sandbox: Sandbox) -> None:
    # The announced length is enough: nothing has to be sent to be refused.
    connection = http.client.HTTPConnection("127.0.0.1", sandbox.port)
    with closing(connection):
        connection.putrequest("POST", PATH)
        for name, value in {"x-api-key": "k", "anthropic-version": "2026-10-21", "content-length": "256000001"}.items():
            connection.putheader(name, value)
        connection.endheaders()
        response = connection.getresponse()
        assert response.status == 413
        assert json.loads(response.read())["error"]["type"] == "request_too_large"


def test_streamed_body_over_256_mb(raw: httpx2.Client) -> None:
    piece = b" " * 1_000_000
    response = raw.post(PATH, content=(piece for _ in range(257)))
    _is_too_large(response)


def _is_too_large(response: httpx2.Response) -> None:
    assert response.status_code == 413
    # Seen so, without the outer type and request_id: the edge in front of the API answers.
    assert response.json() == {"error": {"type": "request_too_large", "message": "Request exceeds the maximum size"}}
    assert response.headers["request-id"].startswith("req_")


def test_one_request_over_32_million_characters(raw: httpx2.Client) -> None:
    text = "x" * 33_000_000
    response = raw.post(PATH, content=b'{"requests":[{"custom_id":"a","params":{"x":"' + text.encode() + b'"}}]}')
    _is_too_large(response)


def test_a_large_request_is_kept_whole(raw: httpx2.Client, ask: Ask) -> None:
    response = raw.post(PATH, content=json.dumps({"requests": [ask("big", "é" * 5_000_000), ask("small")]}).encode())
    assert response.json()["request_counts"]["processing"] == 2


def test_gzip(raw: httpx2.Client, ask: Ask) -> None:
    body = json.dumps({"requests": [ask(f"row-{number}", "é" * 1_000) for number in range(3_000)]}).encode()
    response = raw.post(PATH, content=gzip.compress(body), headers={"content-encoding": "gzip"})
    assert response.json()["request_counts"]["processing"] == 3_000
    assert raw.post(PATH, content=body, headers={"content-encoding": "identity"}).status_code == 200


@pytest.mark.parametrize("body", [b"", b"{}", GZIP[:-9], GZIP[:40] + b"xx" + GZIP[42:], GZIP + b"x"], ids=len)
def test_broken_gzip(raw: httpx2.Client, refusal: Refusal, body: bytes) -> None:
    status, error_type, message = refusal(raw.post(PATH, content=body, headers={"content-encoding": "gzip"}))
    assert (status, error_type) == (400, "invalid_request_error")
    assert message.startswith("content-encoding: broken gzip")
    assert raw.get(PATH).json()["data"] == []


def test_decoded_body_over_256_mb(raw: httpx2.Client) -> None:
    body = gzip.compress(b" " * 256_000_001, compresslevel=1)
    response = raw.post(PATH, content=body, headers={"content-encoding": "gzip"})
    assert response.status_code == 413
    assert response.json()["error"] == {
        "type": "request_too_large",
        "message": "Request exceeds the maximum size",
        "details": {"error_code": "request_body_too_large_after_decoding"},
    }


def test_others_are_served_while_a_body_arrives(raw: httpx2.Client, ask: Ask) -> None:
    def parts() -> Iterator[bytes]:
        yield b'{"requests":['
        with httpx2.Client(base_url=raw.base_url, headers=raw.headers) as other:
            assert other.get(PATH).json()["data"] == []
            assert other.post(PATH, json={"requests": [ask()]}).status_code == 200
        yield json.dumps(ask()).encode() + b"]}"

    first = raw.post(PATH, content=parts()).json()["id"]
    assert raw.get(PATH).json()["first_id"] == first


def test_a_body_that_breaks_off_leaves_nothing(raw: httpx2.Client, sandbox: Sandbox, ask: Ask) -> None:
    class Gone(Exception):
        pass

    def parts() -> Iterator[bytes]:
        yield b'{"requests":[' + json.dumps(ask()).encode()
        raise Gone

    with pytest.raises(Gone):
        raw.post(PATH, content=parts())
    assert raw.get(PATH).json()["data"] == []


def test_concurrent_creates(raw: httpx2.Client, ask: Ask) -> None:
    def create(number: int) -> str:
        requests = [ask(f"{number}-{row}", "x" * 500) for row in range(200)]
        batch_id: str = raw.post(PATH, json={"requests": requests}).json()["id"]
        return batch_id

    with ThreadPoolExecutor(8) as pool:
        created = list(pool.map(create, range(16)))
    listed = [batch["id"] for batch in raw.get(PATH).json()["data"]]
    assert len(set(created)) == 16
    assert sorted(listed) == sorted(created)
