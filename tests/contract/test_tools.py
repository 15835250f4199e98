"""What clients see of the packaged capability file: a golden file per tool, and rules that hold for all of them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from batches_mcp import language
from batches_mcp.core.plan import HintsPlan
from batches_mcp.core.redact import printable
from batches_mcp.core.server_plan import ServerPlan
from batches_mcp.core.settings import BatchSettings, packaged
from batches_mcp.language.compile import compile_server
from batches_mcp.requests.known import cheapest_first
from batches_mcp.requests.models import MAX_TOKENS
from batches_mcp.serve.client import wire_form
from batches_mcp.serve.mcp import tool_of
from batches_mcp.tools.behaviors import behaviors, contributions
from tests.support.golden import assert_golden
from tests.support.values import keys_of

HERE = Path(__file__).parent
GOLDEN = HERE / "golden"
SEED = HERE.parent / "corpus" / "seed" / "message-batches-message-batches.yaml"

Json = dict[str, Any]


def _plan(file: Path) -> ServerPlan:
    return compile_server(language.read(file), contributions=contributions(behaviors(BatchSettings((HERE,)))))


TOOLS: dict[str, Json] = {tool.name: wire_form(tool_of(tool)) for tool in _plan(packaged("capability.yaml")).tools}
SEED_HINTS: dict[str, HintsPlan] = {tool.name: tool.hints for tool in _plan(SEED).tools}

every_tool = pytest.mark.parametrize("tool", TOOLS.values(), ids=TOOLS)


def _schemas(schema: Any, path: str = "$") -> Iterator[tuple[str, Json]]:
    """Every schema within a schema, itself included, with its place."""
    yield path, schema
    for name, each in schema.get("properties", {}).items():
        yield from _schemas(each, f"{path}.{name}")
    for keyword in ("items", "additionalProperties"):
        if isinstance(schema.get(keyword), dict):
            yield from _schemas(schema[keyword], f"{path}.{keyword}")
    for keyword in ("oneOf", "anyOf", "allOf"):
        for number, each in enumerate(schema.get(keyword, [])):
            yield from _schemas(each, f"{path}.{keyword}[{number}]")


@every_tool
def test_a_tool_is_as_its_golden_file_says(tool: Json) -> None:
    assert_golden(GOLDEN / f"{tool['name']}.json", json.dumps(tool, indent=2, ensure_ascii=False) + "\n")


def test_every_golden_file_has_its_tool() -> None:
    assert {path.stem for path in GOLDEN.iterdir()} == set(TOOLS)


def test_the_packaged_file_has_no_problem() -> None:
    # It is served without the slow checks, on the strength of this.
    assert language.check(packaged("capability.yaml")) == ()


def test_names_and_order_are_the_seeds() -> None:
    assert list(TOOLS) == list(SEED_HINTS)


# Measured with OpenAI's o200k_base: 4.15 characters a token for the first sum, 4.2 for the second. Counted with fewer, so
# that the budget holds without the tokenizer.
_CHARS_A_TOKEN = 4.1


def _tokens(parts: list[Json]) -> float:
    return sum(len(json.dumps(part, ensure_ascii=False, separators=(",", ":"))) for part in parts) / _CHARS_A_TOKEN


def test_what_a_model_reads_of_the_tools_is_small() -> None:
    read = [{name: tool[name] for name in ("name", "description", "inputSchema")} for tool in TOOLS.values()]
    assert _tokens(read) <= 2_400
    assert _tokens(list(TOOLS.values())) <= 3_500


def test_a_batch_is_described_once() -> None:
    assert [name for name, tool in TOOLS.items() if "request_counts" in tool["outputSchema"]["properties"]] == [
        "anthropic-retrieve-message-batch"
    ]


def test_the_model_argument_names_the_newest_model_of_each_family_the_cheapest_first() -> None:
    items = TOOLS["anthropic-create-message-batch"]["inputSchema"]["properties"]["requests"]["items"]
    named = re.findall(r"claude-[a-z0-9-]+", items["properties"]["params"]["properties"]["model"]["description"])
    newest: dict[str, str] = {}
    for model in MAX_TOKENS:  # the newest ones first
        newest.setdefault(model.split("-")[1], model)
    assert named == [model for model in cheapest_first() if model in newest.values()]


@every_tool
def test_a_tool_is_found_by_words_that_its_name_lacks(tool: Json) -> None:
    hint = tool["_meta"]["anthropic/searchHint"]
    assert 20 <= len(hint) <= 100
    assert "batch" in hint or "bulk" in hint


@every_tool
def test_a_name_is_one_that_every_client_takes(tool: Json) -> None:
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,64}", tool["name"])


@every_tool
def test_a_title_is_for_people(tool: Json) -> None:
    assert tool["title"] == tool["annotations"]["title"]
    assert tool["title"] != tool["name"]
    assert " " in tool["title"]


def test_titles_tell_the_tools_apart() -> None:
    assert len({tool["title"] for tool in TOOLS.values()}) == len(TOOLS)


@every_tool
def test_all_four_hints_are_explicit_and_the_seeds(tool: Json) -> None:
    hints = SEED_HINTS[tool["name"]]
    assert {name: value for name, value in tool["annotations"].items() if name != "title"} == {
        "readOnlyHint": hints.read_only,
        "destructiveHint": hints.destructive,
        "idempotentHint": hints.idempotent,
        "openWorldHint": hints.open_world,
    }


@every_tool
def test_a_description_is_neither_terse_nor_endless(tool: Json) -> None:
    assert 40 <= len(tool["description"]) <= 2000


@every_tool
def test_no_text_hides_anything(tool: Json) -> None:
    text = json.dumps(tool, ensure_ascii=False)
    assert printable(text) == text


@every_tool
def test_schemas_are_json_schema(tool: Json) -> None:
    Draft202012Validator.check_schema(tool["inputSchema"])
    Draft202012Validator.check_schema(tool["outputSchema"])


@every_tool
def test_an_input_schema_is_a_closed_object_without_alternatives(tool: Json) -> None:
    schema = tool["inputSchema"]
    assert schema["type"] == "object"
    assert schema["additionalProperties"] is False
    assert not {"oneOf", "anyOf", "allOf", "not", "if", "enum"} & schema.keys()
    assert set(schema.get("required", [])) <= schema["properties"].keys()


@every_tool
def test_schemas_refer_to_nothing(tool: Json) -> None:
    assert not {"$ref", "$dynamicRef", "$id"} & set(keys_of([tool["inputSchema"], tool["outputSchema"]]))


@every_tool
def test_no_type_is_a_union(tool: Json) -> None:
    for path, schema in [*_schemas(tool["inputSchema"]), *_schemas(tool["outputSchema"])]:
        assert isinstance(schema.get("type", ""), str), path


@every_tool
def test_every_parameter_is_typed_and_described(tool: Json) -> None:
    for path, schema in _schemas(tool["inputSchema"]):
        for name, each in schema.get("properties", {}).items():
            assert "type" in each or "enum" in each, f"{path}.{name}"
            assert len(each.get("description", "")) >= 10, f"{path}.{name}"


@every_tool
def test_every_parameter_is_bounded(tool: Json) -> None:
    bounds = {
        "array": {"minItems", "maxItems"},
        "integer": {"minimum", "maximum"},
        "number": {"minimum", "maximum"},
        "string": {"minLength", "maxLength"},
    }
    for name, schema in tool["inputSchema"]["properties"].items():
        assert bounds.get(schema["type"], set()) <= schema.keys() or "enum" in schema, name


@every_tool
def test_an_optional_number_says_its_default(tool: Json) -> None:
    required = tool["inputSchema"].get("required", [])
    for name, schema in tool["inputSchema"]["properties"].items():
        # Without `part` there is one part, and without `retry_max_tokens` what there was, or an error that says more.
        if (
            name not in required
            and name not in {"part", "retry_max_tokens"}
            and schema["type"] in {"integer", "number", "boolean"}
        ):
            assert "default" in schema, name


@every_tool
def test_defaults_are_valid(tool: Json) -> None:
    for path, schema in _schemas(tool["inputSchema"]):
        if "default" in schema:
            assert Draft202012Validator(schema).is_valid(schema["default"]), path


@every_tool
def test_an_output_schema_tolerates_what_the_upstream_adds_or_leaves_out(tool: Json) -> None:
    schema = tool["outputSchema"]
    assert schema["type"] == "object"
    assert "required" not in schema
    assert all(each.get("additionalProperties") is not False for _, each in _schemas(schema))
    assert all("description" in each for each in schema["properties"].values())


@every_tool
def test_one_tool_either_reads_or_writes(tool: Json) -> None:
    assert not {"action", "method", "operation", "mode"} & tool["inputSchema"]["properties"].keys()


def test_instructions_are_there_and_short() -> None:
    plan = _plan(packaged("capability.yaml"))
    assert 100 <= len(plan.instructions) <= 2000
    assert plan.title
