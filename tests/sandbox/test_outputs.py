"""Forced tools and answers in a format: what comes is what was demanded, or an errored row says why not."""

import json
from collections.abc import Callable
from typing import Any, Literal

import anthropic
import jsonschema
import pydantic
import pytest

from batches_mcp.sandbox import ManualClock

Ask = Callable[..., dict[str, Any]]
Outcome = Callable[..., dict[str, Any]]
Json = dict[str, Any]

SCHEMA: Json = {
    "type": "object",
    "properties": {
        "label": {"enum": ["billing", "technical", "account"]},
        "score": {"type": "integer", "minimum": 1, "maximum": 5},
        "notes": {"type": "array", "items": {"$ref": "#/$defs/note"}, "minItems": 2},
    },
    "required": ["label", "score", "notes"],
    "additionalProperties": False,
    "$defs": {"note": {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}},
}
FORMAT: Json = {"type": "json_schema", "schema": SCHEMA}
WEATHER: Json = {"name": "weather", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}}
TICKET: Json = {"name": "ticket", "input_schema": SCHEMA}
SEARCH: Json = {"type": "web_search_20250305", "name": "web_search"}


@pytest.mark.parametrize(
    ("tools", "choice", "called"),
    [
        ([WEATHER, TICKET], {"type": "tool", "name": "ticket"}, "ticket"),
        ([SEARCH, TICKET, WEATHER], {"type": "any"}, "ticket"),
        ([SEARCH, WEATHER], {"type": "tool", "name": "web_search"}, "web_search"),
        ([SEARCH], {"type": "any"}, "web_search"),
    ],
)
def test_a_forced_tool_is_called(ask: Ask, outcome: Outcome, tools: list[Json], choice: Json, called: str) -> None:
    message = outcome(ask(tools=tools, tool_choice=choice)["params"])["message"]
    assert message["stop_reason"] == "tool_use"
    (call,) = message["content"]
    assert (call["type"], call["name"]) == ("tool_use", called)
    schema = next(tool for tool in tools if tool["name"] == called).get("input_schema", {"type": "object"})
    jsonschema.validate(call["input"], schema)


@pytest.mark.parametrize("choice", [{"type": "auto"}, {"type": "none"}, None])
def test_a_tool_that_is_not_forced_is_not_called(ask: Ask, outcome: Outcome, choice: Json | None) -> None:
    message = outcome(ask(tools=[TICKET], tool_choice=choice)["params"])["message"]
    assert (message["stop_reason"], [block["type"] for block in message["content"]]) == ("end_turn", ["text"])


@pytest.mark.parametrize("choice", ["auto", "none"])
def test_a_phrase_calls_only_what_may_be_called(ask: Ask, outcome: Outcome, choice: str) -> None:
    message = outcome(ask("a", "[[sandbox:tool_use]]", tools=[TICKET], tool_choice={"type": choice})["params"])[
        "message"
    ]
    assert message["stop_reason"] == {"auto": "tool_use", "none": "end_turn"}[choice]


@pytest.mark.parametrize(
    ("phrase", "stop_reason", "blocks"),
    [
        ("thinking", "tool_use", ["thinking", "tool_use"]),
        ("refusal", "refusal", []),
        ("max_tokens", "max_tokens", ["text"]),
        ("tool_use", "tool_use", ["tool_use"]),
    ],
)
def test_phrases_with_a_forced_tool(
    ask: Ask, outcome: Outcome, phrase: str, stop_reason: str, blocks: list[str]
) -> None:
    params = ask("a", f"[[sandbox:{phrase}]]", tools=[TICKET], tool_choice={"type": "any"})["params"]
    message = outcome(params)["message"]
    assert (message["stop_reason"], [block["type"] for block in message["content"]]) == (stop_reason, blocks)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (
            {"tools": [TICKET], "tool_choice": {"type": "tool", "name": "other"}},
            "tool_choice: Tool 'other' not found in provided tools",
        ),
        ({"tools": [TICKET], "tool_choice": {"type": "tool"}}, "tool_choice.tool.name: Field required"),
        ({"tools": [TICKET], "tool_choice": {"type": "all"}}, "tool_choice: Input tag 'all' found using 'type'"),
        ({"tools": [TICKET], "tool_choice": "any"}, "tool_choice: Input should be a valid dictionary"),
        ({"tool_choice": {"type": "any"}}, "tool_choice: may only be specified while providing tools"),
        (
            {"tools": [TICKET], "tool_choice": {"type": "any"}, "model": "claude-opus-5-5"},
            "tool_choice: forced tool use is not supported by this model",
        ),
        (
            {
                "tools": [WEATHER, {"name": "t", "input_schema": {"type": 1}}],
                "tool_choice": {"type": "tool", "name": "t"},
            },
            "tools.1.custom.input_schema: JSON schema is invalid: ",
        ),
        ({"output_config": {"format": "json"}}, "output_config.format: Input should be a valid dictionary"),
        ({"output_config": {"format": {"type": "json"}}}, "output_config.format.type: Input should be 'json_schema'"),
        ({"output_config": {"format": {"type": "json_schema"}}}, "output_config.format.schema: Field required"),
        (
            {"output_config": {"format": {"type": "json_schema", "schema": {"type": "integer", "enum": ["a"]}}}},
            "output_config.format.schema: the sandbox found no value that fits this JSON schema",
        ),
        ({"output_format": FORMAT}, "output_format: Extra inputs are not permitted"),
    ],
)
def test_what_cannot_be_answered(ask: Ask, outcome: Outcome, params: Json, message: str) -> None:
    result = outcome(ask(**params)["params"])
    assert (result["type"], result["error"]["error"]["type"]) == ("errored", "invalid_request_error")
    assert result["error"]["error"]["message"].startswith(message)


@pytest.mark.parametrize(
    ("params", "headers"),
    [
        ({"output_config": {"format": FORMAT}}, {}),
        (
            {"output_config": {"effort": "low"}, "output_format": FORMAT},
            {"anthropic_beta": "structured-outputs-2025-11-13"},
        ),
        ({"output_config": {"format": FORMAT}, "tools": [WEATHER]}, {}),
    ],
)
def test_an_answer_in_a_format(ask: Ask, outcome: Outcome, params: Json, headers: dict[str, str]) -> None:
    message = outcome(ask(**params)["params"], **headers)["message"]
    assert message["stop_reason"] == "end_turn"
    (block,) = message["content"]
    jsonschema.validate(json.loads(block["text"]), SCHEMA)


def test_an_answer_in_a_format_can_be_cut_off(ask: Ask, outcome: Outcome) -> None:
    params = ask("a", "[[sandbox:max_tokens]]", output_config={"format": FORMAT})["params"]
    with pytest.raises(json.JSONDecodeError):
        json.loads(outcome(params)["message"]["content"][0]["text"])


def test_the_same_request_has_the_same_answer(ask: Ask, outcome: Outcome) -> None:
    texts = [f"ticket {number}" for number in range(12)]
    answers = [
        [outcome(ask("a", text, output_config={"format": FORMAT})["params"])["message"]["content"] for text in texts]
        for _ in range(2)
    ]
    assert answers[0] == answers[1]
    assert len({content[0]["text"] for content in answers[0]}) > 1


class Note(pydantic.BaseModel):
    label: Literal["good", "bad"]
    text: str
    also: "Note | None" = None


def test_a_model_of_the_sdk_takes_the_answer(client: anthropic.Anthropic, ask: Ask, clock: ManualClock) -> None:
    schema = anthropic.transform_schema(Note)
    requests: Any = [
        ask("format", output_config={"format": {"type": "json_schema", "schema": schema}}),
        ask("tool", tools=[{"name": "note", "input_schema": schema}], tool_choice={"type": "tool", "name": "note"}),
    ]
    batch = client.messages.batches.create(requests=requests)
    clock.advance(5)
    notes = {}
    for row in client.messages.batches.results(batch.id):
        assert row.result.type == "succeeded"
        (block,) = row.result.message.content
        notes[row.custom_id] = Note.model_validate(
            block.input if block.type == "tool_use" else json.loads(block.text)  # type: ignore[union-attr]  # text
        )
    assert notes.keys() == {"format", "tool"}
