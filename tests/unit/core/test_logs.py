"""Log records as JSON: one object a line, whatever is in them."""

from __future__ import annotations

import io
import json
import logging
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batches_mcp.core.context import CallContext, enter
from batches_mcp.core.logs import FIELDS, JsonFormatter
from batches_mcp.core.redact import RedactingFilter, Redactor

SECRET = "sk-ant-api03-canary-of-the-logs"


def written(message: object, *arguments: object, secret: str = SECRET, **more: Any) -> dict[str, Any]:
    """The one line that a record makes, read again."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    redactor = Redactor.of([secret])
    handler.setFormatter(JsonFormatter(redactor))
    handler.addFilter(RedactingFilter(redactor))
    logger = logging.getLogger("a.logger")
    logger.handlers, logger.propagate = [handler], False
    logger.warning(message, *arguments, **more)
    line = stream.getvalue()
    assert line.endswith("\n")
    assert len(line.splitlines()) == 1
    found: dict[str, Any] = json.loads(line)
    return found


def test_a_record_has_its_time_level_logger_and_message() -> None:
    found = written("%d of %s", 2, "three")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", found.pop("time"))
    assert found == {"level": "warning", "logger": "a.logger", "message": "2 of three"}


def test_what_is_known_of_the_call_is_in_it_and_the_key_is_not() -> None:
    enter(CallContext(f"id-{SECRET}", "a" * 32, "search", "search-key", "127.0.0.1", "req_1"))
    found = written("m", extra={FIELDS: {"tool": f"t {SECRET}", "duration_s": 0.5}})
    del found["time"]
    assert found == {
        "level": "warning",
        "logger": "a.logger",
        "message": "m",
        "request_id": "id-***",
        "upstream_request_id": "req_1",
        "trace_id": "a" * 32,
        "team": "search",
        "principal": "search-key",
        "tool": "t ***",
        "duration_s": 0.5,
    }


def test_a_traceback_is_one_member_without_the_key() -> None:
    try:
        raise ValueError(f"with {SECRET}\nand a second line")
    except ValueError:
        found = written("it failed", exc_info=True)
    assert found["exception"].startswith("Traceback (most recent call last):\n")
    assert found["exception"].endswith("ValueError: with ***\nand a second line")


@given(st.text(max_size=40))
@pytest.mark.parametrize("place", ["message", "argument", "field"])
def test_any_text_stays_one_line_of_json(place: str, text: str) -> None:
    match place:
        case "message":
            found = written(text, secret="never-there")["message"]
        case "argument":
            found = written("%s", text, secret="never-there")["message"]
        case _:
            found = written("m", extra={FIELDS: {"tool": text}}, secret="never-there")["tool"]
    assert isinstance(found, str)
