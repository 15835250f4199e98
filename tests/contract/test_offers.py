"""What clients see of the packaged file beside its tools: golden files of resources and prompts, and rules for all."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import mcp.types as t
import pytest
from mcp.client.client import Client
from pydantic import BaseModel

from batches_mcp import language
from batches_mcp.core.redact import printable
from batches_mcp.core.server_plan import PromptPlan
from batches_mcp.core.settings import BatchSettings, packaged
from batches_mcp.language.compile import compile_server
from batches_mcp.tools.behaviors import behaviors, contributions
from tests.support.golden import assert_golden
from tests.support.servers import server_for

OFFERS = Path(__file__).parent / "offers"
NOWHERE = "http://127.0.0.1:9"

PLAN = compile_server(
    language.read(packaged("capability.yaml")),
    contributions=contributions(behaviors(BatchSettings((Path(__file__).parent,)))),
)
TOOLS = {tool.name: tool for tool in PLAN.tools}

every_prompt = pytest.mark.parametrize("prompt", PLAN.prompts, ids=lambda prompt: prompt.name)


def text_of(prompt: PromptPlan) -> str:
    return "\n".join(str(part) for _, template in prompt.messages for part in template.parts if isinstance(part, str))


def wire(values: list[Any]) -> str:
    forms = [value.model_dump(by_alias=True, mode="json", exclude_none=True) for value in values]
    assert all(isinstance(value, BaseModel) for value in values)
    return json.dumps(forms, indent=2, ensure_ascii=False) + "\n"


@pytest.mark.anyio
async def test_the_lists_are_as_their_golden_files_say(tmp_path: Path) -> None:
    async with Client(server_for(NOWHERE, roots=(tmp_path,))) as client:
        assert [each.uri for each in (await client.list_resources()).resources] == ["ui://batches/dashboard.html"]
        assert_golden(
            OFFERS / "resource-templates.json", wire((await client.list_resource_templates()).resource_templates)
        )
        assert_golden(OFFERS / "prompts.json", wire((await client.list_prompts()).prompts))


@pytest.mark.anyio
@every_prompt
async def test_a_prompt_reads_as_its_golden_file_says(prompt: PromptPlan, tmp_path: Path) -> None:
    arguments = {each.name: f"<{each.name}>" for each in prompt.arguments}
    async with Client(server_for(NOWHERE, roots=(tmp_path,))) as client:
        [message] = (await client.get_prompt(prompt.name, arguments)).messages
    assert message.role == "user"
    assert isinstance(message.content, t.TextContent)
    assert_golden(OFFERS / f"{prompt.name}.txt", message.content.text)


def test_every_golden_file_is_of_something() -> None:
    names = {"resource-templates.json", "prompts.json", *(f"{prompt.name}.txt" for prompt in PLAN.prompts)}
    assert {path.name for path in OFFERS.iterdir()} == names


@every_prompt
def test_a_prompt_is_short(prompt: PromptPlan) -> None:
    assert 200 <= len(text_of(prompt)) <= 2_500


@every_prompt
def test_a_prompt_and_its_arguments_are_described(prompt: PromptPlan) -> None:
    assert prompt.title != prompt.name
    assert 40 <= len(prompt.description) <= 300
    for each in prompt.arguments:
        assert each.title != each.name
        assert len(each.description) >= 10


@every_prompt
def test_a_prompt_hides_nothing(prompt: PromptPlan) -> None:
    assert printable(text_of(prompt)) == text_of(prompt)


@every_prompt
def test_a_prompt_names_tools_that_there_are_and_arguments_that_those_take(prompt: PromptPlan) -> None:
    text = text_of(prompt)
    named = re.findall(r"anthropic-[a-z-]+[a-z]", text)
    assert set(named) <= TOOLS.keys()
    taken = {name for tool in named for name in TOOLS[tool].input_schema["properties"]}
    assert set(re.findall(r"`([^`]+)`", text)) <= taken


@every_prompt
def test_a_prompt_that_spends_money_asks_first(prompt: PromptPlan) -> None:
    if "anthropic-create-message-batch" in text_of(prompt):
        assert "wait for my yes" in " ".join(text_of(prompt).split()).lower()
        assert "`dry_run`" in text_of(prompt)


@pytest.mark.parametrize("resource", PLAN.resources, ids=lambda resource: resource.name)
def test_a_resource_is_described_and_read_by_a_get(resource: Any) -> None:
    assert resource.title != resource.name
    assert 40 <= len(resource.description) <= 300
    assert resource.mime_type == "application/json"
    assert resource.call.request.method == "GET"
    # RFC 6570 2.3 knows no other names.
    assert all(re.fullmatch(r"[A-Za-z0-9_]+", name) for name in resource.variables)


def test_names_tell_apart() -> None:
    assert len({each.name for each in PLAN.resources}) == len(PLAN.resources)
    assert len({each.title for each in PLAN.prompts}) == len(PLAN.prompts)
