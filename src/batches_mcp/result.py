"""An upstream answer -> the structured content of a result, or the error to report. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from itertools import islice
from typing import Any

from pydantic_core import from_json, to_json

from batches_mcp.errors import ErrorReport, Retry, UnusableAnswer, UpstreamError
from batches_mcp.plan import OutputPlan, ResultPlan
from batches_mcp.redact import excerpt

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
    def request_id(self) -> str | None:
        return self.headers.get("request-id") or self.headers.get("x-request-id")


def is_jsonl(media_type: str, *, declared: bool) -> bool:
    """Whether an answer is JSONL: by its content type, or as declared when it names none."""
    return media_type in _JSONL_TYPES or (declared and not media_type)


def shape(plan: ResultPlan, answer: Answer) -> dict[str, Any]:
    """The structured content of a successful answer.

    Raises:
        UnusableAnswer: it is not the JSON that was expected, or too large for one result.
    """
    if is_jsonl(answer.media_type, declared=plan.declared_jsonl):
        return _rows(answer)
    return bounded(whole(plan, answer), answer)


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
    try:
        value = from_json(answer.body, allow_inf_nan=False)
    except ValueError as error:
        raise _unusable(
            answer,
            f"expected JSON, found {_description(answer)}",
            "Check the base URL: something else than the API answers there.",
        ) from error
    return _as_object(_mapped(plan.outputs, value))


def failure(answer: Answer, *, repeatable: bool, variables: Collection[str]) -> UpstreamError:
    """The error for an answer with an error status, from whatever the upstream said of it.

    `repeatable` tells whether the request may be sent again in doubt; `variables` are what its credential comes from.
    """
    error = _envelope(answer.body)
    details = error.get("details")
    code = details.get("error_code") if isinstance(details, dict) else None
    message = error.get("message")
    if not (isinstance(message, str) and message):
        message = f"the upstream gave no reason: its answer is {_description(answer)}."
    phrase = (
        HTTPStatus(answer.status).phrase if answer.status in _PHRASES else _OTHER_PHRASES.get(answer.status, "error")
    )
    retry = retry_of(answer, repeatable=repeatable)
    report = ErrorReport(
        type=_word(error.get("type")) or _word(phrase),
        message=excerpt(message, 2000),
        next_step=_ELSEWHERE
        if answer.status in _WITHOUT_REASON and not error
        else _next_step(answer.status, retry, variables),
        retry=retry,
        retry_after_s=retry_after_s(answer.headers),
        status=answer.status,
        request_id=excerpt(answer.request_id, 100) if answer.request_id else None,
        error_code=excerpt(code, 100) if isinstance(code, str) else None,
    )
    return UpstreamError(report)


def retry_of(answer: Answer, *, repeatable: bool) -> Retry:
    """Whether sending the request again may help, and is safe."""
    wish = answer.headers.get("x-should-retry", "").lower()
    if answer.status in _NOT_ACCEPTED:
        # An account's own spend limit ends when its owner raises it, whatever the status promises.
        spent = b'"enforced_spend_limit_reached"' in answer.body
        return Retry.USELESS if spent or wish == "false" else Retry.HELPS
    if answer.status < _SERVER_FAULT and answer.status not in _PASSING:
        return Retry.HELPS if wish == "true" and repeatable else Retry.USELESS
    if not repeatable:
        return Retry.UNSAFE
    return Retry.USELESS if wish == "false" else Retry.HELPS


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds the upstream asks to wait: `retry-after-ms`, else `retry-after`, a number or a date (RFC 9110 10.2.3)."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            seconds = float(headers[name]) * unit
        except (KeyError, ValueError):
            continue
        if 0 <= seconds < _YEAR_S:
            return seconds
    try:
        wanted = parsedate_to_datetime(headers["retry-after"])
        sent = parsedate_to_datetime(headers["date"])
        seconds = max(0.0, (wanted - sent).total_seconds())
    except (KeyError, ValueError, TypeError):
        return None
    return seconds if seconds < _YEAR_S else None


def _next_step(status: int, retry: Retry, variables: Collection[str]) -> str:
    if retry is Retry.UNSAFE:
        return "The request may have been carried out. Look at what exists upstream now (list it) before anything else."
    if status == HTTPStatus.UNAUTHORIZED:
        names = " or ".join(sorted(variables)) or "the credential"
        return f"Tell the user that the upstream does not accept the value of {names} in the server's environment."
    if status in _NEXT_STEPS:
        return _NEXT_STEPS[status]
    if status >= _SERVER_FAULT:
        return "The fault is the upstream's. Wait a little; if it lasts, tell the user."
    if status < _CLIENT_ERROR:
        return "Redirects are not followed. Tell the user to check the base URL this server was started with."
    return "Change the request as the message says."


def encode(content: Any) -> str:
    """The JSON text of structured content, as compact as it gets."""
    return to_json(content, inf_nan_mode="null").decode()


def fits(text: str) -> bool:
    """Whether a text may be one result."""
    return len(text) <= MAX_CHARS and (text.isascii() or len(text.encode()) <= MAX_BYTES)


_PHRASES = {status.value for status in HTTPStatus}
# https://platform.claude.com/docs/en/api/errors
_OTHER_PHRASES = {529: "overloaded"}

_CLIENT_ERROR, _SERVER_FAULT = 400, 500
# The request was turned away unread, so that even one that costs money may be sent again.
_NOT_ACCEPTED = {429, 529}
# Client errors that pass by themselves.
_PASSING = {408, 409}
_YEAR_S = 365 * 86_400.0

# Statuses that a server which is not the API gives as well.
_WITHOUT_REASON = {403, 404, 405}
_ELSEWHERE = "Check the base URL: that is not how the API answers, and so something else may be there."

_NEXT_STEPS = {
    402: "Tell the user: the account's billing needs attention.",
    403: "Tell the user: the credential has no permission for this.",
    404: "Check the id: nothing answers to it for this credential, or not yet, or no longer.",
    413: "Send less in one request: split it.",
    429: "Wait, then call again. If the message speaks of a spend limit, tell the user instead.",
    529: "The upstream is overloaded. Wait, then call again.",
}


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
    node = _node(output.mapping, value)
    if node is None:
        return None
    if output.properties is not None:
        return {name: _output(each, node) for name, each in output.properties.items()}
    if output.items is not None and isinstance(node, list):
        return [_output(output.items, each) for each in node]
    return node


def _node(mapping: str | None, value: Any) -> Any:
    if mapping is None:
        return value
    if not isinstance(value, dict | list):
        # It has nothing within; and the library would read a text as a JSON document.
        return None
    import jsonpath  # slow to import, and the packaged file maps whole answers only

    try:
        match = jsonpath.match(mapping, value, strict=True)
    except jsonpath.JSONPathError:
        # A filter that does not fit this answer, say: as where nothing matches.
        return None
    return match.obj if match else None


def _as_object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {"result": value}


def _envelope(body: bytes) -> dict[str, Any]:
    """The `{type, message, details}` of an error body: `{error: {...}}` as many APIs have it, or the body itself."""
    try:
        value = from_json(body, allow_inf_nan=False)
    except ValueError:
        return {}
    if not isinstance(value, dict):
        return {}
    error = value.get("error", value)
    if isinstance(error, str):
        return {"message": error}
    if not isinstance(error, dict):
        return {}
    # RFC 9457 problem details say `title` and `detail`.
    return {**error, "message": error.get("message") or error.get("detail") or error.get("title")}


def _word(value: object) -> str:
    """A type for an error, in the form types have: lower case and underscores."""
    return "_".join(excerpt(value, 80).lower().split()) if isinstance(value, str) else ""


def _description(answer: Answer) -> str:
    kind = excerpt(answer.media_type, 80) or "an answer without a content type"
    return f"{kind}, {len(answer.body):,} bytes"


def _unusable(answer: Answer, message: str, next_step: str) -> UnusableAnswer:
    return UnusableAnswer(
        ErrorReport("unusable_answer", f"{message}.", next_step, status=answer.status, request_id=answer.request_id)
    )
