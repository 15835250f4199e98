"""Two servers that share their state behind nginx, as deploy/ has them: clients of both eras, streams, large creates, deaths."""

from __future__ import annotations

import json
import signal
from collections import Counter
from collections.abc import Iterator
from typing import Any

import anyio
import anyio.to_thread
import httpx2
import pytest

from batches_mcp.sandbox import Sandbox
from tests.e2e.test_shutdown import UNDER_WAY
from tests.support.creates import end, existing, requests
from tests.support.proxied import Proxied, proxied
from tests.support.servers import CREATE, LIST, RESULTS, RETRIEVE, Era, text_of
from tests.support.slow_creates import slow_creates

pytestmark = [pytest.mark.deploy, pytest.mark.anyio]

KEY = "sk-ant-test-proxied"
HEADERS = {"accept": "application/json, text/event-stream", "content-type": "application/json"}
MIB = 1 << 20


@pytest.fixture(scope="module")
def service(sandbox: Sandbox, postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxied]:
    with proxied(sandbox.url, KEY, postgres, tmp_path_factory.mktemp("proxied")) as found:
        yield found


def content_of(result: Any) -> dict[str, Any]:
    assert not result.is_error, text_of(result)
    content: dict[str, Any] = result.structured_content
    return content


@pytest.mark.parametrize("era", ["auto", "legacy"])
async def test_any_replica_answers_any_call(service: Proxied, sandbox: Sandbox, era: Era) -> None:
    before = len(service.answered_by())
    async with service.client(era) as client:
        made = content_of(await client.call_tool(CREATE, {"requests": requests(3, era)}))
        for _ in range(4):
            shown = content_of(await client.call_tool(RETRIEVE, {"message_batch_id": made["id"]}))
            assert (shown["id"], shown["processing_status"]) == (made["id"], "in_progress")
            listed = content_of(await client.call_tool(LIST, {}))
            assert made["id"] in [batch["id"] for batch in listed["data"]]
        # The same requests are a duplicate, whichever replica is asked.
        for _ in range(2):
            again = await client.call_tool(CREATE, {"requests": requests(3, era)})
            assert again.is_error
            assert made["id"] in text_of(again)
    answered = Counter(service.answered_by()[before:])
    assert len(answered) == 2
    assert max(answered.values()) - min(answered.values()) <= 1


@pytest.mark.parametrize("era", ["auto", "legacy"])
async def test_progress_arrives_while_a_call_waits(service: Proxied, sandbox: Sandbox, era: Era) -> None:
    heard = anyio.Event()

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        heard.set()

    async with service.client(era) as client, anyio.create_task_group() as tasks:
        made = content_of(await client.call_tool(CREATE, {"requests": requests(2, f"wait-{era}")}))

        async def end_once_heard() -> None:
            await heard.wait()
            end(sandbox, made["id"])

        tasks.start_soon(end_once_heard)
        waited = {"message_batch_id": made["id"], "wait_seconds": 45}
        # Nothing else ends the batch: were the answer held back until it is whole, it would be still in progress.
        shown = content_of(await client.call_tool(RETRIEVE, waited, progress_callback=hear))
    assert shown["processing_status"] == "ended"


@pytest.mark.parametrize("era", ["auto", "legacy"])
async def test_a_file_is_fetched_where_it_was_said_to_be(service: Proxied, sandbox: Sandbox, era: Era) -> None:
    async with service.client(era) as client, service.http(authorization=f"Bearer {service.key}") as http:
        made = content_of(await client.call_tool(CREATE, {"requests": requests(2, f"file-{era}")}))
        end(sandbox, made["id"])
        wanted = {"message_batch_id": made["id"], "as_file": "csv"}
        url = content_of(await client.call_tool(RESULTS, wanted))["file"]["url"]
        assert url.startswith(f"{service.url}/results/")
        for _ in range(2):
            assert (await http.get(url)).text.startswith("custom_id,")
    async with service.http() as nobody:
        assert (await nobody.get(url)).status_code == 401


@pytest.mark.parametrize("era", ["auto", "legacy"])
async def test_a_large_create_arrives_whole_over_mcp(service: Proxied, sandbox: Sandbox, era: Era) -> None:
    messages = [{"role": "user", "content": "x" * 100_000}]
    large = requests(280, f"large-{era}", messages=messages)
    assert 26 * MIB < len(json.dumps(large)) < 31 * MIB
    async with service.client(era) as client:
        made = content_of(await client.call_tool(CREATE, {"requests": large}))
        shown = content_of(await client.call_tool(RETRIEVE, {"message_batch_id": made["id"]}))
        assert shown["request_counts"]["processing"] == 280


async def test_a_large_create_arrives_whole_over_rest(service: Proxied, sandbox: Sandbox) -> None:
    messages = [{"role": "user", "content": "x" * 500_000}]
    body = json.dumps({"requests": requests(200, "rest", messages=messages)}).encode()
    assert len(body) > 90 * MIB
    headers = {"x-api-key": service.key, "content-type": "application/json"}
    async with service.http(**headers) as http:
        made = await http.post(f"{service.url}/v1/messages/batches", content=body)
        assert made.status_code == 200, made.text
        assert made.json()["id"] in existing(sandbox.url, KEY)
        assert made.json()["request_counts"]["processing"] == 200


async def test_what_is_too_large_is_refused_by_the_server_which_says_what_to_do(service: Proxied) -> None:
    async with service.http(**HEADERS, authorization=f"Bearer {service.key}") as http:
        answer = await http.post(f"{service.url}/key/mcp", content=b" " * (33 * MIB))
    assert answer.status_code == 413
    assert "at most 33,554,432 bytes" in answer.text
    assert "POST /v1/messages/batches" in answer.text


async def test_what_is_for_operators_is_not_passed_on(service: Proxied) -> None:
    async with service.http() as http:
        assert [(await http.get(f"{service.url}/{path}")).status_code for path in ("readyz", "metrics")] == [404, 404]
        assert (await http.get(f"{service.url}/healthz")).status_code == 200
        assert (await http.get(f"{service.url}/")).status_code == 200


async def test_callers_without_a_credential_are_told_where_to_get_one(service: Proxied) -> None:
    async with service.http(**HEADERS) as http:
        refused = await http.post(f"{service.url}/mcp", content=b"{}")
        assert refused.status_code == 401
        metadata = f"{service.url}/.well-known/oauth-protected-resource/mcp"
        assert f'resource_metadata="{metadata}"' in refused.headers["www-authenticate"]
        found = (await http.get(metadata)).json()
        assert (found["resource"], found["authorization_servers"]) == (f"{service.url}/mcp", [service.issuer])


@pytest.mark.parametrize("era", ["auto", "legacy"])
async def test_a_token_of_the_identity_provider_opens_the_service(service: Proxied, sandbox: Sandbox, era: Era) -> None:
    async with service.http() as http:
        asked = {
            "grant_type": "client_credentials",
            "scope": "batches:read batches:write",
            "resource": f"{service.url}/mcp",
        }
        answer = await http.post(f"{service.issuer}/token", data=asked, auth=("agent", service.client_secret))
        assert answer.status_code == 200, answer.text
    async with service.client(era, "/mcp", answer.json()["access_token"]) as client:
        made = content_of(await client.call_tool(CREATE, {"requests": requests(1, f"token-{era}")}))
    # Its group stands for the team of the named key, which sees the batch as well.
    async with service.client(era) as client:
        content_of(await client.call_tool(RETRIEVE, {"message_batch_id": made["id"]}))


async def test_a_killed_replica_is_left_out_and_nothing_is_sent_twice(
    sandbox: Sandbox, postgres: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    key = f"{KEY}-killed"
    with proxied(sandbox.url, key, postgres, tmp_path_factory.mktemp("killed")) as service:
        first, second = service.replicas
        async with service.client("auto") as client, service.client("legacy") as old:
            made = [content_of(await client.call_tool(CREATE, {"requests": requests(1, "before")}))["id"]]
            first.popen.kill()
            first.popen.wait()
            for number in range(6):
                name = f"after-{number}"
                made.append(
                    content_of(
                        await (old if number % 2 else client).call_tool(CREATE, {"requests": requests(1, name)})
                    )["id"]
                )
        assert existing(sandbox.url, key) == made[::-1]
        assert second.popen.poll() is None
        async with httpx2.AsyncClient(verify=service.tls) as http:
            assert (await http.get(f"{service.url}/healthz")).status_code == 200


async def test_a_replica_that_is_stopped_answers_its_create_while_the_other_serves(
    postgres: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with (
        slow_creates() as upstream,
        proxied(upstream.url, f"{KEY}-stopped", postgres, tmp_path_factory.mktemp("stopped")) as service,
    ):
        headers = {"x-api-key": service.key, "content-type": "application/json"}
        url = f"{service.url}/v1/messages/batches"
        answers: list[httpx2.Response] = []
        async with service.http(**headers) as http, anyio.create_task_group() as tasks:

            async def create(name: str) -> None:
                answers.append(await http.post(url, content=json.dumps({"requests": requests(1, name)})))

            tasks.start_soon(create, "one")
            await anyio.to_thread.run_sync(upstream.wait_for, 1)
            tasks.start_soon(create, "two")
            await anyio.to_thread.run_sync(upstream.wait_for, 1)
            # Each replica has one of them now.
            stopped = service.replicas[0].popen
            stopped.terminate()
            await anyio.to_thread.run_sync(service.replicas[0].say_until, UNDER_WAY)
            for _ in range(4):
                assert (await http.get(url)).status_code == 200
            assert stopped.poll() is None
            upstream.answered.set()
        assert [answer.status_code for answer in answers] == [200, 200]
        assert stopped.wait(30) == 128 + signal.SIGTERM
        assert len(set(service.answered_by()[-2:])) == 2
        assert len(upstream.bodies) == 2
