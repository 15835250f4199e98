"""Secrets are masked in every form they take, and foreign text cannot play tricks."""

from __future__ import annotations

import base64
import io
import json
import logging
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batches_mcp.core.redact import RedactingFilter, Redactor, excerpt, printable, printable_json

SECRET = 'p@ss/w"ö+rd'
REDACTOR = Redactor.of([SECRET, "second-secret", "ab"])


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        (f"key={SECRET};", "key=***;"),
        (f"{SECRET}{SECRET}second-secret", "*********"),
        ("sk-ant-api03-AbC_d-9 and sk-ant-oat01-xyz.", "*** and ***."),
        ("sk-ant-", "sk-ant-"),
        ("ab cd", "ab cd"),
        ("nothing", "nothing"),
    ],
)
def test_known_secrets_and_whatever_looks_like_one_are_masked(text: str, masked: str) -> None:
    assert REDACTOR.text(text) == masked
    assert REDACTOR.found_in(text) is (text != masked)


@pytest.mark.parametrize(
    "form",
    [
        quote(SECRET, safe=""),
        json.dumps(SECRET),
        json.dumps(SECRET, ensure_ascii=False),
        base64.b64encode(SECRET.encode()).decode(),
    ],
)
def test_a_secret_is_masked_as_it_stands_on_the_wire(form: str) -> None:
    assert REDACTOR.found_in(form)
    assert form.strip('"') not in REDACTOR.text(f"x {form} y")


@given(st.text(max_size=20), st.text(max_size=20))
def test_a_secret_is_masked_within_the_base64_of_a_longer_text(before: str, after: str) -> None:
    secret = "a-secret-of-some-length"
    encoded = base64.b64encode(f"{before}{secret}{after}".encode()).decode()
    masked = Redactor.of([secret]).text(encoded)
    kept, _, rest = masked.partition("***")
    assert rest != masked
    # What is left holds the text around it, and at most the bits of a byte at either end.
    assert len(kept) * 6 // 8 <= len(before.encode()) + 1
    assert len(rest.rstrip("=")) * 6 // 8 <= len(after.encode()) + 1


def test_the_longer_of_two_secrets_is_masked_first() -> None:
    assert Redactor.of(["secret", "secret-and-more"]).text("secret-and-more") == "***"


def test_without_secrets_only_credentials_are_masked() -> None:
    assert Redactor.of([]).text("a sk-ant-1234 b") == "a *** b"


def test_a_secret_that_is_no_unicode_is_no_obstacle() -> None:
    assert Redactor.of(["caf\udce9-secret"]).text("caf\udce9-secret") == "***"


def test_json_is_masked_in_depth() -> None:
    value = {"a": [SECRET, {"b": f"x{SECRET}"}], SECRET: 1, "n": None, "i": 5, "t": True}
    assert REDACTOR.json(value) == {"a": ["***", {"b": "x***"}], "***": 1, "n": None, "i": 5, "t": True}


@pytest.fixture
def log() -> tuple[logging.Logger, io.StringIO]:
    """A logger that masks, and what it wrote."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.addFilter(RedactingFilter(REDACTOR))
    logger = logging.getLogger("tests.redact")
    logger.handlers, logger.propagate = [handler], False
    return logger, stream


def test_log_messages_and_their_arguments_are_masked(log: tuple[logging.Logger, io.StringIO]) -> None:
    logger, stream = log
    logger.warning("a %s b %r", SECRET, {"key": "second-secret"})
    logger.warning("100% done")
    assert stream.getvalue() == "a *** b {'key': '***'}\n100% done\n"


def test_tracebacks_in_a_log_are_masked(log: tuple[logging.Logger, io.StringIO]) -> None:
    logger, stream = log
    try:
        raise ValueError(f"cannot use {SECRET}")
    except ValueError:
        logger.exception("failed")
    assert "ValueError: cannot use ***" in stream.getvalue()
    assert SECRET not in stream.getvalue()


def test_nothing_prints_the_secrets_of_a_redactor() -> None:
    assert SECRET not in repr(REDACTOR)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ü 批 😀\n\t", "plain ü 批 😀\n\t"),
        ("\x1b[31mred\x07", "\\x1b[31mred\\x07"),
        ("a\rb\x7f\x85", "a\\rb\\x7f\\x85"),
        ("\u202eevil\u200b\ufeff", "\\u202eevil\\u200b\\ufeff"),
    ],
)
def test_control_and_invisible_characters_are_shown_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(st.text())
def test_printable_json_is_the_same_json(text: str) -> None:
    written = json.dumps(text, ensure_ascii=False)
    assert json.loads(printable_json(written)) == text
    assert printable(printable_json(written)) == printable_json(written)


@pytest.mark.parametrize(
    ("text", "limit", "short"),
    [
        ("a \n\t b", 10, "a b"),
        ("abcdef", 6, "abcdef"),
        ("abcdefg", 6, "abcde…"),
        ("\x00" * 5, 8, "\\x00\\x0…"),
        ("", 5, ""),
    ],
)
def test_an_excerpt_is_one_short_line(text: str, limit: int, short: str) -> None:
    assert excerpt(text, limit) == short


@given(st.text(), st.integers(1, 50))
def test_an_excerpt_keeps_its_limit(text: str, limit: int) -> None:
    short = excerpt(text, limit)
    assert len(short) <= limit
    assert not set(short) & set("\n\r\t\x1b")
