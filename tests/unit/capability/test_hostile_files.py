"""Whatever is done to a capability file, reading it ends soon, in plans or in diagnostics that point into it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from batches_mcp import request
from batches_mcp.arguments import ArgumentCheck
from batches_mcp.capability.diagnostics import Diagnostic, has_errors
from batches_mcp.capability.link import link
from batches_mcp.capability.load import load
from batches_mcp.capability.source import parse
from batches_mcp.capability.verify import verify
from batches_mcp.compile import compile_server
from batches_mcp.errors import CallError, CapabilityError
from batches_mcp.plan import ServerPlan, ToolPlan
from tests.support.capabilities import CONTENTS, FILES, HOSTILE, mutated_bytes, mutated_trees, values

# Any argument to any tool: what a request does with it is a request's or an error's, never a traceback.
arguments = st.dictionaries(st.sampled_from(["message_batch_id", "body", "limit", "requests", "id", "x"]), values)


def compiled(content: bytes) -> tuple[tuple[Diagnostic, ...], ServerPlan | None]:
    """Everything that is wrong with a file, or what it compiles to."""
    try:
        source = parse(content, "f.yaml")
    except CapabilityError as error:
        return error.diagnostics, None
    loaded = load(source)
    linked = link(loaded.document, "f.yaml")
    problems = (*loaded.problems, *linked.problems, *verify(loaded.document, "f.yaml"))
    return problems, None if has_errors(problems) else compile_server(linked)


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


@pytest.mark.parametrize("content", CONTENTS, ids=[file.stem for file in FILES])
def test_the_files_it_begins_with_are_good(content: bytes) -> None:
    problems, plan = compiled(content)
    assert not has_errors(problems)
    assert plan is not None
