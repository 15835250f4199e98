"""What the params of one request demand of the answer's form: a call of a tool, or JSON of a schema. Pure.

Params come from outside and may have any shape; nothing here fails on one.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from batches_mcp.sandbox.prompt import Params, trigger_in
from batches_mcp.sandbox.samples import schema_problem

__all__ = ["called_tool", "forced_tool", "format_problem", "output_schema", "tool_choice_problem", "tool_problem"]

_CHOICES = ("auto", "any", "tool", "none")


def forced_tool(params: Params) -> Mapping[str, Any] | None:
    """The tool that `tool_choice` demands a call of; for `any`, the first that the caller itself runs."""
    choice = params.get("tool_choice")
    if not isinstance(choice, dict):
        return None
    match choice.get("type"):
        case "tool":
            return next((tool for _, tool in _named(params) if tool["name"] == choice["name"]), None)
        case "any":
            return _first(params) or next((tool for _, tool in _named(params)), None)
        case _:
            return None


def called_tool(params: Params) -> Mapping[str, Any] | None:
    """The tool that is called: a forced one, or the first that the caller itself runs if a trigger phrase says so."""
    if tool := forced_tool(params):
        return tool
    choice = params.get("tool_choice")
    forbidden = isinstance(choice, dict) and choice.get("type") == "none"
    trigger = trigger_in(params)
    return _first(params) if trigger and trigger.name == "tool_use" and not forbidden else None


def output_schema(params: Params) -> Mapping[str, Any] | None:
    """The JSON Schema of the answer, if one is demanded; only of params that `format_problem` finds none in."""
    found = _format(params)
    return None if found is None else found[1]["schema"]


def tool_choice_problem(params: Params) -> str | None:
    """What is wrong with `tool_choice`; inferred texts."""
    choice = params.get("tool_choice")
    if choice is None:
        return None
    if not isinstance(choice, dict):
        return "tool_choice: Input should be a valid dictionary"
    kind = choice.get("type")
    if kind not in _CHOICES:
        return f"tool_choice: Input tag {str(kind)[:40]!r} found using 'type' does not match any of the expected tags"
    if not params.get("tools"):
        return "tool_choice: may only be specified while providing tools"
    if kind == "tool":
        name = choice.get("name")
        if not isinstance(name, str):
            return "tool_choice.tool.name: Field required"
        if all(tool["name"] != name for _, tool in _named(params)):
            return f"tool_choice: Tool {name[:200]!r} not found in provided tools"
    return None


def tool_problem(params: Params) -> str | None:
    """What is wrong with the schema of the tool that is called; the others are not looked at."""
    called = called_tool(params)
    for index, tool in _named(params):
        if tool is called and isinstance(schema := tool.get("input_schema"), dict):
            problem = schema_problem(schema)
            return problem and f"tools.{index}.custom.input_schema: {problem}"
    return None


def format_problem(params: Params) -> str | None:
    """What is wrong with the format that is asked for; inferred texts."""
    found = _format(params)
    if found is None:
        return None
    at, asked = found
    if not isinstance(asked, dict):
        return f"{at}: Input should be a valid dictionary"
    if asked.get("type") != "json_schema":
        return f"{at}.type: Input should be 'json_schema'"
    schema = asked.get("schema")
    if not isinstance(schema, dict):
        return f"{at}.schema: Field required" if schema is None else f"{at}.schema: Input should be a valid dictionary"
    problem = schema_problem(schema)
    return problem and f"{at}.schema: {problem}"


def _format(params: Params) -> tuple[str, Any] | None:
    """Where the format stands, and what stands there. `output_format` is its place under the beta."""
    config = params.get("output_config")
    if isinstance(config, dict) and config.get("format") is not None:
        return "output_config.format", config["format"]
    if params.get("output_format") is not None:
        return "output_format", params["output_format"]
    return None


def _first(params: Params) -> Mapping[str, Any] | None:
    return next((tool for _, tool in _named(params) if isinstance(tool.get("input_schema"), dict)), None)


def _named(params: Params) -> Iterator[tuple[int, Mapping[str, Any]]]:
    tools = params.get("tools")
    for index, tool in enumerate(tools if isinstance(tools, list) else ()):
        if isinstance(tool, dict) and isinstance(tool.get("name"), str):
            yield index, tool
