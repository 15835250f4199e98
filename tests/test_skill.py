"""The skill is true: every tool, argument, answer and command that it names exists, and hosts can read it."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from collections.abc import AsyncIterator
from typing import Any

import click
import pytest
import yaml
from anthropic.types.message_create_params import MessageCreateParamsNonStreaming
from mcp.client.client import Client

from batches_mcp import language
from batches_mcp.cli import cli
from batches_mcp.core.limits import LIMITS, MAX_BODY_BYTES
from batches_mcp.core.settings import BatchSettings, packaged
from batches_mcp.exchange.arguments import ArgumentCheck
from batches_mcp.language.compile import compile_server
from batches_mcp.sandbox import ManualClock, Sandbox
from batches_mcp.tools.behaviors import behaviors, contributions
from tests.support.servers import CREATE, RESULTS, RETRIEVE, ROOT, server_for
from tests.support.values import keys_of, values_of

SKILL = packaged("skills/message-batches/SKILL.md")
TEXT = SKILL.read_text("utf-8")
_, FRONT, BODY = TEXT.split("---\n", 2)
PROSE = re.sub(r"```.*?```", "", BODY, flags=re.DOTALL)
WORDS = sorted(set(re.findall(r"`([^`]+)`", PROSE)))

_CONTEXT = click.Context(cli)
COMMANDS = {name: command for name in cli.list_commands(_CONTEXT) if (command := cli.get_command(_CONTEXT, name))}
TOOLS = {
    tool.name: tool
    for tool in compile_server(
        language.read(packaged("capability.yaml")),
        contributions=contributions(behaviors(BatchSettings((SKILL.parent,)))),
    ).tools
}

# Words of the API, not ours: https://platform.claude.com/docs/en/build-with-claude/batch-processing
API_WORDS = {*MessageCreateParamsNonStreaming.__annotations__, "ttl", "paused"}
# How the skill writes what is no name: the characters of a custom_id, and a reference in a template.
NOTATIONS = {"A-Z a-z 0-9 _ -", "{{column}}"}


def snippets(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", BODY, re.DOTALL)


def test_the_front_matter_is_what_hosts_look_for() -> None:
    # https://agentskills.io/specification
    front = yaml.safe_load(FRONT)
    assert set(front) == {"name", "description"}
    assert front["name"] == SKILL.parent.name
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", front["name"])
    assert 100 <= len(front["description"]) <= 1024


def test_the_wheel_and_the_sdist_carry_it() -> None:
    build = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["hatch"]["build"]["targets"]
    assert build["wheel"]["force-include"]["skills"] == "batches_mcp/skills"
    assert "/skills" in build["sdist"]["include"]


def test_it_is_short_enough_to_be_read() -> None:
    assert len(TEXT) <= 8_000
    assert len(TEXT.splitlines()) <= 150


def test_it_names_every_tool_and_no_other() -> None:
    assert set(re.findall(r"anthropic-[a-z-]+[a-z]", BODY)) == set(TOOLS)


def test_it_lets_nobody_spend_without_asking() -> None:
    assert BODY.index("wait for a yes") < BODY.index("Then make the same call without")


def test_an_example_of_a_request_is_what_create_takes() -> None:
    check = ArgumentCheck(TOOLS[CREATE])
    examples = [json.loads(snippet) for snippet in snippets("json")]
    assert examples
    check({"requests": examples})


@pytest.mark.anyio
async def test_every_name_in_it_exists(sandbox: Sandbox, key: str) -> None:
    """As a tool, an argument, a flag, or as a key or a value of what the tools answer in the life of a batch."""
    answers = [answer async for answer in _life_of_a_batch(sandbox, key)]
    schemas = [dict(schema) for tool in TOOLS.values() for schema in (tool.input_schema, tool.output_schema or {})]
    known = {
        *TOOLS,
        *keys_of(schemas),
        *values_of(schemas),
        *keys_of(answers),
        *values_of(answers),
        *(flag for command in COMMANDS.values() for option in command.params for flag in option.opts),
        *(word for tool in TOOLS.values() for word in re.findall(r"\w+", tool.description)),
        *API_WORDS,
        *NOTATIONS,
    }
    assert [word for word in WORDS if word not in known] == []


async def _life_of_a_batch(sandbox: Sandbox, key: str) -> AsyncIterator[Any]:
    assert isinstance(sandbox.clock, ManualClock)
    orders = ["", "[[sandbox:max_tokens]]", "[[sandbox:refusal]]", "[[sandbox:expired]]"]
    orders += [f"[[sandbox:errored {kind}]]" for kind in ("api_error", "overloaded_error")]
    orders += [f"[[sandbox:errored {kind}]]" for kind in ("rate_limit_error", "timeout_error")]
    example = json.loads(snippets("json")[0])
    requests = [
        {
            "custom_id": f"r{number}",
            "params": example["params"] | {"messages": [{"role": "user", "content": order or "x"}]},
        }
        for number, order in enumerate(orders)
    ]
    async with Client(server_for(sandbox.url, key)) as client:

        async def call(tool: str, **arguments: Any) -> Any:
            result = await client.call_tool(tool, arguments)
            assert not result.is_error
            return result.structured_content

        yield await call(CREATE, requests=requests, dry_run=True)
        created = await call(CREATE, requests=requests)
        yield created
        yield await call(RETRIEVE, message_batch_id=created["id"])
        sandbox.clock.advance(60)
        yield await call(RETRIEVE, message_batch_id=created["id"])
        yield await call(RESULTS, message_batch_id=created["id"])


COMMAND_LINES = [line for snippet in snippets("sh") for line in snippet.splitlines()]


def test_every_command_in_it_exists_with_its_flags() -> None:
    for line in COMMAND_LINES:
        program, name, *rest = shlex.split(line)
        assert program == "batches-mcp"
        COMMANDS[name].make_context(name, rest)


def test_its_numbers_are_ours() -> None:
    assert f"up to {LIMITS.batch_requests:,} Claude requests" in BODY
    assert f"{MAX_BODY_BYTES // 1_000_000} MB" in BODY
    assert f"up to {BatchSettings().wait_cap_s:g}" in BODY


def test_it_says_what_to_do_with_each_outcome() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", BODY, re.MULTILINE)
    [schema] = [TOOLS[RESULTS].input_schema["properties"]["result_types"]]
    assert sorted(rows) == sorted(schema["items"]["enum"])
