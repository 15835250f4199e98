"""What any release of the official Python SDK must be able to do with a sandbox: `python sdk_contract.py URL`.

It runs by itself, in an environment that has nothing but the SDK, under its 0.x releases as well as its current one.
It prints one line for each thing that worked, and fails at the first that did not.
"""

import asyncio
import contextlib
import http.client
import json
import sys
from collections import Counter
from typing import Any

import anthropic

PATH = "/v1/messages/batches"
FIVE = ("succeeded", "errored", "expired", "canceled", "processing")


def main(url: str) -> None:
    Sandbox(url).control("POST", "reset")
    for name, check in CHECKS.items():
        client = anthropic.Anthropic(base_url=url, api_key=f"contract-{name}", max_retries=0)
        with client:
            check(client, Sandbox(url))
        sys.stdout.write(f"ok {name}\n")
    sys.stdout.write(f"done {anthropic.__version__}\n")


class Sandbox:
    def __init__(self, url: str) -> None:
        self.url = url
        self.address = url.removeprefix("http://")

    def control(self, method: str, path: str, **body: object) -> Any:
        connection = http.client.HTTPConnection(self.address, timeout=10)
        with contextlib.closing(connection):
            connection.request(method, f"/_sandbox/{path}", json.dumps(body) if body else None)
            answer = connection.getresponse()
            assert answer.status == 200, answer.read()
            return json.load(answer)

    def advance(self, seconds: float) -> None:
        self.control("POST", "clock/advance", seconds=seconds)

    def last_request(self) -> Any:
        return self.control("GET", "requests")["requests"][-1]


def ask(custom_id: str, text: str = "hi", **params: Any) -> Any:
    params = {"model": "claude-haiku-5-5", "max_tokens": 64, "messages": [{"role": "user", "content": text}], **params}
    return {"custom_id": custom_id, "params": params}


def counts(batch: Any) -> "dict[str, int]":
    return {name: getattr(batch.request_counts, name) for name in FIVE if getattr(batch.request_counts, name)}


def raises(kind: "type[Exception]", call: Any, *args: Any, **kwargs: Any) -> Exception:
    try:
        result = call(*args, **kwargs)
        for _ in result if hasattr(result, "__iter__") else ():
            pass
    except kind as error:
        return error
    raise AssertionError(f"{call} did not raise {kind}")


def create_and_retrieve(client: Any, sandbox: "Sandbox") -> None:
    batches = client.messages.batches
    batch = batches.create(requests=[ask("a"), ask("b")])
    assert batch.processing_status == "in_progress"
    assert counts(batch) == {"processing": 2}
    assert (batch.expires_at - batch.created_at).total_seconds() == 86_400
    assert batches.create(requests=(ask(f"r{n}") for n in range(3))).request_counts.processing == 3
    assert batches.retrieve(batch.id) == batch
    raw = batches.with_raw_response.retrieve(batch.id)
    assert raw.headers["retry-after"] == "10"
    assert raw.headers["request-id"].startswith("req_")
    assert raw.parse() == batch


def results(client: Any, sandbox: "Sandbox") -> None:
    batches = client.messages.batches
    requests = [ask(f"ok-{n}") for n in range(200)]
    requests += [ask("bad", model="claude-none"), ask("late", "[[sandbox:expired]]"), ask("no", "[[sandbox:refusal]]")]
    batch = batches.create(requests=requests)
    error = raises(anthropic.AnthropicError, batches.results, batch.id)
    assert "results_url" in str(error)
    sandbox.advance(5)
    rows = {row.custom_id: row.result for row in batches.results(batch.id)}
    assert len(rows) == 203
    assert Counter(result.type for result in rows.values()) == {"succeeded": 201, "errored": 1, "expired": 1}
    assert rows["ok-7"].message.content[0].text == "[sandbox] You wrote: hi"
    assert rows["bad"].error.error.type == "not_found_error"
    assert rows["no"].message.stop_reason == "refusal"
    stream = batches.results(batch.id)
    next(iter(stream))
    getattr(stream, "close", stream.http_response.close)()
    assert counts(batches.retrieve(batch.id)) == {"succeeded": 201, "errored": 1, "expired": 1}


def list_pages(client: Any, sandbox: "Sandbox") -> None:
    batches = client.messages.batches
    ids = [batches.create(requests=[ask("a")]).id for _ in range(5)]
    assert [batch.id for batch in batches.list(limit=2)] == ids[::-1]
    assert sorted(batch.id for batch in batches.list(limit=2, before_id=ids[0])) == sorted(ids[1:])
    raises(anthropic.BadRequestError, batches.list, limit=1001)


def cancel(client: Any, sandbox: "Sandbox") -> None:
    batches = client.messages.batches
    batch = batches.create(requests=[ask(f"r{n}") for n in range(10)])
    sandbox.advance(2)
    canceling = batches.cancel(batch.id)
    assert canceling.processing_status == "canceling"
    assert counts(canceling) == {"processing": 10}
    sandbox.advance(1)
    assert counts(batches.retrieve(batch.id)) == {"succeeded": 4, "canceled": 6}
    raises(anthropic.BadRequestError, batches.cancel, batch.id)


def delete(client: Any, sandbox: "Sandbox") -> None:
    batches = client.messages.batches
    batch = batches.create(requests=[ask("a")])
    raises(anthropic.BadRequestError, batches.delete, batch.id)
    sandbox.advance(5)
    assert batches.delete(batch.id).type == "message_batch_deleted"
    for call in (batches.retrieve, batches.cancel, batches.delete, batches.results):
        assert "not found" in str(raises(anthropic.NotFoundError, call, batch.id))


def refusals(client: Any, sandbox: "Sandbox") -> None:
    batches = client.messages.batches
    raises(anthropic.BadRequestError, batches.create, requests=[ask("a.b")])
    raises(anthropic.BadRequestError, batches.create, requests=[])
    bad = anthropic.Anthropic(base_url=sandbox.url, api_key="invalid", max_retries=0)
    with bad:
        raises(anthropic.AuthenticationError, bad.messages.batches.list)


def retries(client: Any, sandbox: "Sandbox") -> None:
    key = "contract-retries"
    sandbox.control("POST", "faults", kind="overloaded", on="create", key=key)
    batches = client.with_options(max_retries=1).messages.batches
    assert counts(batches.create(requests=[ask("a")])) == {"processing": 1}
    sandbox.control("POST", "faults", kind="not_found", on="retrieve", key=key)
    # The 404 says `x-should-retry: false`.
    raises(anthropic.NotFoundError, batches.retrieve, "msgbatch_1")


def beta_client(client: Any, sandbox: "Sandbox") -> None:
    batches = client.beta.messages.batches
    betas = ["output-300k-2026-03-24", "message-batches-2024-09-24"]
    batch = batches.create(requests=[ask("long", model="claude-opus-5-5", max_tokens=300_000)], betas=betas)
    assert "output-300k-2026-03-24" in dict(sandbox.last_request()["headers"])["anthropic-beta"]
    assert batches.retrieve(batch.id, betas=betas).processing_status == "in_progress"
    assert [each.id for each in batches.list(betas=betas)] == [batch.id]
    sandbox.advance(5)
    assert [row.result.type for row in batches.results(batch.id, betas=betas)] == ["succeeded"]
    canceled = batches.create(requests=[ask("a")])
    assert batches.cancel(canceled.id).processing_status == "canceling"
    assert batches.delete(batch.id, betas=betas).id == batch.id
    assert "Unexpected value" in str(raises(anthropic.BadRequestError, batches.list, betas=["no-such-beta"]))


def async_client(client: Any, sandbox: "Sandbox") -> None:
    async def life() -> "list[str]":
        async with anthropic.AsyncAnthropic(base_url=sandbox.url, api_key="contract-async", max_retries=0) as other:
            batches = other.messages.batches
            batch = await batches.create(requests=[ask("a"), ask("b", "[[sandbox:errored]]")])
            assert [each.id async for each in batches.list(limit=1)] == [batch.id]
            sandbox.advance(5)
            seen: list[str] = sorted([row.result.type async for row in await batches.results(batch.id)])
            await batches.delete(batch.id)
            return seen

    assert asyncio.run(life()) == ["errored", "succeeded"]


CHECKS = {
    check.__name__: check
    for check in (
        create_and_retrieve,
        results,
        list_pages,
        cancel,
        delete,
        refusals,
        retries,
        beta_client,
        async_client,
    )
}

if __name__ == "__main__":
    main(sys.argv[1])
