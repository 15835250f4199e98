"""The edge-case table: every answer of the sandbox is provoked once, and says what it is and how well it is known."""

import gzip
import http.client
import json
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any
from uuid import uuid4

import httpx2
import pytest

from batches_mcp.sandbox import Answer, Inferred, ManualClock, Sandbox, running_sandbox
from batches_mcp.sandbox.endpoints import Endpoints

Json = dict[str, Any]

PATH = "/v1/messages/batches"
PARAMS = {"model": "claude-haiku-5-5", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}
ONE = {"requests": [{"custom_id": "a", "params": PARAMS}]}


class Api:
    """A tenant of its own on a sandbox of its own, and batches in every state."""

    def __init__(self, sandbox: Sandbox, http: httpx2.Client, clock: ManualClock) -> None:
        self.sandbox = sandbox
        self.http = http
        self.clock = clock

    def batch(self, state: str = "in_progress") -> str:
        batch_id: str = self.http.post(PATH, json=ONE).json()["id"]
        match state:
            case "canceling":
                self.http.post(f"{PATH}/{batch_id}/cancel")
            case "ended":
                self.sandbox.end(batch_id)
            case "archived":
                self.clock.advance(29 * 86_400)
            case "deleted":
                self.sandbox.end(batch_id)
                self.http.delete(f"{PATH}/{batch_id}")
        return batch_id

    def create(self, body: object, **headers: str) -> httpx2.Response:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.http.post(
            PATH, content=body if isinstance(body, bytes) else json.dumps(body).encode(), headers=sent
        )

    def row(self, **changes: object) -> httpx2.Response:
        row = {"custom_id": "a", "params": PARAMS, **changes}
        return self.create({"requests": [{name: value for name, value in row.items() if value is not None}]})

    def on(self, state: str, suffix: str = "", method: str = "GET", **headers: str) -> httpx2.Response:
        return self.http.request(method, f"{PATH}/{self.batch(state)}{suffix}", headers=headers)

    def get(self, path: str = "", **options: Any) -> httpx2.Response:
        return self.http.get(PATH + path, **options)

    def count(self, model: object) -> httpx2.Response:
        return self.http.post("/v1/messages/count_tokens", json={"model": model, "messages": PARAMS["messages"]})

    def late(self) -> httpx2.Response:
        self.sandbox.faults.add("late_create")
        return self.create(ONE)

    def faulty(self, kind: str, **options: Any) -> httpx2.Response:
        self.sandbox.faults.add(kind, **options)
        return self.on("in_progress") if kind == "not_found" else self.get(follow_redirects=False)


@pytest.fixture(scope="module")
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(scope="module")
def alone(clock: ManualClock) -> Iterator[Sandbox]:
    """A sandbox that keeps to the lowest limits; what is done to it is nobody else's business."""
    with running_sandbox(clock=clock, tier="start") as sandbox:
        yield sandbox


@pytest.fixture
def api(alone: Sandbox, clock: ManualClock) -> Iterator[Api]:
    headers = {"x-api-key": f"key-{uuid4().hex}", "anthropic-version": "2026-10-21"}
    with httpx2.Client(base_url=alone.url, headers=headers, timeout=60) as http:
        yield Api(alone, http, clock)


def _rows(number: int) -> bytes:
    return b'{"requests":[' + b",".join(b'{"custom_id":"%d","params":{}}' % i for i in range(number)) + b"]}"


def _too_many_a_minute(api: Api) -> httpx2.Response:
    for _ in range(1_000):
        api.get("/msgbatch_1")
    return api.get()


def _full_queue(api: Api) -> httpx2.Response:
    for _ in range(2):
        assert api.create(_rows(100_000)).status_code == 200
    return api.create(ONE)


def _announced_too_large(api: Api) -> httpx2.Response:
    # The announced length is enough: nothing has to be sent to be refused.
    connection = http.client.HTTPConnection("127.0.0.1", api.sandbox.port)
    with closing(connection):
        connection.putrequest("POST", PATH)
        for name, value in {**api.http.headers, "content-length": "256000001"}.items():
            if name in ("x-api-key", "anthropic-version", "content-length"):
                connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        return httpx2.Response(answer.status, headers=answer.getheaders(), content=answer.read())


BOMB = gzip.compress(b" " * 256_000_001, compresslevel=1)
NO_KEY = {"x-api-key": ""}

PROVOKE: dict[Answer, Callable[[Api], httpx2.Response]] = {
    Answer.MISSING_CREDENTIAL: lambda api: api.get(headers=NO_KEY),
    Answer.BAD_KEY: lambda api: api.get(headers={"x-api-key": "invalid"}),
    Answer.MISSING_VERSION: lambda api: httpx2.get(api.sandbox.url + PATH, headers={"x-api-key": "k"}),
    Answer.UNKNOWN_VERSION: lambda api: api.get(headers={"anthropic-version": "2020-01-01"}),
    Answer.UNKNOWN_BETA: lambda api: api.get(headers={"anthropic-beta": "nope"}),
    Answer.WRONG_WORKSPACE: lambda api: api.get(headers={"anthropic-workspace-id": "wrkspc_other"}),
    Answer.SINGLE_MESSAGE: lambda api: api.http.post("/v1/messages", json=PARAMS),
    Answer.UNKNOWN_PATH: lambda api: api.get("/a/b/c"),
    Answer.WRONG_METHOD: lambda api: api.http.put(PATH),
    Answer.RATE_LIMIT: _too_many_a_minute,
    Answer.CREATED: lambda api: api.create(ONE),
    Answer.NOT_JSON: lambda api: api.create(b"{"),
    Answer.BAD_ENCODING: lambda api: api.create(ONE, content_encoding="br"),
    Answer.MISSING_REQUESTS: lambda api: api.create({}),
    Answer.NO_REQUESTS: lambda api: api.create({"requests": []}),
    Answer.TOO_MANY_REQUESTS: lambda api: api.create(_rows(100_001)),
    Answer.TOO_LARGE: _announced_too_large,
    Answer.TOO_LARGE_DECODED: lambda api: api.create(BOMB, content_encoding="gzip"),
    Answer.REQUEST_TOO_LARGE: lambda api: api.row(params={"x": "y" * 32_000_001}),
    Answer.WRONG_SHAPE: lambda api: api.create({"requests": {}}),
    Answer.MISSING_CUSTOM_ID: lambda api: api.row(custom_id=None),
    Answer.LONG_CUSTOM_ID: lambda api: api.row(custom_id="x" * 65),
    Answer.EMPTY_CUSTOM_ID: lambda api: api.row(custom_id=""),
    Answer.CUSTOM_ID_CHARSET: lambda api: api.row(custom_id="a.b"),
    Answer.CUSTOM_ID_TYPE: lambda api: api.row(custom_id=1),
    Answer.DUPLICATE_CUSTOM_ID: lambda api: api.create({"requests": ONE["requests"] * 2}),
    Answer.MISSING_PARAMS: lambda api: api.row(params=None),
    Answer.PARAMS_TYPE: lambda api: api.row(params=[]),
    Answer.EXTRA_KEY: lambda api: api.row(method="POST"),
    Answer.QUEUE_LIMIT: _full_queue,
    Answer.RETRIEVED_IN_PROGRESS: lambda api: api.on("in_progress"),
    Answer.RETRIEVED_CANCELING: lambda api: api.on("canceling"),
    Answer.RETRIEVED_ENDED: lambda api: api.on("ended"),
    Answer.RETRIEVED_ARCHIVED: lambda api: api.on("archived"),
    Answer.UNKNOWN_ID: lambda api: api.get("/msgbatch_013Zva2CMHLNnXjNJJKqJ2EF"),
    Answer.MALFORMED_ID: lambda api: api.get("/nonsense"),
    Answer.FOREIGN_ID: lambda api: api.on("ended", **{"x-api-key": "another"}),
    Answer.DELETED_ID: lambda api: api.on("deleted"),
    Answer.LISTED: lambda api: (api.batch(), api.get())[1],
    Answer.LISTED_BACKWARDS: lambda api: api.get(params={"before_id": api.batch()}),
    Answer.LISTED_EMPTY: lambda api: api.get(),
    Answer.LIMIT_RANGE: lambda api: api.get(params={"limit": 0}),
    Answer.BOTH_CURSORS: lambda api: api.get(params={"after_id": api.batch(), "before_id": api.batch()}),
    Answer.UNKNOWN_CURSOR: lambda api: api.get(params={"after_id": "msgbatch_1"}),
    Answer.RESULTS: lambda api: api.on("ended", "/results"),
    Answer.RESULTS_IN_PROGRESS: lambda api: api.on("in_progress", "/results"),
    Answer.RESULTS_CANCELING: lambda api: api.on("canceling", "/results"),
    Answer.RESULTS_ARCHIVED: lambda api: api.on("archived", "/results"),
    Answer.CANCELED: lambda api: api.on("in_progress", "/cancel", "POST"),
    Answer.CANCEL_CANCELING: lambda api: api.on("canceling", "/cancel", "POST"),
    Answer.CANCEL_ENDED: lambda api: api.on("ended", "/cancel", "POST"),
    Answer.DELETED: lambda api: api.on("ended", method="DELETE"),
    Answer.DELETE_IN_PROGRESS: lambda api: api.on("in_progress", method="DELETE"),
    Answer.DELETE_CANCELING: lambda api: api.on("canceling", method="DELETE"),
    Answer.COUNTED: lambda api: api.count(PARAMS["model"]),
    Answer.COUNT_REFUSED: lambda api: api.count(5),
    Answer.COUNT_UNKNOWN_MODEL: lambda api: api.count("claude-none"),
    Answer.INJECTED_RATE_LIMIT: lambda api: api.faulty("rate_limit", retry_after=3),
    Answer.INJECTED_SPEND_CAP: lambda api: api.faulty("spend_cap"),
    Answer.INJECTED_SPEND_LIMIT: lambda api: api.faulty("spend_limit"),
    Answer.INJECTED_SERVER_ERROR: lambda api: api.faulty("server_error"),
    Answer.INJECTED_BAD_GATEWAY: lambda api: api.faulty("bad_gateway"),
    Answer.INJECTED_TIMEOUT: lambda api: api.faulty("timeout"),
    Answer.INJECTED_OVERLOADED: lambda api: api.faulty("overloaded"),
    Answer.INJECTED_LATE_CREATE: lambda api: api.late(),
    Answer.INJECTED_NOT_FOUND: lambda api: api.faulty("not_found"),
    Answer.INJECTED_REDIRECT: lambda api: api.faulty("redirect", location="https://elsewhere.example/"),
}
# Provoked where their conditions are: under switches, and by breaking the sandbox.
ELSEWHERE = {Answer.SAMPLING_KEYS, Answer.RETRIEVED_LIVE, Answer.INTERNAL_ERROR}


def test_all_answers_are_provoked() -> None:
    assert PROVOKE.keys() | ELSEWHERE == set(Answer)
    assert not PROVOKE.keys() & ELSEWHERE


@pytest.mark.parametrize("answer", PROVOKE, ids=lambda answer: answer.label)
def test_answer(api: Api, answer: Answer) -> None:
    response = PROVOKE[answer](api)
    assert response.headers["x-sandbox-answer"] == answer.label
    assert response.headers["x-sandbox-evidence"] == answer.evidence
    assert response.status_code == answer.status
    assert response.headers["request-id"].startswith("req_")
    if response.status_code == 404:
        assert response.headers["x-should-retry"] == "false"
    if answer.endpoint == "fault":
        assert api.sandbox.faults.pending() == []


def test_sampling_keys_refused_at_once() -> None:
    with running_sandbox(inferred={"sampling-keys": "create"}) as sandbox:
        headers = {"x-api-key": "k", "anthropic-version": "2026-10-21"}
        body = {"requests": [{"custom_id": "a", "params": {**PARAMS, "top_k": 5}}]}
        response = httpx2.post(sandbox.url + PATH, json=body, headers=headers)
        assert (response.status_code, response.headers["x-sandbox-answer"]) == (400, "sampling-keys")
        assert response.json()["error"]["message"] == "requests.0.params.top_k: Extra inputs are not permitted"
        classic = {**headers, "anthropic-version": "2023-06-01"}
        assert httpx2.post(sandbox.url + PATH, json=body, headers=classic).status_code == 200


def test_a_fault_of_the_sandbox_itself_is_labelled_and_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(Endpoints, "_serve", broken)
    with running_sandbox() as sandbox:
        response = httpx2.get(sandbox.url + PATH)
        assert (response.status_code, response.headers["x-sandbox-answer"]) == (500, "internal-error")
        assert [entry.status for entry in sandbox.requests] == [500]


# Switches: what each choice makes of the same request

IN_STATE: dict[tuple[str, str], tuple[Callable[[Api], httpx2.Response], int]] = {
    ("both-cursors", "ignore-before"): (PROVOKE[Answer.BOTH_CURSORS], 200),
    ("both-cursors", "ignore-after"): (PROVOKE[Answer.BOTH_CURSORS], 200),
    ("cancel-canceling", "400"): (PROVOKE[Answer.CANCEL_CANCELING], 400),
    ("cancel-ended", "409"): (PROVOKE[Answer.CANCEL_ENDED], 409),
    ("cancel-ended", "200"): (PROVOKE[Answer.CANCEL_ENDED], 200),
    ("delete-canceling", "409"): (PROVOKE[Answer.DELETE_CANCELING], 409),
    ("extra-key", "ignore"): (PROVOKE[Answer.EXTRA_KEY], 200),
    ("foreign-id", "403"): (PROVOKE[Answer.FOREIGN_ID], 403),
    ("limit-range", "clip"): (PROVOKE[Answer.LIMIT_RANGE], 200),
    ("malformed-id", "400"): (PROVOKE[Answer.MALFORMED_ID], 400),
    ("results-archived", "400"): (PROVOKE[Answer.RESULTS_ARCHIVED], 400),
    ("results-canceling", "400"): (PROVOKE[Answer.RESULTS_CANCELING], 400),
    ("too-many-requests", "413"): (PROVOKE[Answer.TOO_MANY_REQUESTS], 413),
    ("unknown-cursor", "404"): (PROVOKE[Answer.UNKNOWN_CURSOR], 404),
    ("unknown-cursor", "empty"): (PROVOKE[Answer.UNKNOWN_CURSOR], 200),
    ("unknown-version", "accept"): (PROVOKE[Answer.UNKNOWN_VERSION], 200),
    ("wrong-method", "404"): (PROVOKE[Answer.WRONG_METHOD], 404),
    ("wrong-workspace", "403"): (PROVOKE[Answer.WRONG_WORKSPACE], 403),
    ("wrong-workspace", "404"): (PROVOKE[Answer.WRONG_WORKSPACE], 404),
    ("wrong-workspace", "ignore"): (PROVOKE[Answer.WRONG_WORKSPACE], 200),
}


@pytest.mark.parametrize(("switch", "choice"), IN_STATE)
def test_switch(switch: str, choice: str) -> None:
    provoke, status = IN_STATE[switch, choice]
    headers = {"x-api-key": "k", "anthropic-version": "2026-10-21"}
    clock = ManualClock()
    with (
        running_sandbox(clock=clock, inferred={switch: choice}) as sandbox,
        httpx2.Client(base_url=sandbox.url, headers=headers, timeout=60) as http,
    ):
        assert provoke(Api(sandbox, http, clock)).status_code == status


def test_every_choice_is_tested() -> None:
    named = {switch.name for switch in Inferred.switches()}
    assert named - {answer.label for answer in Answer} == {"counts"}
    other = {(switch.name, choice) for switch in Inferred.switches() for choice in switch.choices[1:]}
    assert IN_STATE.keys() | {("sampling-keys", "create"), ("counts", "live")} == other


def test_live_counts() -> None:
    headers = {"x-api-key": "k", "anthropic-version": "2026-10-21"}
    clock = ManualClock()
    with (
        running_sandbox(clock=clock, inferred={"counts": "live"}) as sandbox,
        httpx2.Client(base_url=sandbox.url, headers=headers) as http,
    ):
        rows = [{"custom_id": f"r{i}", "params": PARAMS if i else {}} for i in range(5)]
        batch_id = http.post(PATH, json={"requests": rows}).json()["id"]
        seen = []
        for _ in range(3):
            response = http.get(f"{PATH}/{batch_id}")
            assert response.headers["x-sandbox-answer"] == "retrieved-live"
            seen.append(response.json()["request_counts"])
            clock.advance(2)
        assert [(c["processing"], c["succeeded"], c["errored"]) for c in seen] == [(5, 0, 0), (3, 1, 1), (1, 3, 1)]
        assert http.get(PATH).json()["data"][0]["request_counts"]["processing"] == 0


@pytest.mark.parametrize(("name", "choice"), [("cancel-end", "200"), ("cancel-ended", "201"), ("cancel-ended", "")])
def test_a_choice_that_does_not_exist(name: str, choice: str) -> None:
    with pytest.raises(ValueError, match=r"no switch 'cancel-end'; there are|is one of 400, 409, 200"):
        running_sandbox(inferred={name: choice}).__enter__()
