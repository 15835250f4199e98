"""An upstream answer -> the structured content of a result, or the error to report. Pure."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from pydantic_core import from_json, to_json

from batches_mcp.core.errors import ErrorReport, Retry, UnusableAnswer
from batches_mcp.core.plan import OutputPlan, ResultPlan
from batches_mcp.core.redact import excerpt

# What one call may put into a model's context: hosts cut or refuse answers above 25k tokens, about 50,000 characters.
MAX_CHARS = 40_000
MAX_BYTES = 60_000
# Room that the envelope `{"rows":[...],"has_more":true}` takes.
_ENVELOPE = 40

_JSONL_TYPES = {
    "application/x-jsonl",
    "application/jsonl",
    "application/x-ndjson",
    "application/ndjson",
    "application/json-lines",
    "application/jsonlines",
    "application/x-jsonlines",
    "text/jsonl",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. `complete` is false when reading stopped early, which only happens to JSONL."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    complete: bool = True

    @property
    def succeeded(self) -> bool:
        return 200 <= self.status < 300

    @property
    def media_type(self) -> str:
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def description(self) -> str:
        """What it is, for a message: never what it says."""
        return f"{excerpt(self.media_type, 80) or 'an answer without a content type'}, {len(self.body):,} bytes"

    @property
    def request_id(self) -> str | None:
        return self.headers.get("request-id") or self.headers.get("x-request-id")


def is_jsonl(media_type: str, *, declared: bool) -> bool:
    """Whether an answer is JSONL: by its content type, or as declared when it names none."""
    return media_type in _JSONL_TYPES or (declared and not media_type)


def is_json(media_type: str) -> bool:
    """Whether an answer is one JSON value, by its content type."""
    return media_type == "application/json" or media_type.endswith("+json")


def projected(plan: ResultPlan, answer: Answer) -> bytes:
    """The body of a successful answer as its outputs make it; JSON that they take as it is stays byte for byte.

    Raises:
        UnusableAnswer: it is not JSON.
    """
    if plan.takes_all or not answer.body.strip() or _is_binary(plan, answer):
        return answer.body
    return encode(_mapped(plan.outputs, _value(answer))).encode()


def shape(plan: ResultPlan, answer: Answer) -> dict[str, Any]:
    """The structured content of a successful answer.

    Raises:
        UnusableAnswer: it is not the JSON that was expected, or too large for one result.
    """
    if is_jsonl(answer.media_type, declared=plan.declared_jsonl):
        return _rows(answer)
    if _is_binary(plan, answer):
        return _bytes(answer)
    return bounded(whole(plan, answer), answer)


def _is_binary(plan: ResultPlan, answer: Answer) -> bool:
    return plan.binary and bool(answer.body) and not is_json(answer.media_type)


def _bytes(answer: Answer) -> dict[str, Any]:
    """An answer that is no text: its media type, its number of bytes, and these in base64.

    Raises:
        UnusableAnswer: it is too large for one result.
    """
    encoded = base64.b64encode(answer.body).decode()
    content = {"media_type": answer.media_type, "bytes": len(answer.body), "base64": encoded}
    if not fits(encode(content)):
        message = (
            f"the answer is {answer.description}, {len(encoded):,} characters as base64; one result holds {MAX_CHARS:,}"
        )
        raise _unusable(answer, message, "The request itself succeeded. Ask for a smaller one, or get it over REST.")
    return content


def bounded(content: dict[str, Any], answer: Answer) -> dict[str, Any]:
    """The content itself, which an answer came to.

    Raises:
        UnusableAnswer: it is too large for one result.
    """
    text = encode(content)
    if fits(text):
        return content
    length, unit, most = len(text), "characters", MAX_CHARS
    if length <= most:
        length, unit, most = len(text.encode()), "bytes", MAX_BYTES
    raise _unusable(
        answer,
        f"the answer has {length:,} {unit}, over the {most:,} one result may hold",
        "The request itself succeeded. For a list, ask for less of it at a time.",
    )


def whole(plan: ResultPlan, answer: Answer) -> dict[str, Any]:
    """The structured content of a successful JSON answer, whatever its size.

    Raises:
        UnusableAnswer: it is not JSON.
    """
    if not answer.body.strip():
        return {}
    return _as_object(_mapped(plan.outputs, _value(answer)))


def _value(answer: Answer) -> Any:
    try:
        return from_json(answer.body, allow_inf_nan=False)
    except ValueError as error:
        raise _unusable(
            answer,
            f"expected JSON, found {answer.description}",
            "Check the base URL: something else than the API answers there.",
            # JSON that is damaged or cut may come whole the next time.
            Retry.HELPS if is_json(answer.media_type) else Retry.USELESS,
        ) from error


def encode(content: Any) -> str:
    """The JSON text of structured content, as compact as it gets."""
    return to_json(content, inf_nan_mode="null").decode()


def fits(text: str) -> bool:
    """Whether a text may be one result."""
    return len(text) <= MAX_CHARS and (text.isascii() or len(text.encode()) <= MAX_BYTES)


def _rows(answer: Answer) -> dict[str, Any]:
    """As many rows as fit, in the order they came; a first row that is too long by itself is cut."""
    lines = answer.body.split(b"\n")
    if not answer.complete:
        lines.pop()  # cut in the middle
    numbered = [(number, line) for number, line in enumerate(lines, 1) if line.strip()]
    rows: list[Any] = []
    chars, size = _ENVELOPE, _ENVELOPE
    for number, line in numbered:
        try:
            row = from_json(line, allow_inf_nan=False)
        except ValueError as error:
            raise _unusable(
                answer,
                f"line {number} of its JSONL is not JSON",
                "Tell the user: the fault is the upstream's.",
            ) from error
        encoded = encode(row)
        chars, size = chars + len(encoded) + 1, size + len(encoded.encode()) + 1
        if chars > MAX_CHARS or size > MAX_BYTES:
            if rows:
                return {"rows": rows, "has_more": True}
            return {"rows": [_cut(row, encoded)], "has_more": not answer.complete or len(numbered) > 1}
        rows.append(row)
    return {"rows": rows, "has_more": not answer.complete}


def _cut(row: Any, encoded: str) -> dict[str, Any]:
    """A row that is larger than a result: its short fields, its beginning as text, and how long it is."""
    fields = row.items() if isinstance(row, dict) else ()
    short = dict(islice(((name, value) for name, value in fields if len(encode({name: value})) <= 200), 20))
    return {**short, "cut_row": encoded[: MAX_CHARS // 4], "row_chars": len(encoded)}


def _mapped(outputs: tuple[OutputPlan, ...], value: Any) -> Any:
    """The first output that gives something; the answer as it is when none is declared or none does."""
    for output in outputs:
        mapped = _output(output, value)
        if mapped is not None:
            return mapped
    return value


def _output(output: OutputPlan, value: Any) -> Any:
    if output.value is not None:
        return output.value
    node = _node(output.mapping, value, several=output.type == "array")
    if node is None:
        return None
    if output.properties is not None:
        return {name: _output(each, node) for name, each in output.properties.items()}
    if output.items is not None and isinstance(node, list):
        return [_output(output.items, each) for each in node]
    return node


def _node(mapping: str | None, value: Any, *, several: bool) -> Any:
    """The node a path leads to; all of them, in a list, where `several` are asked for by a path that may have many."""
    if mapping is None:
        return value
    if not isinstance(value, dict | list):
        # It has nothing within; and the library would read a text as a JSON document.
        return None
    import jsonpath  # slow to import, and the packaged file maps whole answers only

    try:
        path = jsonpath.compile(mapping, strict=True)
        if several and not (isinstance(path, jsonpath.JSONPath) and path.singular_query()):
            return [match.obj for match in path.finditer(value)]
        match = path.match(value)
    except jsonpath.JSONPathError:
        # A filter that does not fit this answer, say: as where nothing matches.
        return None
    return match.obj if match else None


def _as_object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {"result": value}


def _unusable(answer: Answer, message: str, next_step: str, retry: Retry = Retry.USELESS) -> UnusableAnswer:
    return UnusableAnswer(
        ErrorReport(
            "unusable_answer", f"{message}.", next_step, retry, status=answer.status, request_id=answer.request_id
        )
    )
