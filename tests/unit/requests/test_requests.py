"""Checking and splitting the requests of a batch."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batches_mcp.core.diagnostics import Severity
from batches_mcp.core.limits import Limits
from batches_mcp.requests.checks import PARAMS_KEYS, request_faults
from batches_mcp.requests.problems import MOST_SHOWN, Fault, Problems
from batches_mcp.requests.reading import Rows, request_pieces, request_rows
from batches_mcp.requests.scan import RequestRules, Scan, scan
from batches_mcp.requests.shape import UNREADABLE, Params, PlainParams, read

RULES = RequestRules("2023-06-01")


def params(**changes: Any) -> dict[str, Any]:
    base = {"model": "claude-haiku-5-5", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]}
    return {name: value for name, value in {**base, **changes}.items() if value is not ...}


def request(custom_id: Any = "a", **changes: Any) -> dict[str, Any]:
    return {"custom_id": custom_id, "params": params(**changes)}


def scanned(*values: Any, rules: RequestRules = RULES) -> Scan:
    return scan(((n, json.dumps(value).encode()) for n, value in enumerate(values)), rules, "requests[{}]".format)


def texts(found: Scan) -> list[str]:
    return [problem.text() for problem in found.problems]


@pytest.mark.parametrize(
    ("value", "problems"),
    [
        (request(), []),
        (request("A-z_09"), []),
        (request(system="x", stream=False, temperature=0.5), []),
        (request(stream=None, speed=None), []),
        (request(temperature=1, top_k=None, stop_sequences=["x"], tools=[{}], tool_choice={}, thinking={}), []),
        (request(temperature="0.2"), ["requests[0].params.temperature: expected a number"]),
        (request(top_p=True), ["requests[0].params.top_p: expected a number"]),
        (request(top_k=0.5), ["requests[0].params.top_k: expected a whole number"]),
        (request(system=7), ["requests[0].params.system: expected text or a list of blocks"]),
        (request(stop_sequences="x"), ["requests[0].params.stop_sequences: expected a list of texts"]),
        (request(stop_sequences=[1]), ["requests[0].params.stop_sequences: expected a list of texts"]),
        (request(tools={}), ["requests[0].params.tools: expected a list of objects"]),
        (request(tools=["x"]), ["requests[0].params.tools: expected a list of objects"]),
        (request(tool_choice="any"), ["requests[0].params.tool_choice: expected an object"]),
        (request(thinking=True), ["requests[0].params.thinking: expected an object"]),
        (request(metadata="x"), ["requests[0].params.metadata: expected an object"]),
        (request(output_config=[]), ["requests[0].params.output_config: expected an object"]),
        (request(service_tier=1), ["requests[0].params.service_tier: expected text"]),
        ([], ["requests[0]: expected an object with custom_id and params"]),
        ({}, ["requests[0].custom_id: missing", "requests[0].params: missing"]),
        (request(7), ["requests[0].custom_id: expected text"]),
        (request(""), ["requests[0].custom_id: has 0 characters; expected 1 to 64"]),
        (request("x" * 65), ["requests[0].custom_id: has 65 characters; expected 1 to 64"]),
        (request("a b:c"), ["requests[0].custom_id: 'a b:c' has ' ' ':'; allowed are letters, digits, - and _"]),
        (request("é"), ["requests[0].custom_id: 'é' has 'é'; allowed are letters, digits, - and _"]),
        (request() | {"extra": 1}, ["requests[0].extra: a request has custom_id and params only"]),
        ({"custom_id": "a", "params": []}, ["requests[0].params: expected an object: the body of a Messages request"]),
        (request(model=...), ["requests[0].params.model: missing"]),
        (request(model=5), ["requests[0].params.model: expected text"]),
        (request(max_tokens=...), ["requests[0].params.max_tokens: missing"]),
        (request(max_tokens="9"), ["requests[0].params.max_tokens: expected a whole number"]),
        (request(max_tokens=True), ["requests[0].params.max_tokens: expected a whole number"]),
        (request(max_tokens=0), ["requests[0].params.max_tokens: 0 is less than 1"]),
        (request(messages=...), ["requests[0].params.messages: missing"]),
        (request(messages=[]), ["requests[0].params.messages: is empty; at least one message is needed"]),
        (request(stream=True), ["requests[0].params.stream: a batch cannot stream; leave it out"]),
        (request(speed="fast"), ["requests[0].params.speed: fast mode is not available in batches; leave it out"]),
        (request("b d", max_tokens=0, stream=True), [
            "requests[0].custom_id: 'b d' has ' '; allowed are letters, digits, - and _",
            "requests[0].params.max_tokens: 0 is less than 1",
            "requests[0].params.stream: a batch cannot stream; leave it out",
        ]),
    ],
)  # fmt: skip
def test_every_error_of_a_request_is_named(value: Any, problems: list[str]) -> None:
    found = scanned(value)
    assert texts(found) == problems
    assert found.count(Severity.ERROR) == len(problems)
    assert found.sendable == (0 if problems else 1)


def test_a_repeated_custom_id_names_the_first_whatever_else_is_wrong_with_either() -> None:
    found = scanned(request("a", max_tokens=0), request("a"), request("a", stream=True))
    [text] = [text for text in texts(found) if "as well" in text]
    assert text.startswith("requests[1].custom_id; requests[2].custom_id: 'a' is the custom_id of requests[0] as well")
    assert found.sendable == 0


@pytest.mark.parametrize(
    ("changes", "betas", "words"),
    [
        ({"model": "claude-haiku-55"}, (), "'claude-haiku-55' is not known here; did you mean `claude-haiku-5-5`?"),
        ({"model": "gpt"}, (), "'gpt' is not known here"),
        ({"max_tokens": 128_001}, (), "128,001 is more than the 128,000 that claude-haiku-5-5 may generate"),
        ({"max_tokens": 300_000}, ("output-300k-2026-03-24",), None),
        ({"max_tokens": 300_001}, ("output-300k-2026-03-24",), "300,001 is more than the 300,000"),
    ],
)
def test_what_may_fail_is_a_warning_and_is_sent(
    changes: dict[str, Any], betas: tuple[str, ...], words: str | None
) -> None:
    found = scanned(request(**changes), rules=RequestRules("2023-06-01", frozenset(betas)))
    assert (found.count(Severity.ERROR), found.count(Severity.WARNING)) == (0, 0 if words is None else 1)
    assert found.sendable == 1
    assert words is None or words in texts(found)[0]


@pytest.mark.parametrize("name", ["temperature", "top_p", "top_k"])
def test_sampling_keys_are_errors_where_the_version_rejects_them(name: str) -> None:
    assert scanned(request(**{name: 1})).problems == []
    found = scanned(request(**{name: 1}), rules=RequestRules("2026-10-21"))
    assert texts(found) == [f"requests[0].params.{name}: API version 2026-10-21 rejects it; leave it out"]


def test_many_problems_of_a_cause_are_one() -> None:
    found = scanned(*(request(f"a{n}", max_tokens=0) for n in range(120)), request("b", max_tokens=-1))
    [problem] = found.problems
    assert problem.data() == {
        "message": "0 is less than 1",
        "severity": "error",
        "count": 121,
        "where": [f"requests[{n}].params.max_tokens" for n in range(3)],
    }
    assert problem.text() == (
        "requests[0].params.max_tokens; requests[1].params.max_tokens; requests[2].params.max_tokens and 118 more: "
        "0 is less than 1"
    )
    assert (found.count(Severity.ERROR), found.count(Severity.WARNING)) == (121, 0)


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 200), st.booleans()), max_size=600))
def test_each_kind_of_problem_is_told_and_none_is_lost_from_the_count(faults: list[tuple[int, int, bool]]) -> None:
    problems = Problems()
    for kind, cause, error in faults:
        severity = Severity.ERROR if error else Severity.WARNING
        problems.add(Fault("", str(kind), f"{kind} {cause}", str(cause), severity))
    shown = problems.shown()
    kinds = {(kind, error) for kind, _, error in faults}
    if len(kinds) <= MOST_SHOWN:
        assert len(shown) <= MOST_SHOWN
    assert sum(problem.count for problem in shown) == len(faults)
    assert {(int(each.message.split()[0]), each.severity is Severity.ERROR) for each in shown} == kinds
    severities = [problem.severity for problem in shown]
    assert severities == sorted(severities)


def test_the_keys_that_are_known_are_those_that_are_read() -> None:
    assert set(PlainParams.__struct_fields__) == set(Params.__struct_fields__) == set(PARAMS_KEYS)


CONTENTS: st.SearchStrategy[Any] = st.sampled_from(["x", "", " ", None, 5, [], ["x"], [{"type": "text"}], [{"type": "text", "text": ""}],
    [{"type": "text", "text": "x"}], [{"type": "image", "source": {}}], [{}], [{"type": 3}], {}])  # fmt: skip
MESSAGES = st.lists(
    st.fixed_dictionaries({}, optional={"role": st.sampled_from(["user", "assistant", "system", "bot", None, []]),
                                        "content": CONTENTS}) | st.just("x"), max_size=3)  # fmt: skip


@given(MESSAGES, CONTENTS | st.just(...), st.dictionaries(st.sampled_from([*PARAMS_KEYS, "prompt", "stop"]), st.none()))
def test_what_is_read_at_once_is_what_has_no_faults(messages: list[Any], system: Any, more: dict[str, Any]) -> None:
    value = request(**{**more, "messages": messages, "system": system, "model": "claude-haiku-5-5", "max_tokens": 5})
    try:
        read(json.dumps(value).encode())
    except UNREADABLE:
        return
    assert list(request_faults(value, betas=False)) == []


@given(st.lists(st.binary(max_size=60) | st.recursive(st.none() | st.text() | st.integers() | st.just(float("inf")),
       lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["custom_id", "params", "model", "x"]), inner)).map(
       lambda value: json.dumps(value).encode())))  # fmt: skip
def test_garbage_is_an_error_and_never_a_crash(rows: list[bytes]) -> None:
    found = scan(enumerate(rows, 1), RULES, "line {}".format)
    assert found.requests == len(rows)
    assert len(found.invalid) == len(rows)


# Mostly requests that are read many at a time, and some of each kind that is looked at by itself.
SIMPLE = st.builds(
    request,
    st.sampled_from("abcdefghijklmn"),
    system=st.just(...) | st.text(min_size=1, max_size=9),
    temperature=st.just(...) | st.sampled_from([0, 1, 0.5]),
    model=st.sampled_from(["claude-haiku-5-5"] * 4 + ["claude-opus-5-5", "x"]),
    messages=st.lists(st.text("xy\u00e9\n\\", min_size=1, max_size=9), min_size=1, max_size=2).map(
        lambda texts: [{"role": "user", "content": text} for text in texts]
    ),
)
NOT_PLAIN = [{"role": "user", "content": "x", "cache_control": None}]
OTHER = st.sampled_from(
    [
        request("z", thinking={}),
        request("z", system=None),
        request("z", max_tokens=0),
        request("z", messages=NOT_PLAIN),
        {},
    ]
)


@given(
    st.lists(st.one_of(SIMPLE, SIMPLE, SIMPLE, OTHER), max_size=12),
    st.booleans(),
    st.sampled_from(["lines", "array", "wrapped"]),
    st.sampled_from([RULES, RequestRules("2026-10-21"), RequestRules("2023-06-01", limits=Limits(batch_requests=3))]),
    st.sampled_from([1 << 18, 64, 300]),
)
def test_many_at_a_time_or_one_by_one_comes_to_the_same(
    values: list[Any], ascii_only: bool, form: str, rules: RequestRules, read_bytes: int
) -> None:
    rows = [json.dumps(value, ensure_ascii=ascii_only, separators=(",", ":")) for value in values]
    text = "\n".join(rows) if form == "lines" else f"[{','.join(rows)}]"
    content = (f'{{"requests":{text}}}' if form == "wrapped" else text).encode()

    def opened() -> io.BufferedReader:
        return io.BufferedReader(io.BytesIO(content))

    one_by_one, together = (Scan(rules, "line {}".format) for _ in range(2))
    limits = Limits(read_bytes=read_bytes)
    for number, row in request_rows(opened(), limits):
        one_by_one.add(number, row)
    for piece in request_pieces(opened(), limits):
        if isinstance(piece, Rows):
            assert piece.text == b"\n".join(piece.rows)
            if together.add_all(*piece) is None:
                for number, row in zip(piece.numbers, piece.rows, strict=True):
                    together.add(number, row)
        else:
            together.add(*piece)
    assert texts(together) == texts(one_by_one)
    assert together.requests == one_by_one.requests == len(values)
    assert (together.models, together.invalid) == (one_by_one.models, one_by_one.invalid)
    assert [(part.count, part.body_bytes, part.demand, part.content("")) for part in together.parts] == [
        (part.count, part.body_bytes, part.demand, part.content("")) for part in one_by_one.parts
    ]


def test_requests_that_only_look_like_lines_are_looked_at_one_by_one() -> None:
    one, other = (json.dumps(request(name)).encode() for name in "ab")
    for lines in ([one + other], [one, other + one], [one, b"{}"], [one, one], [other, b'{"custom_id"}']):
        found = Scan(RULES, "line {}".format)
        assert found.add_all(range(len(lines)), lines, b"\n".join(lines)) is None
        assert (found.requests, found.parts) == (0, [])
