"""Bodies of every kind: what callers give stands where the file puts it, and nowhere else."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from batches_mcp import language
from batches_mcp.core.errors import InvalidArguments
from batches_mcp.core.plan import ToolPlan
from batches_mcp.exchange import request
from batches_mcp.language.compile import compile_server
from batches_mcp.language.source import parse

FILE = """
naftiko: 1.0.0-alpha2
info: {{label: Shop}}
binds: [{{namespace: env, keys: {{KEY: SHOP_KEY}}}}]
capability:
  consumes:
  - type: http
    namespace: shop
    baseUri: https://api.example.com
    resources:
    - {{name: items, path: /items, operations: [{{name: add, method: POST, body: {body}}}]}}
  exposes:
  - type: mcp
    namespace: shop-mcp
    tools:
    - name: add-item
      description: Add an item to the shop.
      call: shop.add
      inputParameters:
      - {{name: a, type: string, description: A., required: false}}
      - {{name: b, type: string, description: B., required: false}}
"""
SECRET = {"SHOP_KEY": SecretStr("the-key")}


def tool(body: Any) -> ToolPlan:
    linked = language.linked(parse(FILE.format(body=json.dumps(body)).encode(), "f.yaml"))
    assert not [problem for problem in linked.problems if problem.severity == "error"]
    return compile_server(linked).tools[0]


def sent(plan: ToolPlan, arguments: dict[str, Any]) -> tuple[str, str | None]:
    built = request.build(plan.request, arguments, SECRET)
    assert built.body is None or isinstance(built.body, bytes)
    return dict(built.headers).get("Content-Type", ""), None if built.body is None else built.body.decode()


# What would break out of its place, or be rendered a second time, if it were pasted.
nasty = st.sampled_from(
    ['", "admin": true, "x": "', "{{b}}", "{{env.KEY}}", "\\", '"', "\n", "&b=1", "=", "%26", "\0", "é", "}}"]
)
texts = nasty | st.text(st.characters(codec="utf-8"), max_size=20)
values = st.recursive(
    texts | st.integers() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
WRITTEN = tool('{"a": {{a}}, "text": "is {{b}}, {{a}}", "only": "{{b}}", "list": [{{a}}, 1, "{{env.KEY}}"]}')
FORM = tool({"type": "formUrlEncoded", "data": {"a": "{{a}}", "b[c]": "is {{b}}", "key": "{{env.KEY}}", "n": 5}})
FORM_TEXT = tool({"type": "formUrlEncoded", "data": "a={{a}}&b%5Bc%5D=is+{{b}}&key={{env.KEY}}&n=5"})
TEXT = tool({"type": "text", "data": "<{{a}}> <{{b}}>"})


@given(values, texts)
def test_json_written_as_a_text_is_filled_as_data(a: Any, b: str) -> None:
    content_type, body = sent(WRITTEN, {"a": a, "b": b})
    assert content_type == "application/json"
    assert body is not None
    assert json.loads(body) == {
        "a": a,
        "text": f"is {b}, {request.text(a)}",
        "only": b,
        "list": [a, 1, "the-key"],
    }


@given(texts, texts)
def test_form_fields_stay_apart(a: str, b: str) -> None:
    for plan in (FORM, FORM_TEXT):
        content_type, body = sent(plan, {"a": a, "b": b})
        assert content_type == "application/x-www-form-urlencoded"
        fields = parse_qsl(body, keep_blank_values=True, strict_parsing=True)
        assert fields == [("a", a), ("b[c]", f"is {b}"), ("key", "the-key"), ("n", "5")]


@given(texts, texts)
def test_a_text_is_rendered_once(a: str, b: str) -> None:
    assert sent(TEXT, {"a": a, "b": b}) == ("text/plain; charset=utf-8", f"<{a}> <{b}>")


def test_what_is_not_given_is_left_out() -> None:
    assert json.loads(str(sent(WRITTEN, {"b": "x"})[1])) == {"only": "x", "list": [1, "the-key"]}
    assert sent(FORM, {"a": "x"})[1] == "a=x&key=the-key&n=5"
    assert sent(TEXT, {"a": "x"}) == ("", None)


def test_a_text_within_quotes_stays_one() -> None:
    assert json.loads(str(sent(WRITTEN, {"a": 5, "b": 7})[1])) == {
        "a": 5, "text": "is 7, 5", "only": "7", "list": [5, 1, "the-key"],
    }  # fmt: skip


def test_a_list_is_repeated_in_a_form_and_an_object_refused() -> None:
    assert sent(FORM, {"a": ["x", 1]})[1] == "a=x&a=1&key=the-key&n=5"
    with pytest.raises(InvalidArguments, match="a: an object cannot stand in a form"):
        sent(FORM, {"a": {"x": 1}})


def test_a_header_of_the_file_wins_over_the_kind_of_body() -> None:
    text = FILE.format(body=json.dumps({"type": "text", "data": "{{a}}"})).replace(
        "method: POST,", "method: POST, inputParameters: [{name: content-type, in: header, value: text/csv}],"
    )
    plan = compile_server(language.linked(parse(text.encode(), "f.yaml"))).tools[0]
    headers = request.build(plan.request, {"a": "1,2"}, {}).headers
    assert [value for name, value in headers if name.lower() == "content-type"] == ["text/csv"]
