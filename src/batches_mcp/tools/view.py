"""A line of results as a model sees it: the text of the answer or the error, or the row unchanged. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from batches_mcp.api.outcomes import UNFINISHED
from batches_mcp.exchange import result
from batches_mcp.store.rows import loads, read_row

View = Literal["text", "full"]

# A row that is larger than an answer shows this much of itself.
CUT_CHARS = result.MAX_CHARS // 4
_MOST_INPUT_CHARS = 300
_MOST_NAME_CHARS = 200
_THINKING = ("thinking", "redacted_thinking")

# What an answer calls a row that is not finished, by its stop_reason.
ATTENTION = {reason: "refusal" if name == "refused" else name for reason, name in UNFINISHED.items()}


def view(line: bytes, kind: View, most_chars: int | None) -> dict[str, Any]:
    """What is shown of a line, texts cut at `most_chars`; a line that is no row is shown as unreadable."""
    try:
        row = loads(line)
    except (ValueError, RecursionError):
        row = None
    if read_row(line) is None or not isinstance(row, dict):
        text = line.decode("utf-8", "replace").strip()
        return {"custom_id": None, "type": "unreadable", **_cut("text", text, most_chars)}
    return _full(row, most_chars) if kind == "full" else _text(row, most_chars)


def _full(row: dict[str, Any], most_chars: int | None) -> dict[str, Any]:
    """The row; cut, with its full length, when it is too long or too deep to be shown."""
    try:
        encoded = result.encode(row)
    except (ValueError, RecursionError):
        encoded = repr(row)
        most_chars = min(most_chars or CUT_CHARS, CUT_CHARS)
    else:
        if len(encoded) <= (result.MAX_CHARS if most_chars is None else most_chars):
            return row
    kept = encoded[: CUT_CHARS if most_chars is None else most_chars]
    named = {"custom_id": _word(row["custom_id"]), "type": _word(row["result"]["type"])}
    return {**named, "cut_row": kept, "row_chars": len(encoded), "cut_chars": len(encoded) - len(kept)}


def _text(row: Mapping[str, Any], most_chars: int | None) -> dict[str, Any]:
    found = row["result"]
    shown: dict[str, Any] = {"custom_id": _word(row["custom_id"]), "type": _word(found["type"])}
    if found["type"] == "succeeded":
        message = _dict(found.get("message"))
        stop_reason = message.get("stop_reason")
        shown |= _cut("text", content_text(message.get("content")), most_chars)
        shown["stop_reason"] = _word(stop_reason)
        output_tokens = _dict(message.get("usage")).get("output_tokens")
        shown["output_tokens"] = output_tokens if type(output_tokens) is int else None
        if isinstance(stop_reason, str) and stop_reason in ATTENTION:
            shown["needs_attention"] = ATTENTION[stop_reason]
        return shown
    error_type, error_message = error_of(found)
    return shown | {"error_type": _word(error_type)} | _cut("error_message", error_message, most_chars)


def error_of(found: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """The type and the message of a result's error, which is nested twice."""
    outer = _dict(found.get("error"))
    inner = _dict(outer.get("error")) or outer
    error_type, message = inner.get("type"), inner.get("message")
    return (error_type if isinstance(error_type, str) else None), (message if isinstance(message, str) else None)


def content_text(content: Any) -> str:
    """The texts of a message joined, its thinking left out, and what else is in it on lines of its own."""
    parts: list[str] = []
    texts: list[str] = []
    for block in _blocks(content):
        if block["type"] == "text":
            text = block.get("text")
            texts += [text] if isinstance(text, str) else []
        elif block["type"] not in _THINKING:
            parts += ["".join(texts)] if texts else []
            texts = []
            parts.append(_named(block))
    return "\n".join([*parts, "".join(texts)] if texts else parts)


def _blocks(content: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(content, list):
        yield from (block for block in content if isinstance(block, dict) and isinstance(block.get("type"), str))


def _named(block: Mapping[str, Any]) -> str:
    """A block that is no text: its type, and of a call its name and its input."""
    words = [word for word in (_word(block["type"]), _word(block.get("name"))) if word]
    if "input" in block:
        try:
            given = result.encode(block["input"])
        except (ValueError, RecursionError):
            given = "..."
        words.append(given if len(given) <= _MOST_INPUT_CHARS else f"{given[:_MOST_INPUT_CHARS]}...")
    return f"[{' '.join(words)}]"


def _cut(name: str, text: str | None, most_chars: int | None) -> dict[str, Any]:
    if text is None or most_chars is None or len(text) <= most_chars:
        return {name: text}
    return {name: text[:most_chars], "cut_chars": len(text) - most_chars}


def _word(value: Any) -> str | None:
    return value[:_MOST_NAME_CHARS] if isinstance(value, str) else None


def _dict(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
