"""The skill is true: every tool, argument, answer and command that it names exists, and hosts can read it."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import click
import pytest
import yaml
from anthropic.types.message_create_params import MessageCreateParamsNonStreaming
from mcp.client.client import Client

from batches_mcp import capability
from batches_mcp.batch.behaviors import behaviors, contributions
from batches_mcp.batch.requests import MAX_REQUESTS
from batches_mcp.cli import cli
from batches_mcp.compile import compile_server
from batches_mcp.sandbox import ManualClock, Sandbox
from batches_mcp.settings import BatchSettings, packaged
from tests.support.servers import CREATE, LIST, RESULTS, RETRIEVE, server_for
from tests.support.values import keys_of

SKILL = packaged("skills/message-batches/SKILL.md")
TEXT = SKILL.read_text("utf-8")
_, FRONT, BODY = TEXT.split("---\n", 2)
PROSE = re.sub(r"```.*?```", "", BODY, flags=re.DOTALL)
WORDS = sorted(set(re.findall(r"`([^`]+)`", PROSE)))

TOOLS = {
    tool.name: tool
    for tool in compile_server(
        capability.read(packaged("capability.yaml")), contributions=contributions(behaviors(BatchSettings((SKILL.parent,))))
    ).tools
}

# What the API's own words are: types of results and of errors, and parts of a Messages request.
# https://platform.claude.com/docs/en/api/errors and .../build-with-claude/batch-processing
API_WORDS = {
    "succeeded", "errored", "canceled", "expired", "ended", "api_error", "overloaded_error", "rate_limit_error",
    "timeout_error", "ttl", *MessageCreateParamsNonStreaming.__annotations__,
}  # fmt: skip
PATTERN = "A-Z a-z 0-9 _ -"
REMARKS = {"truncated", "refusal", "paused"}


def snippets(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", BODY, re.DOTALL)


def test_the_front_matter_is_what_hosts_look_for() -> None:
    # https://agentskills.io/specification
    front = yaml.safe_load(FRONT)
    assert set(front) == {"name", "description"}
    assert front["name"] == SKILL.parent.name
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", front["name"])
    assert 100 <= len(front["description"]) <= 1024


def test_it_is_short_enough_to_be_read() -> None:
    assert len(TEXT) <= 8_000
    assert len(TEXT.splitlines()) <= 150


def test_it_names_every_tool_and_no_other() -> None:
    assert set(re.findall(r"anthropic-[a-z-]+[a-z]", BODY)) == set(TOOLS)
