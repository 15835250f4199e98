"""What a dry run says that the create would do, what the create then does, and what both say of money."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio.lowlevel
import pytest
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

from batches_mcp.core.settings import BatchSettings
from batches_mcp.sandbox import Sandbox
from tests.support.creates import QUICK, agent, create, existing, persist, requests
from tests.support.servers import RESULTS, command, environment, server_for

pytestmark = pytest.mark.anyio

TWO = {"requests": requests(2, max_tokens=10_000)}


async def dry(client: Client, **arguments: Any) -> dict[str, Any]:
    _, said = await create(client, {**arguments, "dry_run": True})
    report: dict[str, Any] = said["dry_run"]
    return report


def numbers_in(value: Any) -> list[str]:
    """The numbers of a JSON value as they are written."""
    return re.findall(r"(?<=[:,\[ ])-?\d[0-9.eE+-]*", re.sub(r'"(?:[^"\\]|\\.)*"', '""', json.dumps(value)))


@pytest.mark.parametrize("long", [False, True])
async def test_a_batch_that_succeeds_costs_no_less_than_the_lowest_estimate(
    long: bool, sandbox: Sandbox, key: str
) -> None:
    """The JSON around short requests is longer than they are, and nobody pays for it."""
    tools = [{"name": "n", "input_schema": {"type": "object"}}]
    more = {"tools": tools} if long else {}
    rows = requests(400, "a-custom-id-that-is-long-", model="claude-opus-5-5", **more)
    async with agent(sandbox.url, key) as client:
        low = (await dry(client, requests=rows))["estimate"]["cost_usd"]["low"]
        batch_id = await persist(client, {"requests": rows})
        sandbox.end(batch_id)
        result = await client.call_tool(RESULTS, {"message_batch_id": batch_id, "limit": 1})
    usage = result.structured_content["usage"]
    assert result.structured_content["counts"]["succeeded"] == len(rows)
    assert low <= usage["cost_usd"]


async def test_what_would_be_sent_is_what_is_sent(sandbox: Sandbox, key: str, state: Path) -> None:
    async with agent(sandbox.url, key) as client:
        report = await dry(client, **TWO)
        assert not state.exists()
        assert report["would"] == "send"
        assert (report["parts"], report["part_sizes"]) == (1, [{"requests": 2, "bytes": report["bytes"]}])
        assert report["next_step"].startswith("create without dry_run sends 2 requests as 1 batch for ")
        assert report["next_step"].endswith(" to 0.0051 USD; tell the user the price first.")
        batch_id = await persist(client, TWO)
        body = json.loads(next(each for each in reversed(sandbox.requests) if each.method == "POST").body)
        assert json.loads(report["sample"]) == body["requests"][0]
        # What the ledger knows is told before the create is refused.
        report = await dry(client, **TWO)
        assert report["would"] == f"refused: same content as {batch_id}"
        assert f"Use batch {batch_id}." in report["next_step"]
        assert (await dry(client, **TWO, allow_duplicate=True))["would"] == "send"
        assert (await create(client, TWO))[1]["type"] == "duplicate_create"
        sandbox.clock.advance(86_401)
        assert (await dry(client, requests=requests(1, "other")))["would"] == "send"
    assert existing(sandbox.url, key) == [batch_id]


async def test_a_create_in_doubt_is_foreseen(sandbox: Sandbox, key: str) -> None:
    sandbox.faults.add("server_error", on="create", key=key)
    async with agent(sandbox.url, key) as client:
        assert (await create(client, TWO))[1]["in_doubt"]
        report = await dry(client, **TWO)
        assert report["would"] == "refused: an earlier create of the same content may have made, or be making, a batch"
        assert report["next_step"].startswith(
            "Make the create: it looks for that batch first, and sends nothing before"
        )
        assert (await create(client, TWO))[1]["type"] == "create_unsettled"
        assert (await dry(client, **TWO, allow_duplicate=True))["would"] == "send"


@pytest.mark.parametrize("file", [False, True])
async def test_requests_that_were_answered_before_are_named_before_they_are_paid_again(
    file: bool, sandbox: Sandbox, key: str
) -> None:
    """One of twenty rows was corrected: the other nineteen have answers."""
    rows = requests(20)
    corrected = [*rows[:-1], {"custom_id": "r19", "params": {**rows[-1]["params"], "max_tokens": 99}}]
    kind = {"as_file": "jsonl"} if file else {}
    async with agent(sandbox.url, key) as client:
        first = await persist(client, {"requests": rows})
        assert (await dry(client, requests=corrected))["problems"] == []
        sandbox.end(first)
        await client.call_tool(RESULTS, {"message_batch_id": first, **kind})
        words = (
            f"19 of the 20 requests were answered before in batch {first}, and are paid again when they are sent: "
            "send only the others, as `batches-mcp run` does"
        )
        while not (report := await dry(client, requests=corrected))["problems"]:
            await anyio.lowlevel.checkpoint()
        assert [each["message"] for each in report["problems"]] == [words]
        assert (report["would"], report["warnings"], report["errors"]) == ("send", 1, 0)
        assert report["next_step"].endswith("Most were answered before: see problems.")
        _, said = await create(client, {"requests": corrected})
        assert [each["message"] for each in said["warnings"]] == [words]
        # Half of them new ones: nothing to speak of.
        assert (await dry(client, requests=[*rows[:10], *requests(10, "new", max_tokens=99)]))["problems"] == []


async def test_a_long_request_is_cut_in_the_sample(sandbox: Sandbox, key: str) -> None:
    async with agent(sandbox.url, key) as client:
        report = await dry(client, requests=requests(1, system="x" * 5_000))
    assert len(report["sample"]) == 1_001
    assert report["sample"].endswith("x…")


async def test_what_the_create_would_refuse_is_said(sandbox: Sandbox, key: str) -> None:
    wrong = [*requests(2), {"custom_id": "a b", "params": {}}]
    async with agent(sandbox.url, key) as client:
        report = await dry(client, requests=wrong)
        assert report["would"] == "refused: 1 of 3 requests have errors"
        assert "skip_invalid" in report["next_step"]
        assert (await dry(client, requests=wrong, skip_invalid=True))["would"] == "send"
        report = await dry(client, requests=wrong[2:], skip_invalid=True)
        assert (report["would"], report["sample"]) == ("refused: no request is left to send", "")
        assert (await dry(client, requests=wrong[2:]))["next_step"] == "Correct them."
    async with Client(server_for(sandbox.url, None)) as client:
        assert (await dry(client, **TWO))["would"].startswith("refused: the environment variable ANTHROPIC_API_KEY")


async def test_a_price_that_is_not_known_is_null_and_asked_about(sandbox: Sandbox, key: str) -> None:
    rows = requests(2, model="claude-none-9")
    async with agent(sandbox.url, key) as client:
        report = await dry(client, requests=rows)
    assert report["would"] == "ask"
    assert report["next_step"].startswith(
        "Ask the user first: create without dry_run sends 2 requests as 1 batch at a "
    )
    assert "a price that cannot be estimated, for claude-none-9 is not known" in report["next_step"]
    assert report["estimate"]["cost_usd"] == {"low": None, "high": None}
    assert "standard_cost_usd" not in report["estimate"]


async def test_what_is_over_the_cap_is_said_with_its_numbers(sandbox: Sandbox, key: str) -> None:
    async with agent(sandbox.url, key, batch=BatchSettings(max_cost_usd=0.006)) as client:
        assert (await dry(client, **TWO))["would"] == "send"
        await persist(client, TWO)
        report = await dry(client, requests=requests(2, "other", max_tokens=10_000))
        assert report["would"] == ("over the cap: up to 0.005 USD, where 0.005 of 0.006 USD were spent in 24 hours")
        unknown = await dry(client, requests=requests(1, model="claude-none-9"))
        assert unknown["would"].startswith("refused: its cost cannot be estimated")


async def test_parts_are_counted_and_what_is_left_is_said(sandbox: Sandbox, key: str) -> None:
    five = requests(5, max_tokens=10_000)
    async with agent(sandbox.url, key, limits=replace(QUICK, batch_requests=2)) as client:
        report = await dry(client, requests=five)
        assert report["would"] == "refused: the requests make 3 batches, so that a part must be named"
        assert [each["requests"] for each in report["part_sizes"]] == [2, 2, 1]
        assert report["next_step"].startswith("create with part 1 to 3 sends 5 requests as 3 batches for ")
        report = await dry(client, requests=five, part=3)
        assert report["would"] == "send"
        assert report["next_step"].startswith("create with part 3 without dry_run sends 1 request as 1 batch for ")
        assert "(all 3 parts: for " in report["next_step"]
        assert (await dry(client, requests=five, part=4))["would"] == "refused: there is no part 4"
        left = [
            "Part 1 of 3 was sent; 2 parts, 3 requests, are left: call with part 2.",
            "Part 2 of 3 was sent; 1 part, 1 request, is left: call with part 3.",
            "Part 3 of 3 was sent, the last one.",
        ]
        for number, words in enumerate(left, 1):
            _, said = await create(client, {"requests": five, "part": number})
            assert said["next_step"].startswith(words)
    async with agent(sandbox.url, key, limits=replace(QUICK, batch_requests=1)) as client:
        report = await dry(client, requests=requests(30, "many"))
    assert (report["parts"], len(report["part_sizes"])) == (30, 20)


@pytest.mark.parametrize("count", [1, 100, 20_000])
async def test_money_is_rounded_to_what_a_person_reads(count: int, sandbox: Sandbox, key: str) -> None:
    rows = requests(count, max_tokens=1_000, model="claude-opus-5-5")
    async with agent(sandbox.url, key) as client:
        report = await dry(client, requests=rows)
    cost = report["estimate"]["cost_usd"]
    assert cost["low"] <= count * 0.010_2 <= cost["high"] * 1.02
    for number in numbers_in(cost):
        assert "e" not in number.lower()
        assert len(number.partition(".")[2]) <= (2 if float(number) >= 1 else 4)


async def test_the_sandbox_says_that_nothing_is_spent() -> None:
    program, *arguments = command("serve", "--sandbox")
    parameters = StdioServerParameters(command=program, args=arguments, env=environment(None))
    async with Client(stdio_client(parameters)) as client:
        assert "nothing is spent" in str(client.instructions)
        assert "nothing is spent" in (await dry(client, **TWO))["next_step"]
        _, said = await create(client, TWO)
        assert "nothing is spent" in said["next_step"]


@pytest.mark.parametrize(
    ("roots", "said"),
    [
        (["{folder}"], "arguments may name files in {folder}."),
        (["{folder}/a", "{folder}/b"], "arguments may name files in {folder}/a, {folder}/b."),
    ],
)
async def test_the_instructions_name_the_folders_that_files_are_read_in(
    roots: list[str], said: str, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    program, *arguments = command("serve", *(each.format(folder=tmp_path) for each in roots))
    parameters = StdioServerParameters(command=program, args=arguments, env=environment(None))
    async with Client(stdio_client(parameters)) as client:
        assert said.format(folder=tmp_path) in str(client.instructions)
    nowhere = StdioServerParameters(
        command=program, args=["-m", "batches_mcp", "serve"], env=environment(None), cwd="/"
    )
    async with Client(stdio_client(nowhere)) as client:
        assert "started without --root DIR" in str(client.instructions)
