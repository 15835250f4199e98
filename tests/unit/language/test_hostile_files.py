"""Whatever is done to a capability file, reading it ends soon, in plans or in diagnostics that point into it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from batches_mcp import language
from batches_mcp.core.diagnostics import Diagnostic, has_errors
from batches_mcp.core.errors import CallError, CapabilityError
from batches_mcp.core.plan import Feed, Place, ToolPlan
from batches_mcp.core.server_plan import ServerPlan
from batches_mcp.exchange import request
from batches_mcp.exchange.arguments import ArgumentCheck
from batches_mcp.exchange.request import credential_header
from batches_mcp.language.compile import compile_server
from batches_mcp.language.source import parse
from tests.support.capabilities import FILES, HOSTILE, mutated_bytes, mutated_trees, values

# Beside the files that the good ones name.
BESIDE = str(FILES[-1].with_name("f.yaml"))
# Any argument to any tool: what a request does with it is a request's or an error's, never a traceback.
arguments = st.dictionaries(st.sampled_from(["message_batch_id", "body", "limit", "requests", "id", "x"]), values)


def compiled(content: bytes) -> tuple[tuple[Diagnostic, ...], ServerPlan | None]:
    """Everything that is wrong with a file, or what it compiles to."""
    try:
        linked = language.linked(parse(content, BESIDE))
    except CapabilityError as error:
        return error.diagnostics, None
    return linked.problems, None if has_errors(linked.problems) else compile_server(linked)


def check(content: bytes, given_arguments: dict[str, Any]) -> None:
    problems, plan = compiled(content)
    assert (plan is None) == has_errors(problems)
    for problem in problems:
        assert problem.line >= 1
        assert problem.col >= 1
        assert problem.message
        assert "\n" not in problem.text()
    for tool in plan.tools if plan else ():
        call(tool, given_arguments)


def call(tool: ToolPlan, given_arguments: dict[str, Any]) -> None:
    json.dumps([tool.input_schema, tool.output_schema], allow_nan=False)
    variables = dict.fromkeys([*"ABC", "ANTHROPIC_API_KEY"], SecretStr("v"))
    try:
        ArgumentCheck(tool)(given_arguments)
        request.build(tool.request, given_arguments, variables)
    except CallError as error:
        assert error.report.message  # noqa: PT017


@HOSTILE
@given(mutated_trees(), arguments)
def test_a_file_with_other_values_in_it(content: bytes, given_arguments: dict[str, Any]) -> None:
    check(content, given_arguments)


@HOSTILE
@given(mutated_bytes(), arguments)
def test_a_file_with_other_bytes_in_it(content: bytes, given_arguments: dict[str, Any]) -> None:
    check(content, given_arguments)


@HOSTILE
@given(values)
def test_a_file_of_anything(value: Any) -> None:
    check(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"), {})


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_files_it_begins_with_are_good(file: Path) -> None:
    assert not has_errors(language.check(file))


# What would be a secret, a header of its own or a value of the environment, if anything but its place took it.
MARK = 'x{{env.KEY}}{{SHOP_TOKEN}}"&=\\'
STRAY = [
    "Authorization",
    "x-api-key",
    "Host",
    "Content-Type",
    "SHOP_TOKEN",
    "KEY",
    "SHOP_KEY",
    "vault.SHOP_KEY",
    "anything",
]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_arguments_stay_in_the_places_that_are_declared(file: Path) -> None:
    linked = language.read(file)
    server = compile_server(linked)
    variables = {name: SecretStr(f"value-of-{number}") for number, name in enumerate(sorted(server.binds))}
    for tool in server.tools:
        own = dict.fromkeys(tool.input_schema["properties"], MARK)
        built = request.build(tool.request, own, variables)
        assert request.build(tool.request, dict.fromkeys(STRAY, "stray") | own, variables) == built
        declared = {feed.name.lower() for feed in tool.request.feeds} | {"content-type", "cookie"}
        names = {name.lower() for name, _ in built.headers}
        match tool.request.credential:
            case Feed(place=Place.QUERY) | None:
                assert names <= declared
            case credential:
                header = credential_header(credential, variables)
                assert header in built.headers
                assert names <= declared | {header[0].lower()}
        # The braces of an argument are text: had they been rendered, a value would stand where they were.
        if MARK in (body := built.body.decode() if isinstance(built.body, bytes) else ""):
            assert "{{SHOP_TOKEN}}" in body
