"""Checking and splitting the requests of a batch."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batches_mcp.requests.problems import Severity
from batches_mcp.requests.scan import MOST_SHOWN, Rules, Scan, scan

RULES = Rules("2023-06-01")


def params(**changes: Any) -> dict[str, Any]:
    base = {"model": "claude-haiku-5-5", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]}
    return {name: value for name, value in {**base, **changes}.items() if value is not ...}


def request(custom_id: Any = "a", **changes: Any) -> dict[str, Any]:
    return {"custom_id": custom_id, "params": params(**changes)}


def scanned(*values: Any, rules: Rules = RULES) -> Scan:
    return scan(((n, json.dumps(value).encode()) for n, value in enumerate(values)), rules, "requests[{}]".format)


def texts(found: Scan) -> list[str]:
    return [problem.text() for problem in found.problems]


@pytest.mark.parametrize(
    ("value", "problems"),
    [
        (request(), []),
        (request("A-z_09"), []),
        (request(anything="else", system="x", stream=False, temperature=0.5), []),
        (request(stream=None, speed=None), []),
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
    assert [text for text in texts(found) if "as well" in text] == [
        f"requests[{n}].custom_id: 'a' is the custom_id of requests[0] as well; each must be unique in a batch"
        for n in (1, 2)
    ]
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
    found = scanned(request(**changes), rules=Rules("2023-06-01", frozenset(betas)))
    assert (found.count(Severity.ERROR), found.count(Severity.WARNING)) == (0, 0 if words is None else 1)
    assert found.sendable == 1
    assert words is None or words in texts(found)[0]


@pytest.mark.parametrize("name", ["temperature", "top_p", "top_k"])
def test_sampling_keys_are_errors_where_the_version_rejects_them(name: str) -> None:
    assert scanned(request(**{name: 1})).problems == []
    found = scanned(request(**{name: 1}), rules=Rules("2026-10-21"))
    assert texts(found) == [f"requests[0].params.{name}: API version 2026-10-21 rejects it; leave it out"]


def test_many_problems_are_counted_by_kind() -> None:
    found = scanned(*(request(f"a{n}", max_tokens=0) for n in range(120)))
    assert len(found.problems) == MOST_SHOWN
    assert found.kinds == {(Severity.ERROR, "params.max_tokens"): 120}


@given(st.lists(st.binary(max_size=60) | st.recursive(st.none() | st.text() | st.integers() | st.just(float("inf")),
       lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["custom_id", "params", "model", "x"]), inner)).map(
       lambda value: json.dumps(value).encode())))  # fmt: skip
def test_garbage_is_an_error_and_never_a_crash(rows: list[bytes]) -> None:
    found = scan(enumerate(rows, 1), RULES, "line {}".format)
    assert found.requests == len(rows)
    assert len(found.invalid) == len(rows)
