"""Prompts of a capability: listed, and given out with the user's arguments in them."""

from __future__ import annotations

from pathlib import Path

import mcp.types as t
import pytest
from mcp import MCPError
from mcp.client.client import Client

from batches_mcp.sandbox import Sandbox
from tests.support.servers import ROOT, Era, Transport, connected, server_for

pytestmark = pytest.mark.anyio

VALID = ROOT / "tests" / "corpus" / "valid"
NOWHERE = "http://127.0.0.1:9"

eras = pytest.mark.parametrize("era", ["auto", "legacy"])


def texts(result: t.GetPromptResult) -> list[tuple[str, str]]:
    return [(each.role, each.content.text) for each in result.messages if isinstance(each.content, t.TextContent)]


async def refused(client: Client, name: str, arguments: dict[str, str]) -> str:
    with pytest.raises(MCPError) as caught:
        await client.get_prompt(name, arguments)
    assert caught.value.code == -32602
    return caught.value.message


@eras
@pytest.mark.parametrize("transport", ["memory", "stdio", "http"])
async def test_prompts_are_listed_and_filled(
    transport: Transport, era: Era, sandbox: Sandbox, key: str, tmp_path: Path
) -> None:
    async with connected(transport, era, sandbox.url, key, roots=(tmp_path,)) as client:
        listed = {each.name: each for each in (await client.list_prompts()).prompts}
        assert list(listed) == ["submit-batch-from-file", "check-on-batches", "retry-failures"]
        arguments = listed["submit-batch-from-file"].arguments
        assert [(each.name, each.required) for each in arguments or []] == [
            ("file", True),
            ("task", False),
            ("model", False),
        ]
        [(role, text)] = texts(
            await client.get_prompt("submit-batch-from-file", {"file": "rows.csv", "task": "Count."})
        )
        assert role == "user"
        assert "File: rows.csv\nTask for each row: Count.\nModel: \n" in text


@eras
async def test_every_message_keeps_its_role(era: Era) -> None:
    async with Client(server_for(NOWHERE, file=VALID / "prompts.yaml"), mode=era) as client:
        assert texts(await client.get_prompt("greet")) == [("user", "Hello!")]
        assert texts(await client.get_prompt("explain-templates", {"topic": "{{topic}} {x}"})) == [
            ("user", "Explain {{topic}} {x}, not {{ }} nor {topic} nor {{a b}}."),
            ("assistant", "Gladly. About {{topic}} {x}:"),
        ]


@eras
async def test_bad_arguments_are_named(era: Era) -> None:
    async with Client(server_for(NOWHERE, file=VALID / "prompts.yaml"), mode=era) as client:
        assert "topic is missing; it is required" in await refused(client, "explain-templates", {})
        assert "topic is missing" in await refused(client, "explain-templates", {"topic": "  "})
        message = await refused(client, "explain-templates", {"topic": "x", "topics": "y"})
        assert "topics is not an argument of it, did you mean `topic`?" in message
        assert "x is not an argument of it, it takes none" in await refused(client, "greet", {"x": "y"})
        assert await refused(client, "great", {}) == "Unknown prompt: great; did you mean `greet`?"


@eras
async def test_a_prompt_is_no_longer_than_an_answer(era: Era) -> None:
    async with Client(server_for(NOWHERE, file=VALID / "prompts.yaml"), mode=era) as client:
        message = await refused(client, "explain-templates", {"topic": "x" * 40_000})
    assert message == "Prompt explain-templates would be longer than 40,000 characters: shorten its arguments."


@eras
async def test_a_secret_in_an_argument_goes_no_further(era: Era) -> None:
    async with Client(server_for(NOWHERE, "a-secret-of-ours-1234"), mode=era) as client:
        [(_, text)] = texts(await client.get_prompt("retry-failures", {"message_batch_id": "a-secret-of-ours-1234"}))
        message = await refused(client, "a-secret-of-ours-1234", {})
    assert "Message Batch ***, and" in text
    assert "secret" not in message
